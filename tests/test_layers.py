"""Networks of layers: against the layers one by one, the joint Jacobian, and differences."""

import itertools

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays, map_arrays
from lyapflow.cells.interface import sizes
from tests.gradcheck import DTYPES, next_state, norm, random_cell, relative_error

KINDS = {
    "lstm, tanh": (lf.LSTM, lf.TanhRNN),
    "gru, rate": (lf.GRU, lf.RateRNN),
    "tanh, lstm, elman": (lf.TanhRNN, lf.LSTM, lf.ElmanRNN),
}
each_network = pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
IN_FLOAT32 = "lstm, tanh"  # alone: the source is the same, and takes long to compile
each_network_and_dtype = pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        pytest.param(kinds, dtype, id=f"{name}-{dtype.__name__}")
        for name, kinds in KINDS.items()
        for dtype in DTYPES
        if name == IN_FLOAT32 or dtype == np.float64
    ],
)
short_runs = pytest.mark.filterwarnings("ignore:.*growth rates stay")


def network(kinds, seed=0, dtype=np.float64, m=2, g=1.0):
    """Layers of 5, 4, 3 units."""
    rng = np.random.default_rng(seed)
    inputs = (m, 5, 4)
    return lf.layers(
        *(random_cell(kind, 5 - i, inputs[i], rng, g, dtype) for i, kind in enumerate(kinds))
    )


def units(layer, states):
    """What a layer shows to the next."""
    return np.ascontiguousarray(states[..., : sizes(layer).units])


@each_network_and_dtype
def test_states_are_those_of_the_layers_one_by_one(kinds, dtype):
    net, rng = network(kinds, dtype=dtype), np.random.default_rng(1)
    x = rng.standard_normal((30, 3, 2)).astype(dtype)
    n = sizes(net).state
    h0 = rng.standard_normal((3, n)).astype(dtype)
    states = lf.trajectory(net, x, h0)
    assert states.shape == (30, 3, n) and states.dtype == dtype
    for layer, found, start in zip(net.layers, net.split(states), net.split(h0)):
        expected = lf.trajectory(layer, x, np.ascontiguousarray(start))
        np.testing.assert_array_equal(found, expected)
        x = units(layer, expected)
    assert lf.trajectory(net, np.zeros((4, 2), dtype)).shape == (4, n)


def joint_step(net, h, x):
    """One step of all layers from their equations."""
    found = []
    for layer, part in zip(net.layers, net.split(h)):
        found.append(next_state(layer, part, x))
        x = units(layer, found[-1])
    return np.concatenate(found)


def joint_jacobian(net, h, x, distance=1e-6):
    columns = [
        joint_step(net, h + distance * e, x) - joint_step(net, h - distance * e, x)
        for e in np.eye(h.size)
    ]
    return np.array(columns).T / (2 * distance)


@short_runs
@each_network
def test_the_union_of_the_layers_exponents_is_the_joint_spectrum(kinds):
    net, rng = network(kinds), np.random.default_rng(1)
    x = rng.standard_normal((600, 2))
    found = lf.lyapunov_spectrum(net, x, q_transient=100)
    states = lf.trajectory(net, x)
    n = states.shape[1]
    Q, log_R = np.linalg.qr(rng.standard_normal((n, n)))[0], []
    for h, drive in zip(np.vstack([np.zeros(n), states]), x):
        Q, R = np.linalg.qr(joint_jacobian(net, h, drive) @ Q)
        log_R.append(np.log(np.abs(np.diagonal(R))))
    joint = np.sort(np.mean(log_R[100:], axis=0))[::-1]
    # the sum is log |det D|, whichever way it is split
    assert found.exponents.sum() == pytest.approx(joint.sum(), abs=1e-6)
    off = (found.exponents - joint) / found.stderr
    assert np.sqrt(np.mean(off**2)) < 2.0
    assert found.n_state == n


