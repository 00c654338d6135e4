"""Runs that go on where one ended, that stop by themselves, and inputs that come piece by piece."""

import dataclasses

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.lyapunov.until import Goal
from tests.exact_systems import HenonMap, LogisticMap


def same_bits(a, b):
    for field in dataclasses.fields(a):
        if field.compare:
            one, other = getattr(a, field.name), getattr(b, field.name)
            arrays = isinstance(one, np.ndarray)
            assert np.array_equal(one, other, equal_nan=True) if arrays else one == other, (
                field.name
            )


RNG = np.random.default_rng(0)
CELLS = {
    "tanh": lf.TanhRNN.random(12, 2, rng=RNG, g=1.5),
    "tanh float32": lf.TanhRNN.random(12, 2, rng=RNG, g=1.5, dtype=np.float32),
    "saturated": lf.TanhRNN.random(8, 2, rng=RNG, g=6.0),
    "layers": lf.layers(lf.TanhRNN.random(6, 2, rng=RNG), lf.GRU.random(5, 6, rng=RNG)),
}


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
@pytest.mark.parametrize("t_ons", [1, 7, "auto"])
@pytest.mark.parametrize("name", list(CELLS))
def test_a_run_in_pieces_has_the_bits_of_one_run(name, t_ons):
    cell, times = CELLS[name], {"t_ons": t_ons, "transient": 20, "q_transient": 10}
    dtype = np.float32 if "float32" in name else np.float64
    x = np.random.default_rng(1).standard_normal((700, 3, 2)).astype(dtype)
    whole = lf.lyapunov_spectrum(cell, x, 4, **times)
    for first, second in ((300, 301), (350, 601)):  # also amid an interval, and by less than one
        part = lf.lyapunov_spectrum(cell, x[:first], 4, **times)
        part = lf.lyapunov_spectrum(cell, x[first:second], continue_from=part)
        same_bits(lf.lyapunov_spectrum(cell, x[second:], continue_from=part), whole)


def test_a_part_is_what_it_is_alone_and_stays_so():
    cell, x = CELLS["tanh"], np.random.default_rng(1).standard_normal((300, 2))
    part = lf.lyapunov_spectrum(cell, x[:150], 3)
    before = dataclasses.replace(part)
    ways = [lf.lyapunov_spectrum(cell, more, continue_from=part) for more in (x[150:], x[150:200])]
    same_bits(part, before)
    same_bits(ways[0], lf.lyapunov_spectrum(cell, x, 3))
    same_bits(ways[1], lf.lyapunov_spectrum(cell, x[:200], 3))


def test_autonomous_runs_and_functions_as_inputs():
    cell = lf.RateRNN.random(10, 0, rng=np.random.default_rng(0), g=3.0, leak=0.3)
    h0 = np.random.default_rng(1).standard_normal((2, 10))
    whole = lf.lyapunov_spectrum(cell, steps=400, h0=h0, k=2)
    part = lf.lyapunov_spectrum(cell, steps=150, h0=h0, k=2)
    same_bits(lf.lyapunov_spectrum(cell, steps=250, continue_from=part), whole)

    cell, x = CELLS["tanh"], np.random.default_rng(1).standard_normal((900, 2))
    same_bits(
        lf.lyapunov_spectrum(cell, lambda start, stop: x[start:stop], 3, steps=900),
        lf.lyapunov_spectrum(cell, x, 3),
    )
    part = lf.lyapunov_spectrum(cell, x[:150], 3)
    # steps are counted from the first of all
    more = lf.lyapunov_spectrum(
        cell, lambda start, stop: x[start:stop], steps=750, continue_from=part
    )
    same_bits(more, lf.lyapunov_spectrum(cell, x, 3))


def test_a_function_is_asked_for_no_more_than_memory_should_hold(monkeypatch):
    monkeypatch.setattr("lyapflow.lyapunov.supply.PIECE", 200)
    cell, x, asked = CELLS["tanh"], np.random.default_rng(1).standard_normal((900, 2)), []

    def inputs(start, stop):
        asked.append((start, stop))
        return x[start:stop]

    found = lf.lyapunov_spectrum(cell, inputs, 3, steps=900, transient=30)
    same_bits(found, lf.lyapunov_spectrum(cell, x, 3, transient=30))
    assert asked == [
        (0, 46),
        *((t, min(t + 16, 900)) for t in range(46, 900, 16)),
    ]  # 200 / 12 units


