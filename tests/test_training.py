"""Flossing and training as wholes: what is recorded, what is repeated, what ends a run."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays
from lyapflow.learning.history import FlossingRecord, Log
from lyapflow.learning.streams import stream

TASK = lf.tasks.BinaryTemporalXOR(2)


def model(n=8, seed=0, g=1.0, dtype=np.float64, task=TASK):
    rng = np.random.default_rng(seed)
    return lf.Model.random(
        lf.TanhRNN.random(n, task.n_inputs, rng=rng, g=g, dtype=dtype), task.n_outputs, rng=rng
    )


def small(**changes):
    return lf.Flossing(
        **({"k": 5, "epochs": 3, "steps": 12, "q_transient": 4, "at": (0, 2)} | changes)
    )


def test_floss_drives_exponents_to_their_target():
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(16, 1, rng=rng, g=0.5)
    test_input = rng.standard_normal((500, 1))
    for target in (0.0, -0.5):
        flossed, history = lf.floss(
            cell,
            lambda epoch: np.random.default_rng(epoch).standard_normal((60, 1)),
            k=4,
            epochs=200,
            optimizer=lf.Adam(1e-2),
            target=target,
            q_transient=10,
        )
        before, after = (
            lf.lyapunov_spectrum(c, test_input, 4, q_transient=50).exponents
            for c in (cell, flossed)
        )
        assert np.abs(after - target).max() < 0.1 < np.abs(before - target).max()
        assert len(history) == 200
        assert isinstance(history[0], FlossingRecord)
        assert history["exponents"].shape == (200, 4)
        assert history["loss"][-1] < 0.05 * history["loss"][0]
        assert history["loss"][0] == pytest.approx(((history["exponents"][0] - target) ** 2).sum())


def test_floss_is_adam_on_the_flossing_gradient():
    rng = np.random.default_rng(0)
    cell, inputs = lf.TanhRNN.random(6, 1, rng=rng), rng.standard_normal((5, 20, 1))
    adam = lf.Adam(1e-2)
    flossed, _ = lf.floss(cell, inputs.__getitem__, k=3, epochs=5, optimizer=adam)
    by_hand, state = cell, adam.init(cell)
    for x in inputs:
        _, gradient, _ = lf.flossing_value_and_grad(by_hand, x, 3)
        by_hand, state = adam.update(state, by_hand, gradient)
    for a, b in zip(flossed, by_hand):
        np.testing.assert_array_equal(a, b)


def test_fresh_input_every_epoch():
    class Spy(lf.tasks.BinaryTemporalXOR):
        def _draw(self, rng, T, batch):
            drawn.append((T, super()._draw(rng, T, batch)))
            return drawn[-1][1]

    draws = []
    for _ in range(2):
        drawn = []
        lf.train(model(), Spy(2), epochs=4, seed=0, T=40, flossing=small(steps=30))
        draws.append(drawn)
    for first, second in zip(*draws):
        np.testing.assert_array_equal(first[1], second[1])
    # four epochs and the test data; two episodes of three epochs
    for length, count in ((40, 5), (30, 6)):
        assert len({drawn.tobytes() for T, drawn in draws[0] if T == length}) == count


@pytest.mark.parametrize(("T", "together"), [(20, 3), (4000, 2), (40_000, 1)])
def test_small_samples_are_drawn_together_and_large_ones_one_at_a_time(T, together):
    class Spy(lf.tasks.BinaryTemporalXOR):
        def sample(self, *args):
            nonlocal drawn, waiting
            drawn += 1
            waiting = max(waiting, drawn - told)
            return super().sample(*args)

    def tell(record):
        nonlocal told
        told += 1

    drawn, told, waiting = -1, 0, 0  # the test data are the first
    lf.train(model(n=2), Spy(2), epochs=3, seed=0, T=T, batch=8, callbacks=tell)
    assert (drawn, waiting) == (3, together)


def test_a_task_is_learnt_and_every_array_moves():
    start = model(n=20)
    trained, history = lf.train(start, TASK, epochs=400, seed=0, T=30, optimizer=lf.Adam(3e-3))
    assert history.training["accuracy"][-20:].mean() > 0.9
    assert history.training["loss"][-1] < 0.5 * history.training["loss"][0]
    for name, a, b in zip(("W", "V", "b", "W_out", "b_out", "h0"), arrays(start), arrays(trained)):
        assert not np.array_equal(a, b), name


def test_what_the_history_records():
    _, history = lf.train(
        model(), TASK, epochs=5, seed=0, T=20, batch=3, flossing=small(), measure_every=2
    )
    np.testing.assert_array_equal(history.training["epoch"], range(5))
    np.testing.assert_array_equal(history.flossing["training_epoch"], [0, 0, 0, 2, 2, 2])
    np.testing.assert_array_equal(history.flossing["epoch"], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(history.measurement["epoch"], [0, 2, 4, 5])
    last = history.measurement[-1]
    assert last.singular_values.shape == last.exponents.shape == (8,)
    assert (np.diff(last.singular_values) <= 0).all()
    assert (history.training["h0_gradient_norm"] > 0).all()
    assert isinstance(history.training[-2:], Log)
    np.testing.assert_array_equal(history.training[-2:]["epoch"], [3, 4])


@pytest.mark.parametrize("task", [TASK, lf.tasks.DelayedCopy(2)])
def test_records_are_those_of_the_public_functions(task):
    start = model(task=task)
    trained, history = lf.train(start, task, epochs=1, seed=3, T=20, batch=5, measure_every=1)

    def outputs(network, x, first):
        return lf.trajectory(network.cell, x, network.h0)[first:] @ network.W_out.T + network.b_out

    def accuracy(network, x, y, first):
        return (
            np.mean((outputs(network, x, first) > 0) == (y[first:] == 1))
            if task is TASK
            else np.nan
        )

    x, y, first = task.sample(stream(3, "data", 0), 20, 5)
    loss, gradient = lf.bptt_value_and_grad(start, x, y, first=first, loss=task.loss)
    record = history.training[0]
    assert record.loss == loss
    assert record.h0_gradient_norm == pytest.approx(np.linalg.norm(gradient.h0))
    np.testing.assert_equal(record.accuracy, accuracy(start, x, y, first))

    x, y, first = task.sample(stream(3, "test"), 20, 5)
    for network, record in zip((start, trained), history.measurement):
        loss, gradient = lf.bptt_value_and_grad(network, x, y, first=first, loss=task.loss)
        assert record.loss == loss
        np.testing.assert_equal(record.accuracy, accuracy(network, x, y, first))
        np.testing.assert_allclose(
            record.singular_values, np.linalg.svd(gradient.cell.W)[1], atol=1e-15
        )
        exponents = lf.lyapunov_spectrum(
            network.cell, x[:, 0], h0=network.h0, q_transient=5
        ).exponents
        np.testing.assert_array_equal(record.exponents, exponents)


def test_a_tiny_gradient_has_a_norm_in_float32():
    task = lf.tasks.BinaryTemporalXOR(40)
    norms = []
    for dtype in (np.float64, np.float32):
        start = model(n=20, g=0.3, dtype=dtype, task=task)
        norms.append(
            lf.train(start, task, epochs=1, seed=0, T=60)[1].training["h0_gradient_norm"][0]
        )
    assert 0 < norms[0] < 1e-22
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_a_regression_task_has_no_accuracy():
    task = lf.tasks.DelayedCopy(2)
    _, history = lf.train(model(task=task), task, epochs=2, seed=0, T=10)
    assert np.isnan(history.training["accuracy"]).all()
    # the first loss is that of the untrained network on the first sample of the seed
    assert history.training["loss"][0] > 0


def test_measuring_does_not_change_the_run():
    plain, _ = lf.train(model(), TASK, epochs=4, seed=0, T=20, flossing=small())
    measured, _ = lf.train(model(), TASK, epochs=4, seed=0, T=20, flossing=small(), measure_every=1)
    for a, b in zip(arrays(plain), arrays(measured)):
        np.testing.assert_array_equal(a, b)


def test_an_episode_changes_the_cell_alone_from_fresh_moments_and_from_h0():
    start = model()._replace(h0=np.random.default_rng(5).standard_normal(8))
    seen = []
    trained, _ = lf.train(
        start,
        TASK,
        epochs=1,
        seed=0,
        T=20,
        flossing=small(at=(0,)),
        optimizer=lf.Adam(0.0),
        callbacks=seen.append,
    )
    for name in ("W_out", "b_out", "h0"):
        np.testing.assert_array_equal(getattr(trained, name), getattr(start, name))
    assert not np.array_equal(trained.cell.W, start.cell.W)
    assert [record.kind for record in seen] == ["flossing"] * 3 + ["training"]


def test_an_episode_is_floss_with_the_settings_of_the_schedule():
    adam = lf.Adam(2e-3)
    options = {"target": np.arange(-3.0, 0.0), "t_ons": 2, "transient": 3, "q_transient": 5}
    flossing = lf.Flossing(k=3, epochs=4, steps=25, at=(0,), optimizer=adam, batch=2, **options)
    start = model()._replace(h0=np.random.default_rng(5).standard_normal(8))
    trained, history = lf.train(
        start, TASK, epochs=1, seed=0, T=20, flossing=flossing, optimizer=lf.Adam(0.0)
    )

    def inputs(epoch):
        return TASK.inputs(stream(0, "flossing before 0", epoch), 25, 2)

    cell, log = lf.floss(start.cell, inputs, k=3, epochs=4, h0=start.h0, optimizer=adam, **options)
    np.testing.assert_array_equal(cell.W, trained.cell.W)
    np.testing.assert_array_equal(log["loss"], history.flossing["loss"])


def test_callbacks_end_a_run():
    def stop_after(kind, count):
        seen = []

        def callback(record):
            seen.append(record)
            return sum(r.kind == kind for r in seen) == count

        return callback

    _, history = lf.train(
        model(), TASK, epochs=50, seed=0, T=20, callbacks=stop_after("training", 3)
    )
    assert len(history.training) == 3
    _, history = lf.train(
        model(),
        TASK,
        epochs=50,
        seed=0,
        T=20,
        flossing=small(),
        callbacks=[stop_after("flossing", 5)],
    )
    assert len(history.flossing) == 5
    assert len(history.training) == 2
    _, history = lf.train(
        model(),
        TASK,
        epochs=50,
        seed=0,
        T=20,
        measure_every=2,
        callbacks=stop_after("measurement", 2),
    )
    assert len(history.training) == 2
    # NumPy's True counts, other values that are true do not: a logger may return what it wrote
    _, history = lf.train(
        model(), TASK, epochs=5, seed=0, T=20, callbacks=lambda record: np.array(0.7) > 0.5
    )
    assert len(history.training) == 1
    _, history = lf.train(model(), TASK, epochs=5, seed=0, T=20, callbacks=lambda record: 42)
    assert len(history.training) == 5
    # every callback hears every record, the last one included
    heard = []
    lf.train(
        model(), TASK, epochs=50, seed=0, T=20, callbacks=[stop_after("training", 2), heard.append]
    )
    assert len(heard) == 2


def test_schedules():
    assert small(at=range(0, 30, 10)).at == (0, 10, 20)
    assert small(at=iter([5, 0, 5])).at == (0, 5)
    _, history = lf.train(model(), TASK, epochs=2, seed=0, T=20, flossing=small(at=(0, 100)))
    np.testing.assert_array_equal(np.unique(history.flossing["training_epoch"]), [0])


def test_users_own_task():
    class Parity:
        n_inputs, n_outputs, loss = 1, 1, "mse"

        def inputs(self, rng, T, batch, dtype=np.float64):
            return rng.standard_normal((T, batch, 1)).astype(dtype)

        def sample(self, rng, T, batch, dtype=np.float64):
            x = self.inputs(rng, T, batch, dtype)
            return x, np.cumsum(x, axis=0), 0

    trained, _ = lf.train(model(), Parity(), epochs=2, seed=0, T=20, flossing=small())
    assert isinstance(trained, lf.Model)


def test_a_run_that_diverges_keeps_its_history():
    class Sparks:
        """Inputs that overflow the state in epoch 3."""

        n_inputs, n_outputs, loss = 1, 1, "mse"
        drawn = 0

        def inputs(self, rng, T, batch, dtype=np.float64):
            return rng.standard_normal((T, batch, 1)).astype(dtype)

        def sample(self, rng, T, batch, dtype=np.float64):
            x = self.inputs(rng, T, batch, dtype)
            self.drawn += 1
            if self.drawn == 5:  # the test sample is the first
                x[7] = 1e308
            return x, np.zeros_like(x), 0

    start = model()
    start.cell.V[:] = 10.0
    with pytest.raises(
        lf.Diverged, match=r"^epoch 3: the state stopped being finite at step 7"
    ) as caught:
        lf.train(start, Sparks(), epochs=10, seed=0, T=20)
    assert (caught.value.epoch, caught.value.step) == (3, 7)
    assert len(caught.value.history.training) == 3


def test_a_gradient_that_overflows_ends_the_run():
    start = model()
    start = start._replace(W_out=np.full_like(start.W_out, 1e200), h0=np.ones_like(start.h0))
    x, y = np.zeros((3, 1, 1)), np.zeros((3, 1, 1))
    with pytest.raises(lf.Diverged, match="the task loss stopped being finite at step 0") as caught:
        lf.bptt_value_and_grad(start, x, y, loss="mse")
    assert caught.value.step == 0


def test_a_gradient_that_overflows_names_the_step():
    # states stay bounded, tanh(h) = ±1, but near h = 0 each step multiplies the gradient by 1e80
    cell = lf.TanhRNN(1e80 * np.eye(2), np.zeros((2, 1)), np.zeros(2))
    start = lf.Model(cell, np.ones((1, 2)), np.zeros(1), np.zeros(2))
    with pytest.raises(lf.Diverged, match="the gradient stopped being finite at step 6") as caught:
        lf.bptt_value_and_grad(start, np.zeros((10, 1, 1)), np.zeros((10, 1, 1)))
    assert caught.value.step == 6


def test_the_trajectory_that_overflows_is_named():
    x = np.zeros((5, 3, 1))
    x[2, 1] = 1e308
    with pytest.raises(lf.Diverged, match="at step 2") as caught:
        lf.trajectory(lf.TanhRNN(np.eye(1), np.array([[10.0]]), np.zeros(1)), x)
    assert (caught.value.step, caught.value.member) == (2, 1)


def digest(tree):
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays(tree))).hexdigest()


RUN = """
from tests.test_training import *
trained, _ = lf.train(model(n=40), TASK, epochs=6, seed=0, flossing=small(k=35, batch=2), measure_every=2)
print(digest(trained))
"""


def test_same_seed_same_bits_whatever_the_number_of_threads():
    digests = set()
    for threads in ("1", "2"):
        environment = os.environ | {
            "NUMBA_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
        }
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", RUN],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            digests.add(done.stdout)
    here, _ = lf.train(model(n=40), TASK, epochs=6, seed=0, flossing=small(k=35, batch=2))
    assert digests == {digest(here) + "\n"}


def test_runs_in_threads_have_the_bits_of_runs_alone():
    def run(seed):
        return digest(
            lf.train(model(n=20, seed=seed), TASK, epochs=10, seed=seed, T=50, flossing=small())[0]
        )

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(4)))
    assert together == [run(seed) for seed in range(4)]
    assert len(set(together)) == 4


def test_what_comes_back_is_a_copy():
    """Whoever trains for no epoch, too, may change what comes back."""
    start = model()
    trained, _ = lf.train(start, lf.tasks.BinaryTemporalXOR(2), epochs=0, seed=0, T=20, batch=4)
    flossed, _ = lf.floss(start.cell, lambda epoch: np.ones((20, 1)), k=2, epochs=0)
    for found, given in ((trained, start), (flossed, start.cell)):
        for ours, theirs in zip(arrays(found), arrays(given)):
            np.testing.assert_array_equal(ours, theirs)
            assert not np.shares_memory(ours, theirs)


def test_flossing_descends_the_average_that_was_asked_for():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(6, 1, rng=rng), rng.standard_normal((25, 3, 1))
    optimizer = lf.Adam(0.01)
    for average in ("exponents", "loss"):
        loss, gradient, _ = lf.flossing_value_and_grad(cell, x, 2, average=average)
        flossed, history = lf.floss(
            cell, lambda epoch: x, k=2, epochs=1, optimizer=optimizer, average=average
        )
        expected, _ = optimizer.update(optimizer.init(cell), cell, gradient)
        assert history[0].loss == loss
        for a, b in zip(flossed, expected):
            np.testing.assert_array_equal(a, b)