@short_runs
@each_network
def test_each_exponent_has_its_layer(kinds):
    net, rng = network(kinds), np.random.default_rng(1)
    x = rng.standard_normal((300, 2, 2))
    found = lf.lyapunov_spectrum(net, x, q_transient=20)
    assert (np.diff(found.exponents) <= 0).all()
    drive = x
    for number, layer in enumerate(net.layers):
        alone = lf.lyapunov_spectrum(layer, drive, q_transient=20)
        own = found.by_layer[number]
        for name in ("exponents", "stderr", "history", "trajectories", "factorisations"):
            np.testing.assert_array_equal(getattr(own, name), getattr(alone, name))
        mine = found.layer == number
        order = np.argsort(-alone.exponents, kind="stable")
        np.testing.assert_array_equal(found.exponents[mine], alone.exponents[order])
        np.testing.assert_allclose(found.stderr[mine], alone.stderr[order], rtol=1e-12)
        np.testing.assert_array_equal(found.trajectories[:, mine], alone.trajectories[:, order])
        drive = units(layer, lf.trajectory(layer, drive))

    few = lf.lyapunov_spectrum(net, x, 5, q_transient=20)
    np.testing.assert_allclose(few.exponents, found.exponents[:5], rtol=1e-12)
    np.testing.assert_array_equal(few.layer, found.layer[:5])
    each = lf.lyapunov_spectrum(net, x, [1] * len(net.layers), q_transient=20)
    assert sorted(each.layer) == list(range(len(net.layers)))


@short_runs
def test_what_moves_the_exponents_of_two_layers_moves_their_sum():
    # layers that copy the same growth: the error of the sum is twice that of one
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 1))
    below = lf.TanhRNN(np.array([[0.9]]), np.ones((1, 1)), np.zeros(1))
    # its unit is that of the layer below, one step late
    above = lf.TanhRNN(np.array([[0.9]]), np.zeros((1, 1)), np.zeros(1))
    found = lf.lyapunov_spectrum(lf.layers(below, above), x)
    weights = np.ones(2)
    together = np.linalg.norm(found.deviations @ weights)
    assert together == pytest.approx(found.stderr[found.layer == 0][0], rel=0.1)
    timed = found.per(0.5)
    np.testing.assert_array_equal(timed.by_layer[1].exponents, 2 * found.by_layer[1].exponents)


def test_rounding_errors_of_a_layer_are_in_the_bars_of_the_network(monkeypatch):
    net, x = network((lf.TanhRNN, lf.LSTM)), np.random.default_rng(1).standard_normal((300, 1, 2))
    before = lf.lyapunov_spectrum(net, x, [1, 1])
    errors = {0: np.full((1, 1), 0.5), 1: np.full((1, 1), 0.1)}
    monkeypatch.setattr(
        "lyapflow.lyapunov.measured.rounding_errors", lambda course: errors.pop(min(errors))
    )
    after = lf.lyapunov_spectrum(net, x, [1, 1])
    more = np.where(after.layer == 0, 0.5, 0.1)
    np.testing.assert_allclose(after.stderr, np.hypot(before.stderr, more), rtol=1e-3)


@short_runs
def test_a_layer_that_runs_a_step_late_gives_the_same_union():
    rng = np.random.default_rng(0)
    below, above = (lf.ElmanRNN.random(4, m, rng=rng, g=1.5) for m in (2, 4))
    x = rng.standard_normal((3000, 2))
    found = lf.lyapunov_spectrum(lf.layers(below, above), x, q_transient=100)
    late = lf.ElmanRNN(
        np.block([[below.W, np.zeros((4, 4))], [above.V, above.W]]),
        np.vstack([below.V, np.zeros((4, 2))]),
        np.concatenate([below.b, above.b]),
        np.ones(8),
    )
    joint = lf.lyapunov_spectrum(late, x, q_transient=100)
    scatter = np.hypot(found.stderr, joint.stderr)
    assert (np.abs(found.exponents - np.sort(joint.exponents)[::-1]) < 3 * scatter).all()


@each_network_and_dtype
@pytest.mark.parametrize(
    "options",
    [
        {"t_ons": 1, "transient": 0, "q_transient": 0, "average": "exponents"},
        {"t_ons": 3, "transient": 2, "q_transient": 4, "average": "loss", "memory": 0.0},
    ],
    ids=["plain", "pieces"],
)
def test_flossing_against_finite_differences(kinds, dtype, options):
    net, rng = network(kinds, dtype=dtype), np.random.default_rng(2)
    x = rng.standard_normal((14, 2, 2)).astype(dtype)
    k = (3, 2, 3)[: len(kinds)]
    target = rng.standard_normal(sum(k))
    gradients = lf.flossing_value_and_grad(net, x, k, target=target, input_gradient=True, **options)
    gradients = gradients[1], gradients[3]
    assert {a.dtype for a in arrays(gradients)} == {np.dtype(dtype)}

    def value(moved):
        return lf.flossing_value_and_grad(*moved, k, target=target, **options)[0]

    start = map_arrays(lambda a: a.astype(float), (net, x))
    errors = [relative_error(value, gradients, start, rng, d) for d in (1e-3, 1e-4, 1e-5)]
    assert min(errors) < (1e-8 if dtype is np.float64 else 2e-3)