def test_directions_that_are_lost_stay_lost():
    W = np.diag([0.9, 0.5, 0.0])
    cell = lf.LinearRNN(W, np.zeros((3, 1)), np.zeros(3))
    x = np.zeros((60, 1))
    part = lf.lyapunov_spectrum(cell, x[:20])
    assert part.exponents[2] == -np.inf and np.isnan(part.block[0, :, 2]).all()
    same_bits(lf.lyapunov_spectrum(cell, x[20:], continue_from=part), lf.lyapunov_spectrum(cell, x))


def test_what_only_a_run_from_the_start_can_tell_is_refused_or_done(monkeypatch):
    """A unit is silent for one step: whether that loses a direction exactly, only all steps can tell."""
    nothing = np.zeros((3, 1))
    cell = lf.ReluRNN(np.diag([0.9, 0.8, 0.7]), nothing + [[0], [1], [0]], np.ones(3))
    x, start = np.zeros((900, 1)), {"k": 2, "q0": np.eye(3)[:, :2]}
    x[700] = -1e3
    whole = lf.lyapunov_spectrum(cell, x, **start)
    np.testing.assert_allclose(whole.exponents, [np.log(0.9), -np.inf])
    part = lf.lyapunov_spectrum(cell, x[:300], **start)
    with pytest.raises(lf.LyapflowError, match="not enough to go on to step 900"):
        lf.lyapunov_spectrum(cell, x[300:], continue_from=part)
    monkeypatch.setattr("lyapflow.lyapunov.supply.PIECE", 300)
    found = lf.lyapunov_spectrum(cell, lambda start, stop: x[start:stop], steps=900, **start)
    same_bits(found, whole)


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_float32_that_is_not_enough_later_on(monkeypatch):
    cell = lf.TanhRNN(np.diag([0.9, 0.8]), np.array([[0.0], [1.0]]), np.zeros(2))
    cell = lf.TanhRNN(*(a.astype(np.float32) for a in cell))
    x = np.zeros((900, 1), np.float32)
    x[700] = 20.0
    part = lf.lyapunov_spectrum(cell, x[:300])
    with pytest.raises(lf.LyapflowError, match="float32 is not enough"):
        lf.lyapunov_spectrum(cell, x[300:], continue_from=part)
    monkeypatch.setattr("lyapflow.lyapunov.supply.PIECE", 300)
    found = lf.lyapunov_spectrum(cell, lambda start, stop: x[start:stop], steps=900)
    same_bits(found, lf.lyapunov_spectrum(cell, x))


def test_a_failing_step_is_counted_from_the_first():
    cell = lf.LinearRNN(np.array([[2.0]]), np.ones((1, 1)), np.zeros(1))
    part = lf.lyapunov_spectrum(cell, np.ones((600, 1)))
    with pytest.raises(lf.Diverged, match="step 1023") as caught:
        lf.lyapunov_spectrum(cell, np.ones((600, 1)), continue_from=part)
    assert caught.value.step == 1023


def test_errors_fall_with_the_root_of_the_length():
    aim = Goal(0.01, 2)
    assert aim.next_steps(1000, bar=0.015) == 2475  # and a tenth more
    assert aim.next_steps(1000, bar=0.0101) == 1250 and aim.next_steps(1000, bar=1.0) == 4000
    # looked at again
    assert aim.next_steps(1000, bar=0.001) == 2000 and aim.next_steps(1000, bar=np.nan) == 2000


def test_runs_stop_when_their_bars_are_small():
    cell = LogisticMap(np.array([3.9]))
    found = lf.lyapunov_spectrum(
        cell, h0=np.array([0.3]), until_stderr=3e-3, max_steps=10**6, transient=100
    )
    assert found.stderr[0] <= 3e-3 and found.steps_counted < 10**5
    same_bits(
        found,
        lf.lyapunov_spectrum(
            cell, h0=np.array([0.3]), steps=100 + found.steps_counted, transient=100
        ),
    )
    x = np.random.default_rng(1).standard_normal((20_000, 2))
    first = lf.lyapunov_spectrum(CELLS["tanh"], x, 4, until_stderr=6e-3, stderr_of=1)
    every = lf.lyapunov_spectrum(CELLS["tanh"], x, 4, until_stderr=6e-3)
    assert first.steps_counted < every.steps_counted < 20_000
    assert first.stderr[0] <= 6e-3 and every.stderr.max() <= 6e-3
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    how = {"until_stderr": 5e-3, "stderr_of": "dimension", "max_steps": 10**6, "transient": 100}
    found = lf.lyapunov_spectrum(cell, **how)
    assert 0 < found.kaplan_yorke_stderr <= 5e-3 < found.stderr.max()


