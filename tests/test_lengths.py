"""Sequences of different lengths in a batch: each as it is alone, and padding, whatever it is, in nothing."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays, map_arrays
from tests.gradcheck import random_cell, relative_error

LENGTHS = np.array([23, 9, 17])
T, COUNT = 25, len(LENGTHS)
NETWORKS = {"tanh": lambda rng: random_cell(lf.TanhRNN, 5, 2, rng)} | {
    "layers": lambda rng: lf.layers(
        random_cell(lf.LSTM, 4, 2, rng), random_cell(lf.TanhRNN, 3, 4, rng)
    )
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
short_runs = pytest.mark.filterwarnings("ignore:.*growth rates stay")
anywhere = pytest.mark.parametrize("padding", [np.nan, 1e300])


def batch(seed=0, padding=np.nan, width=2):
    """Inputs (T, B, m) whose padding would be noticed."""
    x = np.random.default_rng(seed).standard_normal((T, COUNT, width))
    x[np.arange(T)[:, None] >= LENGTHS] = padding
    return x


@each_network
@anywhere
def test_states_and_outputs_end_where_a_sequence_ends(make, padding):
    net, x = make(np.random.default_rng(0)), batch(padding=padding)
    model = lf.Model.random(net, 2, rng=np.random.default_rng(1))
    states = lf.trajectory(net, x, lengths=LENGTHS)
    said = lf.outputs(model, x, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(states[:length, b], lf.trajectory(net, x[:length, b]))
        np.testing.assert_allclose(said[:length, b], lf.outputs(model, x[:length, b]), rtol=1e-12)
        assert np.isnan(states[length:, b]).all() and np.isnan(said[length:, b]).all()


@short_runs
@each_network
@pytest.mark.parametrize("t_ons", [1, 3])
def test_exponents_are_those_of_each_sequence_and_of_all_their_steps(make, t_ons):
    net, x = make(np.random.default_rng(0)), batch()
    options = {"t_ons": t_ons, "transient": 1, "q_transient": 4}
    found = lf.lyapunov_spectrum(net, x, lengths=LENGTHS, **options)
    counted = LENGTHS - 5
    layers = found.by_layer or (found,)
    for b, length in enumerate(LENGTHS):
        alone = lf.lyapunov_spectrum(net, x[:length, b], **options)
        for several, one in zip(layers, alone.by_layer or (alone,)):
            np.testing.assert_allclose(several.trajectories[b], one.exponents, rtol=1e-12)
    for of in layers:
        mean = counted @ of.trajectories / counted.sum()
        np.testing.assert_allclose(of.exponents, mean, rtol=1e-12)
        assert of.steps_counted == counted.sum()
        np.testing.assert_allclose(of.history[-1], of.exponents, rtol=1e-12)
    assert (np.diff(found.exponents) <= 0).all() or not found.by_layer


@short_runs
def test_error_bars_cover_the_exponents_of_a_long_run():
    rng = np.random.default_rng(0)
    cell = random_cell(lf.TanhRNN, 4, 1, rng, g=1.5)
    truth = lf.lyapunov_spectrum(cell, rng.standard_normal((60_000, 1)), q_transient=100)
    off = []
    for _ in range(60):
        lengths = rng.integers(60, 300, 5)
        x = rng.standard_normal((300, 5, 1))
        found = lf.lyapunov_spectrum(cell, x, lengths=lengths, q_transient=30)
        off.append((found.exponents - truth.exponents) / found.stderr)
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.3


@short_runs
def test_sequences_that_are_copies_say_nothing_new():
    rng = np.random.default_rng(0)
    cell = random_cell(lf.TanhRNN, 4, 1, rng)
    x = np.repeat(rng.standard_normal((400, 1, 1)), 4, axis=1)
    found = lf.lyapunov_spectrum(cell, x, lengths=np.full(4, 300))
    alone = lf.lyapunov_spectrum(cell, x[:300, 0])
    np.testing.assert_allclose(found.exponents, alone.exponents, rtol=1e-12)
    assert (found.stderr > 0.5 * alone.stderr).all()


@each_network
@pytest.mark.parametrize(
    "options",
    [{}, {"t_ons": 3, "transient": 2, "q_transient": 4, "average": "loss", "memory": 0.0}],
    ids=["plain", "pieces"],
)
def test_flossing_against_finite_differences(make, options):
    net, rng, x = make(np.random.default_rng(0)), np.random.default_rng(2), batch()
    given = {"k": 2, "lengths": LENGTHS, **options}
    _, gradient, exponents, x_bar = lf.flossing_value_and_grad(net, x, input_gradient=True, **given)
    assert x_bar.shape == x.shape and not x_bar[np.isnan(x)].any()

    def value(moved):
        return lf.flossing_value_and_grad(*moved, **given)[0]

    start = net, np.nan_to_num(x)
    errors = [relative_error(value, (gradient, x_bar), start, rng, d) for d in (1e-3, 1e-4, 1e-5)]
    assert min(errors) < 1e-8
    times = {name: value for name, value in options.items() if name.endswith(("ons", "transient"))}
    k = (2, 2) if isinstance(net, lf.Layers) else 2
    spectra = lf.lyapunov_spectrum(net, x, k, **times, lengths=LENGTHS)
    of_layers = [of.exponents for of in spectra.by_layer or (spectra,)]
    np.testing.assert_allclose(exponents, np.concatenate(of_layers), rtol=1e-9)


@each_network
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_task_losses_are_means_over_the_steps_that_there_are(make, loss):
    rng = np.random.default_rng(3)
    model = lf.Model.random(make(rng), 2, rng=rng)
    x, y = batch(), rng.random((T, COUNT, 2))
    y[np.isnan(x)] = np.nan
    options = {"first": 4, "loss": loss, "input_gradient": True}
    found = lf.bptt_value_and_grad(model, x, y, lengths=LENGTHS, **options)
    total, gradients, x_bars = 0.0, [], np.zeros_like(x)
    scored = LENGTHS - 4
    for b, (length, share) in enumerate(zip(LENGTHS, scored / scored.sum())):
        one = slice(length), slice(b, b + 1)
        value, gradient, x_bar = lf.bptt_value_and_grad(model, x[one], y[one], **options)
        total += share * value
        gradients.append(map_arrays(lambda a, share=share: share * a, gradient))
        x_bars[one] = share * x_bar
    assert found[0] == pytest.approx(total, rel=1e-12)
    for parts in zip(arrays(found[1]), *map(arrays, gradients)):
        np.testing.assert_allclose(parts[0], sum(parts[1:]), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found[2], x_bars, rtol=1e-9, atol=1e-15)


def test_a_network_that_would_explode_behind_the_end_does_not_matter():
    cell = lf.LinearRNN(np.array([[1e200]]), np.ones((1, 1)), np.zeros(1))
    model = lf.Model(cell, np.ones((1, 1)), np.zeros(1), np.zeros(1))
    x = np.ones((6, 2, 1))
    loss, gradient = lf.bptt_value_and_grad(model, x, 0 * x, loss="mse", lengths=[1, 1])
    assert loss == 1.0 and gradient.cell.V[0, 0] == 2.0
    np.testing.assert_array_equal(lf.trajectory(cell, x, lengths=[1, 1])[0], 1.0)


@short_runs
def test_members_have_lengths_of_their_own():
    cells = [random_cell(lf.TanhRNN, 5, 2, np.random.default_rng(seed)) for seed in range(2)]
    x, lengths = np.stack([batch(0), batch(1)]), np.stack([LENGTHS, LENGTHS - 1])
    found = lf.lyapunov_spectrum(lf.stack(cells), x, lengths=lengths)
    for r, cell in enumerate(cells):
        alone = lf.lyapunov_spectrum(cell, x[r], lengths=lengths[r])
        np.testing.assert_array_equal(found.exponents[r], alone.exponents)
        assert found.steps_counted[r] == alone.steps_counted


def test_bad_input():
    cell, x = random_cell(lf.TanhRNN, 5, 2, np.random.default_rng(0)), batch(padding=0.0)
    model = lf.Model.random(cell, 2, rng=np.random.default_rng(0))
    cases = {
        "lengths must be 3 integers, one for each sequence": [[1, 2], [1.0, 2.0, 3.0], 5],
        "between 1 and the 25 steps of the batch, got 26 for sequence 1": [[3, 26, 3]],
        "between 1 and the 25 steps of the batch, got 0 for sequence 2": [[3, 5, 0]],
    }
    for message, every in cases.items():
        for lengths in every:
            for call in (
                lambda of: lf.lyapunov_spectrum(cell, x, lengths=of),
                lambda of: lf.trajectory(cell, x, lengths=of),
                lambda of: lf.outputs(model, x, lengths=of),
                lambda of: lf.flossing_value_and_grad(cell, x, lengths=of),
                lambda of: lf.bptt_value_and_grad(model, x, x, lengths=of, loss="mse"),
            ):
                with pytest.raises(lf.LyapflowError, match=message):
                    call(lengths)
    with pytest.raises(lf.LyapflowError, match=r"transient = 9 steps, got 9 for sequence 1"):
        lf.lyapunov_spectrum(cell, x, lengths=LENGTHS, q_transient=9)
    with pytest.raises(lf.LyapflowError, match="lengths is for a batch of sequences"):
        lf.lyapunov_spectrum(cell, x[:, 0], lengths=[3])
    with pytest.raises(lf.LyapflowError, match="first must come before the end of a sequence"):
        lf.bptt_value_and_grad(model, x, x, lengths=[2, 3, 4], first=4, loss="mse")