@each_network
def test_flossing_is_the_sum_over_the_layers(kinds):
    net, x = network(kinds), np.random.default_rng(2).standard_normal((20, 2))
    loss, gradient, exponents = lf.flossing_value_and_grad(net, x, 2)
    assert exponents.shape == (2 * len(kinds),)
    losses, drive = [], x
    for number, layer in enumerate(net.layers):
        alone = lf.flossing_value_and_grad(layer, drive, 2)
        losses.append(alone[0])
        np.testing.assert_array_equal(exponents[2 * number : 2 * number + 2], alone[2])
        drive = units(layer, lf.trajectory(layer, drive))
    assert loss == pytest.approx(sum(losses), rel=1e-14)
    top = zip(arrays(gradient.layers[-1]), arrays(alone[1]))
    assert all(np.allclose(a, b, rtol=1e-12, atol=0) for a, b in top)
    below = zip(
        arrays(gradient.layers[0]), arrays(lf.flossing_value_and_grad(net.layers[0], x, 2)[1])
    )
    assert not all(np.allclose(a, b, rtol=1e-2) for a, b in below)  # what comes down matters


@each_network_and_dtype
@pytest.mark.parametrize("batch", [1, 33])
def test_task_gradients_against_finite_differences(kinds, dtype, batch):
    rng = np.random.default_rng(3)
    model = lf.Model.random(network(kinds), 2, rng=rng)
    model = model._replace(h0=0.3 * rng.standard_normal(model.h0.shape))
    model = map_arrays(lambda a: a.astype(dtype), model)
    x = rng.standard_normal((15, batch, 2)).astype(dtype)
    y = rng.random((15, batch, 2)).astype(dtype)
    _, *gradients = lf.bptt_value_and_grad(model, x, y, first=4, input_gradient=True)
    plain = lf.bptt_value_and_grad(model, x, y, first=4)[1]
    assert lf.digest(plain) == lf.digest(gradients[0])

    def value(moved):
        return lf.bptt_value_and_grad(*moved, y.astype(float), first=4)[0]

    start = map_arrays(lambda a: a.astype(float), (model, x))
    errors = [relative_error(value, tuple(gradients), start, rng, d) for d in (1e-3, 1e-4, 1e-5)]
    assert norm(tuple(gradients)) > 1e-3
    assert min(errors) < (1e-7 if dtype is np.float64 else 2e-3)


def test_training_flossing_and_files(tmp_path):
    net = network(KINDS["lstm, tanh"], m=1)
    model = lf.Model.random(net, 1, rng=np.random.default_rng(0))
    lf.save(tmp_path / "w", model)
    loaded = lf.load(tmp_path / "w")
    assert lf.digest(loaded) == lf.digest(model)
    assert [type(layer) for layer in loaded.cell.layers] == list(KINDS["lstm, tanh"])
    options = {
        "task": lf.tasks.DelayedCopy(2),
        "T": 20,
        "batch": 4,
        "flossing": lf.Flossing(k=[2, 3], epochs=3, steps=25, at=(0, 3)),
        "measure_every": 2,
    }
    trained, history = lf.train(model, epochs=5, seed=0, **options)
    assert history.flossing["exponents"].shape == (6, 5)
    run = tmp_path / "run"
    stop = {"callbacks": lambda record: getattr(record, "epoch", 0) == 3, "folder": run}
    halfway, _ = lf.train(model, epochs=5, seed=0, checkpoint_epochs=1, **stop, **options)
    assert lf.RunFolder(run).training().flossing.k == (2, 3)
    gone_on, _ = lf.resume(run)
    assert lf.digest(halfway) != lf.digest(gone_on) == lf.digest(trained)
    assert history.measurement[-1].exponents.shape == (14,)
    changed = zip(arrays(trained.cell), arrays(net))
    assert all((a != b).any() for a, b in changed)