def test_a_goal_that_is_missed_is_said_and_may_be_gone_on_to():
    x = np.random.default_rng(1).standard_normal((40_000, 2))
    with pytest.warns(
        lf.LyapflowWarning,
        match="after 3000 steps the standard error of the .*, not 0.006",
    ):
        part = lf.lyapunov_spectrum(CELLS["tanh"], x, 4, until_stderr=6e-3, max_steps=3000)
    assert part.steps_counted == 3000
    more = lf.lyapunov_spectrum(CELLS["tanh"], x[3000:], until_stderr=6e-3, continue_from=part)
    assert more.stderr.max() <= 6e-3 and 3000 < more.steps_counted < 40_000
    same_bits(more, lf.lyapunov_spectrum(CELLS["tanh"], x[: more.steps_counted], 4))


def test_a_fixed_point_that_repels_ends_the_search():
    cell = LogisticMap(np.array([4.0]))
    with pytest.warns(lf.LyapflowWarning, match="never leaves it"):
        found = lf.lyapunov_spectrum(cell, h0=np.array([0.75]), until_stderr=1e-9, max_steps=10**6)
    assert found.steps_counted < 10**4


def test_ensembles_stop_one_by_one():
    cells = [
        lf.TanhRNN.random(8, 1, rng=np.random.default_rng(s), g=g) for s, g in ((0, 0.5), (1, 3.0))
    ]

    def inputs(start, stop):
        return np.sin(np.arange(start, stop))[:, None]

    together = lf.lyapunov_spectrum(
        lf.stack(cells), inputs, 2, until_stderr=5e-3, max_steps=10**5, transient=100
    )
    for r, cell in enumerate(cells):
        alone = lf.lyapunov_spectrum(
            cell, inputs, 2, until_stderr=5e-3, max_steps=10**5, transient=100
        )
        np.testing.assert_array_equal(together.exponents[r], alone.exponents)
        assert (
            np.ravel(together.steps_counted)[min(r, np.size(together.steps_counted) - 1)]
            == alone.steps_counted
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 4}, "k is settled by continue_from, which has 3"),
        ({"t_ons": 5}, "t_ons is settled by continue_from"),
        ({"h0": np.zeros(12)}, "h0 is settled by continue_from"),
        ({"lengths": np.array([3])}, "lengths is settled by continue_from"),
        (
            {"x": np.zeros((5, 3, 2))},
            "x must go on with the 1 trajectories of continue_from, got 3",
        ),
        ({"cell": CELLS["saturated"]}, "of a cell with another W"),
        (
            {"cell": lf.ReluRNN(*CELLS["tanh"])},
            "continue_from is of another network, TanhRNN, got ReluRNN",
        ),
        (
            {"x": lambda start, stop: np.zeros((stop - start, 2, 2)), "steps": 4},
            r"x\(30, 34\) must return the inputs of 1 trajectories, as before, got those of 2",
        ),
        ({"x": lambda start, stop: None, "steps": 4}, "must return inputs, got None"),
        (
            {"continue_from": 3},
            "continue_from must be a spectrum that lyapunov_spectrum has returned",
        ),
        ({"max_steps": 9}, "max_steps goes with until_stderr"),
        ({"stderr_of": 1}, "stderr_of goes with until_stderr"),
        ({"until_stderr": 0.0}, "until_stderr must be a finite number above 0"),
        ({"until_stderr": 1.0, "stderr_of": 4}, "stderr_of must be an integer between 1 and 3"),
        (
            {"until_stderr": 1.0, "stderr_of": "sum"},
            "stderr_of, if not a number, must be one of 'dimension'",
        ),
        ({"x": lambda start, stop: np.zeros((1, 2))}, "where x is a function, give either steps"),
        (
            {"x": lambda start, stop: np.zeros((1, 2)), "steps": 4},
            r"x\(30, 34\) must return the inputs of 4 steps",
        ),
    ],
)
def test_bad_input(arguments, said):
    part = lf.lyapunov_spectrum(CELLS["tanh"], np.zeros((30, 2)), 3)
    given = {"cell": CELLS["tanh"], "x": np.zeros((5, 2)), "continue_from": part} | arguments
    with pytest.raises(lf.LyapflowError, match=said):
        lf.lyapunov_spectrum(**given)


def test_layers_are_gone_on_with_all_of_them():
    rng = np.random.default_rng(0)
    cells = [lf.TanhRNN.random(4, 2, rng=rng), lf.TanhRNN.random(3, 4, rng=rng)]
    more = lf.TanhRNN.random(3, 3, rng=rng)
    x = rng.standard_normal((60, 2))
    part = lf.lyapunov_spectrum(lf.layers(*cells), x)
    for other in (cells[0], lf.layers(cells[0]), lf.layers(*cells, more)):
        with pytest.raises(
            lf.LyapflowError, match="another network, TanhRNN, TanhRNN, got TanhRNN"
        ):
            lf.lyapunov_spectrum(other, x, continue_from=part)


