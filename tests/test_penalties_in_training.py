"""What episodes and the term beside the task's loss make of a penalty: updates, records, files, ends."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays
from lyapflow.learning.history import History, Recorder
from lyapflow.learning.penalties import Exponents, OneStepJacobian, SpectralRadius
from lyapflow.learning.streams import stream
from lyapflow.learning.training import Training
from tests.test_penalties import SmallWeights
from tests.test_resume import of_every_kind, same_history
from tests.test_training import TASK, model, small

ONE_STEP = OneStepJacobian(3, transient=40)
SETTINGS = {"task": TASK, "epochs": 5, "seed": 3, "T": 20, "batch": 4}
TERM = {"penalty": ONE_STEP, "weight": 1e-2, "every": 2}


def episodes(penalty, **changes):
    return lf.Flossing(**{"penalty": penalty, "epochs": 3, "steps": 12, "at": (0, 2)} | changes)


def same(a, b):
    for p, q in zip(arrays(a), arrays(b)):
        np.testing.assert_array_equal(p, q)


# episodes


def test_an_episode_of_exponents_is_the_default_to_the_bit():
    expected, history = lf.train(model(), **SETTINGS, flossing=small())
    found, again = lf.train(model(), **SETTINGS, flossing=episodes(Exponents(5, q_transient=4)))
    assert lf.digest(found) == lf.digest(expected)
    same_history(again, history)
    assert history.flossing["values"].shape == (6, 0)


@pytest.mark.parametrize(
    "penalty", [SpectralRadius(0.5), OneStepJacobian(4, transient=6), SmallWeights()]
)
def test_an_episode_descends_its_penalty(penalty):
    flossing = episodes(penalty, epochs=60, at=(0,), steps=20, optimizer=lf.Adam(1e-2))
    start = model()
    trained, history = lf.train(
        start, **SETTINGS | {"epochs": 1}, flossing=flossing, optimizer=lf.Adam(0.0)
    )
    log = history.flossing
    assert log["loss"][-1] < 0.5 * log["loss"][0]
    x = TASK.inputs(stream(3, "flossing before 0", 0), 20, 1)
    loss, gradient, values = penalty.value_and_grad(start.cell, x, start.h0)
    assert log["loss"][0] == loss
    np.testing.assert_array_equal(log["values"][0], values)
    assert log["exponents"].shape == (60, 0)
    adam = flossing.optimizer
    first, _ = adam.update(adam.init(start.cell), start.cell, gradient)
    once, _ = lf.train(
        start,
        **SETTINGS | {"epochs": 1},
        flossing=episodes(penalty, epochs=1, at=(0,), steps=20, optimizer=adam),
        optimizer=lf.Adam(0.0),
    )
    same(once.cell, first)
    same(trained._replace(cell=start.cell), start)


def test_one_sided_episodes_leave_expanding_directions_alone():
    start = model(g=2.0)
    for one_sided in (True, False):
        flossing = episodes(
            Exponents(1, -3.0, one_sided=one_sided, q_transient=4), optimizer=lf.Adam(1e-2)
        )
        trained, _ = lf.train(start, **SETTINGS, flossing=flossing, optimizer=lf.Adam(0.0))
        assert np.array_equal(trained.cell.W, start.cell.W) == one_sided


def test_floss_takes_weights_and_one_side():
    cell, x = model().cell, np.random.default_rng(0).standard_normal((30, 1))
    options = {"target": -0.2, "weights": [0.0, 1.0], "one_sided": True, "q_transient": 5}
    flossed, history = lf.floss(cell, lambda epoch: x, k=2, epochs=1, **options)
    loss, gradient, _ = lf.flossing_value_and_grad(cell, x, 2, **options)
    adam = lf.Adam(1e-3)
    same(flossed, adam.update(adam.init(cell), cell, gradient)[0])
    assert history["loss"][0] == loss


# the term beside the task's loss


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_term_is_added_to_the_gradient_before_the_update(dtype):
    start = model(dtype=dtype)._replace(
        h0=np.random.default_rng(5).standard_normal(8).astype(dtype)
    )
    adam = lf.Adam(1e-3, clip_norm=0.01)
    trained, history = lf.train(start, **SETTINGS, **TERM, optimizer=adam)
    state, network = adam.init(start), start
    for epoch in range(5):
        x, y, first = TASK.sample(stream(3, "data", epoch), 20, 4, dtype)
        _, gradient = lf.bptt_value_and_grad(network, x, y, first=first)
        if epoch % 2 == 0:
            x = TASK.inputs(stream(3, "penalty", epoch), 55, 1, dtype)
            loss, slope, values = ONE_STEP.value_and_grad(network.cell, x, network.h0)
            both = (g + 1e-2 * s for g, s in zip(gradient.cell, slope))
            gradient = gradient._replace(cell=lf.TanhRNN(*both))
            record = history.penalty[epoch // 2]
            assert (record.epoch, record.loss) == (epoch, loss)
            np.testing.assert_array_equal(record.values, values)
        state, network = adam.update(state, network, gradient)[::-1]
    same(trained, network)
    assert history.penalty["values"].shape == (3, 3)
    assert {a.dtype for a in arrays(trained)} == {np.dtype(dtype)}


def test_the_term_is_nothing_to_the_data_and_the_episodes():
    _, before = lf.train(model(), **SETTINGS, flossing=small())
    _, after = lf.train(
        model(), **SETTINGS, flossing=small(), penalty=SmallWeights(1e-300), weight=1e-300
    )
    np.testing.assert_array_equal(before.training["loss"], after.training["loss"])
    np.testing.assert_array_equal(before.flossing["loss"], after.flossing["loss"])
    assert len(after.penalty) == 5
    assert len(before.penalty) == 0


def test_members_have_the_bits_that_they_get_alone():
    settings = SETTINGS | TERM | {"flossing": episodes(SpectralRadius())}
    models = [model(seed=0), model(seed=1)]
    together, history = lf.train(lf.stack(models), **settings | {"seed": (3, 4)})
    for r, (member, seed) in enumerate(zip(models, (3, 4))):
        alone, log = lf.train(member, **settings | {"seed": seed})
        same(together[r], alone)
        for kind, field in (("penalty", "values"), ("penalty", "loss"), ("flossing", "values")):
            np.testing.assert_array_equal(
                getattr(history, kind)[field][:, r], getattr(log, kind)[field]
            )


@of_every_kind
@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")
def test_a_run_goes_on_from_anywhere_to_the_same_bits(tmp_path, start, seed):
    settings = SETTINGS | TERM | {"epochs": 3, "seed": seed, "measure_every": 2}
    settings |= {"flossing": episodes(OneStepJacobian(2, transient=6), at=(1,))}
    training, history = Training(**settings), History()
    states = list(training.go(training.begin(start), Recorder((), history)))
    final = lf.digest(states[-1].model)
    assert len(history.penalty) == 2
    run = lf.RunFolder(tmp_path)
    with run.alone():
        run.create(training, start, {})
    assert run.training() == training
    for state in (None, *states):
        if state is not None:
            run.write_checkpoint(state, history)
        trained, whole = lf.resume(tmp_path)
        assert lf.digest(trained) == final
        same_history(whole, history)
        for kind in ("loss", "values", "epoch"):
            np.testing.assert_array_equal(whole.penalty[kind], history.penalty[kind])
        for name in ("checkpoint.safetensors", "history.npz"):
            (tmp_path / name).unlink()


@pytest.mark.parametrize("stop", range(1, 10))
def test_stopped_at_any_record_and_resumed_is_uninterrupted(tmp_path, stop):
    settings = SETTINGS | TERM | {"epochs": 4, "flossing": episodes(ONE_STEP, steps=42, at=(1,))}
    expected, whole = lf.train(model(), **settings)
    heard = []

    def enough(record):
        heard.append(record)
        return len(heard) == stop

    _, part = lf.train(model(), **settings, callbacks=enough, folder=tmp_path)
    # an epoch's penalty and loss are both told before the run ends
    assert len(heard) == stop + (heard[stop - 1].kind == "penalty")
    assert len(part.training) + len(part.penalty) + len(part.flossing) == len(heard)
    trained, history = lf.resume(tmp_path)
    assert lf.digest(trained) == lf.digest(expected)
    same_history(history, whole)
    np.testing.assert_array_equal(history.penalty["values"], whole.penalty["values"])


def test_a_penalty_of_ones_own_is_given_again(tmp_path):
    own = SmallWeights(0.1)
    settings = SETTINGS | {"penalty": own, "weight": 0.5, "flossing": episodes(own)}
    expected = lf.digest(lf.train(model(), **settings)[0])
    lf.train(model(), **settings, folder=tmp_path, callbacks=lambda record: record.epoch == 1)
    for given, message in [
        ({}, r"one of lyapflow\.penalties, got 'tests.*SmallWeights'; give your own as flossing="),
        ({"flossing": settings["flossing"]}, "give your own as penalty="),
        ({"flossing": settings["flossing"], "penalty": SpectralRadius()}, "the run's penalty is"),
        ({"flossing": episodes(SpectralRadius()), "penalty": own}, "the run's flossing is"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            lf.resume(tmp_path, **given)
    found, _ = lf.resume(tmp_path, penalty=own, flossing=settings["flossing"])
    assert lf.digest(found) == expected


@pytest.mark.parametrize(
    "penalty",
    [
        Exponents(3, [0.1, 0.2, 0.3], np.ones(3), "loss", True, 2, 1, 4),
        Exponents(2, t_ons="auto"),
        SpectralRadius(np.float64(0.5)),
        OneStepJacobian(None, 0.5, 3),
    ],
)
def test_settings_come_back_from_a_folder(tmp_path, penalty):
    settings = SETTINGS | {"penalty": penalty, "weight": 0.5, "every": 3}
    expected, _ = lf.train(
        model(), **settings, flossing=episodes(penalty, steps=20), folder=tmp_path
    )
    training = lf.RunFolder(tmp_path).training()
    assert type(training.penalty) is type(training.flossing.penalty) is type(penalty)
    assert (training.weight, training.every) == (0.5, 3)
    again, _ = lf.train(model(), **vars(training))
    assert lf.digest(again) == lf.digest(expected)


class Breaks(SmallWeights):
    """Has no gradient where weights have grown."""

    def value_and_grad(self, cell, x, h0=None):
        if abs(cell.W[0, 0]) > 100:
            raise lf.Diverged("weights are large", step=7)
        return super().value_and_grad(cell, x, h0)


def test_a_penalty_that_diverges_names_the_epoch_and_leaves_a_member_behind():
    good, bad = model(), model()
    bad.cell.W[0, 0] = 1000.0
    settings = SETTINGS | {"penalty": Breaks(), "weight": 0.1, "every": 2}
    with pytest.raises(lf.Diverged, match=r"^epoch 0: penalty: weights are large") as caught:
        lf.train(bad, **settings)
    assert (caught.value.epoch, caught.value.step) == (0, 7)
    both, history = lf.train(lf.stack([good, bad]), **settings | {"seed": (3, 3)})
    assert both.reasons == (None, "epoch 0: penalty: weights are large")
    same(both[0], lf.train(good, **settings)[0])
    same(both[1], bad)
    assert np.isnan(history.penalty["values"][:, 1]).all()
    assert np.isfinite(history.penalty["values"][:, 0]).all()
    flossing = episodes(Breaks(), at=(1,))
    both, history = lf.train(
        lf.stack([good, bad]), **SETTINGS | {"seed": (3, 3)}, flossing=flossing
    )
    assert both.reasons[1].startswith("epoch 1: flossing epoch 0: weights are large")
    assert np.isnan(history.flossing["values"][:, 1]).all()


def test_a_weight_of_numpy_keeps_float32():
    start, term = model(dtype=np.float32), {"penalty": SpectralRadius(), "weight": 0.1}
    expected, _ = lf.train(start, **SETTINGS, **term)
    found, _ = lf.train(start, **SETTINGS, **term | {"weight": np.float64(0.1)})
    assert lf.digest(found) == lf.digest(expected)


# users' mistakes


class Wrong(SmallWeights):
    """Returns what it should not."""

    def __init__(self, change):
        object.__setattr__(self, "change", change)
        super().__init__()

    def value_and_grad(self, cell, x, h0=None):
        return self.change(*super().value_and_grad(cell, x, h0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss, gradient, values: gradient, "must return a number, a cell and an array"),
        (lambda loss, gradient, values: (None, gradient, values), "must return a number, a cell"),
        (lambda loss, gradient, values: (loss, gradient.W, values), "with W float64"),
        (
            lambda loss, gradient, values: (loss, gradient[:2], values),
            "a gradient in W, V, b and n_values = 1 values, got 2 arrays",
        ),
        (lambda loss, gradient, values: (loss, gradient, [1.0, 2.0]), "values of shape"),
        (
            lambda loss, gradient, values: (loss, gradient._replace(b=np.zeros(1)), values),
            r"with b float64 \(8,\), got float64 \(1,\)",
        ),
        (
            lambda loss, gradient, values: (loss, gradient, ["a"]),
            "the values of Wrong must be real numbers, got <U1",
        ),
        (
            lambda loss, gradient, values: (loss, gradient, [1j]),
            "the values of Wrong must be real numbers, got complex128",
        ),
        (lambda loss, gradient, values: (np.nan, gradient, values), "of Wrong is not finite"),
        (
            lambda loss, gradient, values: (loss, gradient._replace(b=np.full(8, np.inf)), values),
            "the loss or the gradient of Wrong is not finite",
        ),
    ],
)
def test_what_a_penalty_returns_is_checked(change, message):
    for settings in (
        {"penalty": Wrong(change), "weight": 1.0},
        {"flossing": episodes(Wrong(change))},
    ):
        with pytest.raises(lf.LyapflowError, match=message):
            lf.train(model(), **SETTINGS, **settings)


def test_an_error_within_a_penalty_of_ones_own_is_raised_as_it_is():
    wrong = Wrong(lambda *_: np.linalg.inv(np.zeros((2, 2))))
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        lf.train(model(), **SETTINGS, penalty=wrong, weight=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty": SpectralRadius, "weight": 1.0}, "penalty must be one of lyapflow.penalties"),
        ({"penalty": "exponents", "weight": 1.0}, "penalty must be one of lyapflow.penalties"),
        ({"penalty": ONE_STEP}, "a penalty needs a weight"),
        ({"penalty": ONE_STEP, "weight": 0.0}, "weight must be a finite number above 0"),
        ({"penalty": ONE_STEP, "weight": -1.0}, "weight must be a finite number above 0"),
        ({"penalty": ONE_STEP, "weight": "much"}, "weight must be a finite number above 0"),
        ({"weight": 1.0}, "weight and every are of a penalty"),
        ({"every": 2}, "weight and every are of a penalty"),
        ({"penalty": ONE_STEP, "weight": 1.0, "every": 0}, "every must be an integer at least 1"),
        ({"penalty": OneStepJacobian(9), "weight": 1.0}, "k must be an integer between 1 and 8"),
        ({"penalty": Exponents(9), "weight": 1.0}, "k must be an integer between 1 and 8"),
        (
            {"penalty": Exponents(2, q_transient=60), "weight": 1.0},
            "longer than its transients: got 55 steps",
        ),
        ({"flossing": episodes(OneStepJacobian(9, transient=0), at=(4,))}, "k must be .* and 8"),
        ({"flossing": episodes(OneStepJacobian(2), at=(4,))}, "longer than its transients: got 12"),
    ],
)
def test_training(changes, message):
    def never(record):
        raise AssertionError("no work before")

    with pytest.raises(lf.LyapflowError, match=message):
        lf.train(model(), **SETTINGS | changes, callbacks=never)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": SpectralRadius}, "penalty must be one of lyapflow.penalties"),
        ({"k": 5}, "k is a setting of the penalty where one is given, got k=5 beside Spectral"),
        ({"target": [1.0, 2.0]}, "target is a setting of the penalty"),
        ({"average": "loss"}, "average is a setting of the penalty"),
        ({"q_transient": 3}, "q_transient is a setting of the penalty"),
        ({"transient": 3}, "transient is a setting of the penalty"),
        ({"t_ons": 3}, "t_ons is a setting of the penalty"),
    ],
)
def test_a_schedule_has_nothing_of_a_penalty_that_is_given(settings, message):
    with pytest.raises(lf.LyapflowError, match=message):
        lf.Flossing(**{"penalty": SpectralRadius()} | settings)


def test_a_schedule_with_a_penalty_says_nothing_of_exponents():
    flossing = lf.Flossing(penalty=SpectralRadius())
    assert [flossing.k, flossing.target, flossing.average, flossing.q_transient] == [None] * 4
    assert flossing.descended == SpectralRadius()
    assert lf.Flossing(k=3, target=-1.0).descended == Exponents(3, -1.0)