@short_runs
def test_members_have_the_bits_that_they_have_alone():
    nets = [network(KINDS["gru, rate"], seed) for seed in range(2)]
    x = np.random.default_rng(0).standard_normal((2, 60, 2))
    both = lf.stack(nets)
    assert both.layers[0].W.shape == (2, 3, 5, 5)
    found = lf.lyapunov_spectrum(both, x)
    loss, gradient, exponents = lf.flossing_value_and_grad(both, x, 2)
    for r, net in enumerate(nets):
        alone = lf.lyapunov_spectrum(net, x[r])
        np.testing.assert_array_equal(found.exponents[r], alone.exponents)
        np.testing.assert_array_equal(found.layer[r], alone.layer)
        np.testing.assert_array_equal(found.by_layer[1].stderr[r], alone.by_layer[1].stderr)
        of_one = lf.flossing_value_and_grad(net, x[r], 2)
        assert (loss[r], lf.digest(gradient[r])) == (of_one[0], lf.digest(of_one[1]))
        np.testing.assert_array_equal(exponents[r], of_one[2])
    flossed, history = lf.floss(both, lambda epoch: x, k=None, epochs=2)
    assert history["exponents"].shape == (2, 2, 9)
    assert lf.digest(flossed[1]) == lf.digest(
        lf.floss(nets[1], lambda epoch: x[1], k=None, epochs=2)[0]
    )


def test_layers_flatten_and_penalties_sum():
    net = network(KINDS["tanh, lstm, elman"])
    again = lf.layers(lf.layers(*net.layers[:2]), net.layers[2])
    assert lf.digest(again) == lf.digest(net)
    loss, gradient, radii = lf.penalties.SpectralRadius().value_and_grad(net)
    of = [lf.penalties.SpectralRadius().value_and_grad(layer) for layer in net.layers]
    assert loss == pytest.approx(sum(part[0] for part in of))
    assert len(radii) == lf.penalties.SpectralRadius().n_values(net) == 6
    assert lf.digest(gradient.layers[1]) == lf.digest(of[1][1])
    penalty = lf.penalties.Exponents((1, 2, 1), target=[0.0, -0.1, -0.2, 0.0])
    x = np.random.default_rng(0).standard_normal((30, 2))
    assert penalty.value_and_grad(net, x)[2].shape == (penalty.n_values(net, x),) == (4,)


@short_runs
def test_bad_input():
    net, rng = network(KINDS["lstm, tanh"]), np.random.default_rng(0)
    x = rng.standard_normal((10, 2))
    narrow = lf.TanhRNN.random(3, 4, rng=rng)
    single = lf.TanhRNN.random(3, 4, rng=rng, dtype=np.float32)
    cases = {
        r"layer 2 \(TanhRNN\) takes 4 inputs, layer 1 \(TanhRNN\) has 3 units": lambda: lf.layers(
            lf.TanhRNN.random(4, 2, rng=rng), narrow, narrow
        ),
        "one dtype, got float64 in layer 1 and float32 in layer 2": lambda: lf.layers(net, single),
        "bottom first, got none": lf.layers,
        "layer 0: a cell must be one of lyapflow's": lambda: lf.layers(3),
        "layer 1: this takes a cell, got a Model": lambda: lf.layers(
            net.layers[0], lf.Model.random(narrow, 1, rng=rng)
        ),
        "one network of layers with lyapflow.layers": lambda: lf.lyapunov_spectrum([net, net], x),
        "k must be an integer between 1 and 14 = n_state of these layers": (
            lambda: lf.lyapunov_spectrum(net, x, 15)
        ),
        "k must be given for each of the 2 layers, got 3": lambda: lf.lyapunov_spectrum(
            net, x, (1, 2, 3)
        ),
        "layer 1: k must be an integer between 1 and 4": lambda: lf.flossing_value_and_grad(
            net, x, 5
        ),
        r"h0 must have shape \(14,\), got \(5,\)": lambda: lf.trajectory(net, x, np.zeros(5)),
        "q0 must be given for each of the 2 layers": lambda: lf.lyapunov_spectrum(
            net, x, q0=[np.eye(10)]
        ),
        r"target must be a finite number or 4 of them": lambda: lf.flossing_value_and_grad(
            net, x, 2, target=[0.0, 0.0]
        ),
    }
    for message, call in cases.items():
        with pytest.raises(lf.LyapflowError, match=message):
            call()
    lossy = lf.layers(
        lf.LinearRNN(np.diag([0.0, 0.5]), np.ones((2, 2)), np.zeros(2)), net.layers[0]
    )
    with pytest.raises(lf.Diverged, match=r"layer 0: .* lost rank at step 0 .*ask for k <= 1"):
        lf.flossing_value_and_grad(lossy, x, 2)
    assert np.isneginf(lf.lyapunov_spectrum(lossy, x).exponents[-1])
    exploding = lf.LinearRNN(1e200 * np.eye(5), np.ones((5, 5)), np.zeros(5))
    grown = lf.layers(net.layers[0], exploding)
    for call in (
        lambda: lf.trajectory(grown, x),
        lambda: lf.bptt_value_and_grad(
            lf.Model.random(grown, 1, rng=rng), x[:, None], np.zeros((10, 1, 1))
        ),
    ):
        with pytest.raises(lf.Diverged, match="layer 1: the state stopped being finite") as caught:
            call()
        assert caught.value.step is not None
    kinds = itertools.product((lf.TanhRNN, lf.ReluRNN), repeat=2)
    models = [lf.Model.random(kind.random(3, 1, rng=rng), 1, rng=rng) for kind, _ in kinds]
    with pytest.raises(lf.LyapflowError, match="first has TanhRNN, member 2 has ReluRNN"):
        lf.stack(models)