def test_spectra_without_a_run_cannot_be_gone_on_from():
    cell, x = CELLS["tanh"], np.zeros((30, 2))
    for spectrum in (
        lf.lyapunov_spectrum(cell, x, 3).per(0.1),
        lf.lyapunov_spectrum(lf.stack([cell]), x[None], 3),
        lf.lyapunov_spectrum(cell, x[:, None], 3, lengths=np.array([20])),
    ):
        with pytest.raises(lf.LyapflowError, match="continue_from must be a spectrum"):
            lf.lyapunov_spectrum(cell, x, continue_from=spectrum)
    with pytest.raises(
        lf.LyapflowError, match="lengths is for sequences that are there as a whole"
    ):
        lf.lyapunov_spectrum(cell, x[:, None], 3, lengths=np.array([20]), until_stderr=1.0)


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_what_only_all_steps_can_tell_may_be_in_the_last_interval():
    """A unit is silent in the very last step, which ends no whole interval."""
    nothing = np.zeros((3, 1))
    cell = lf.ReluRNN(np.diag([0.9, 0.8, 0.7]), nothing + [[0], [1], [0]], np.ones(3))
    x, start = np.zeros((48, 1)), {"k": 2, "q0": np.eye(3)[:, :2]}
    x[46] = -1e3
    found = lf.lyapunov_spectrum(cell, x, t_ons=5, **start)
    np.testing.assert_allclose(found.exponents, [np.log(0.9), -np.inf])
    with pytest.raises(lf.LyapflowError, match="not enough to go on to step 96"):
        lf.lyapunov_spectrum(cell, x, continue_from=found)


def test_float32_states_that_only_float64_holds():
    """The sweep falls back to float64, in which the states go on beyond the end of float32."""
    cell = lf.LinearRNN(
        *(a.astype(np.float32) for a in (np.diag([4.0, 1e-5]), np.ones((2, 1)), np.zeros(2)))
    )
    found = lf.lyapunov_spectrum(cell, np.ones((100, 1), np.float32), q_transient=10)
    np.testing.assert_allclose(found.exponents, np.log([4.0, 1e-5]), rtol=1e-6)
    assert found.state.dtype == np.float64 and found.state[0, 0] > 1e50


@pytest.mark.parametrize("shared", [slice(0, 150), slice(150, 400), slice(0, 400)])
def test_trajectories_that_share_their_input_for_a_while_only(shared):
    cell, x = CELLS["tanh"], np.random.default_rng(1).standard_normal((400, 2, 2))
    x[shared, 1] = x[shared, 0]
    part = lf.lyapunov_spectrum(cell, x[:150], 3)
    whole = lf.lyapunov_spectrum(cell, x, 3)
    same_bits(lf.lyapunov_spectrum(cell, x[150:], continue_from=part), whole)
    if shared == slice(0, 400):
        alone = lf.lyapunov_spectrum(cell, x[:, 0], 3)
        np.testing.assert_allclose(whole.stderr, alone.stderr, rtol=1e-9)


def test_layers_of_trajectories_that_share_their_input_count_once():
    """Their upper layers see states from different starts, which come together but are not the same."""
    cell, x = CELLS["layers"], np.random.default_rng(1).standard_normal((600, 2))
    h0 = np.random.default_rng(2).standard_normal((2, 11))
    both = lf.lyapunov_spectrum(cell, np.repeat(x[:, None], 2, axis=1), h0=h0, transient=200)
    alone = lf.lyapunov_spectrum(cell, x, h0=h0[0], transient=200)
    np.testing.assert_allclose(both.by_layer[1].stderr, alone.by_layer[1].stderr, rtol=0.1)


def test_progress_is_told_and_changes_nothing(capsys):
    cell, x, told = CELLS["tanh"], np.random.default_rng(1).standard_normal((900, 2)), []
    found = lf.lyapunov_spectrum(cell, x, 3, progress=lambda *steps: told.append(steps))
    same_bits(found, lf.lyapunov_spectrum(cell, x, 3))
    assert told[-1] == (900, 900) and len(told) > 90 and told == sorted(told)
    same_bits(lf.lyapunov_spectrum(cell, x, 3, progress=True), found)
    both = lf.lyapunov_spectrum(lf.stack([cell, cell]), np.stack([x, x]), 3, progress=True)
    np.testing.assert_array_equal(both.exponents[1], found.exponents)
    assert capsys.readouterr().out.strip() == ""  # nobody watches
    with pytest.raises(lf.LyapflowError, match="progress must be True, False or a function"):
        lf.lyapunov_spectrum(cell, x, 3, progress=3)