@each_network
def test_the_jacobian_of_all_layers(kinds):
    net, rng = network(kinds), np.random.default_rng(4)
    n = sizes(net).state
    h, x = rng.standard_normal(n), rng.standard_normal(2)
    D = lf.jacobian(net, h, x)
    np.testing.assert_allclose(D, joint_jacobian(net, h, x), atol=1e-8)
    first = net.split(h)[0].size
    assert not D[:first, first:].any() and D[first:, :first].any()
    single = map_arrays(lambda a: a.astype(np.float32), (net, h, x))
    np.testing.assert_allclose(lf.jacobian(*single), D, atol=1e-5)


@each_network
def test_the_condition_number_is_that_of_the_joint_jacobians(kinds):
    net, rng = network(kinds), np.random.default_rng(4)
    x = rng.standard_normal((4, 2))
    states = lf.trajectory(net, x)
    n = states.shape[1]
    T = np.eye(n)
    for h, drive in zip(np.vstack([np.zeros(n), states]), x):
        T = lf.jacobian(net, h, drive) @ T
    found = lf.condition_number(net, x, steps=4)
    assert found.exact_jacobians and found.rank == n
    sigma = np.linalg.svd(T, compute_uv=False)
    large = sigma > 1e-6 * sigma[0]
    np.testing.assert_allclose(found.log_singular_values[large], np.log(sigma[large]), atol=1e-8)


def test_layers_behind_gated_ones_have_a_condition_number():
    rng = np.random.default_rng(0)
    kinds = (lf.GRUResetBefore, lf.GRU, lf.ReluRNN)
    net = lf.layers(*(random_cell(kind, 2, 2, rng) for kind in kinds))
    net.layers[2].b[:] = 5.0  # all units active
    x = rng.standard_normal((3, 2))
    T = np.eye(6)
    for h, drive in zip(np.vstack([np.zeros(6), lf.trajectory(net, x)]), x):
        T = lf.jacobian(net, h, drive) @ T
    found = lf.condition_number(net, x, steps=3)
    sigma = np.linalg.svd(T, compute_uv=False)
    np.testing.assert_allclose(found.log_singular_values, np.log(sigma), atol=1e-7)


def test_covariant_vectors_of_all_layers():
    net, rng = network(KINDS["lstm, tanh"]), np.random.default_rng(1)
    x = rng.standard_normal((400, 2))
    # those of a layer alone and those that reach both, of exponents that are apart
    found = lf.covariant_vectors(net, x, 3, q_transient=150, end_transient=150)
    assert found.convergence.max() < 1e-3
    for t in range(20):
        moved = lf.jacobian(net, found.states[t], x[150 + t]) @ found.vectors[t]
        moved /= np.linalg.norm(moved, axis=0)
        np.testing.assert_allclose(moved, found.vectors[t + 1], atol=1e-10)


def test_penalty_on_the_jacobian_of_all_layers():
    net, rng = network(KINDS["lstm, tanh"]), np.random.default_rng(2)
    x = rng.standard_normal((8, 2))
    penalty = lf.penalties.OneStepJacobian(k=3, transient=2)
    loss, gradient, logs = penalty.value_and_grad(net, x)
    states = np.vstack([np.zeros(14), lf.trajectory(net, x)])
    sigma = [
        np.linalg.svd(lf.jacobian(net, states[t], x[t]), compute_uv=False)[:3] for t in range(2, 8)
    ]
    np.testing.assert_allclose(logs, np.log(sigma).mean(axis=0), rtol=1e-10)
    assert loss == pytest.approx((np.log(sigma) ** 2).sum() / 6, rel=1e-10)
    assert type(gradient) is lf.Layers

    def value(moved):
        return penalty.value_and_grad(moved, x)[0]

    assert relative_error(value, gradient, net, rng, 1e-4) < 1e-7
