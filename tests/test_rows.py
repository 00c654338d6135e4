"""Rows of growth rates that are added up, so that memory does not grow with the length of a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow.lyapunov.rows import first_rows
from tests.exact_systems import HenonMap

LENGTHS = {"steps": 9001, "h0": np.array([0.1, 0.1])}
CELL = HenonMap(np.array([1.4]), np.array([0.3]))


def added_up(log_growth, most):
    """Sums over 2^j QRs, formed in pairs of pairs; those of the last row in pairs as far as they go."""
    each = 1
    while -(-len(log_growth) // each) > most:
        each *= 2
    return [tree(log_growth[start : start + each]) for start in range(0, len(log_growth), each)]


def tree(rows):
    if len(rows) == 1:
        return rows[0]
    half = 2 ** ((len(rows) - 1).bit_length() - 1)
    return tree(rows[:half]) + tree(rows[half:])


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(0, 3), st.integers(1, 9))
def test_rows_follow_from_their_number_alone(cuts, uncounted, most):
    pieces = [np.random.default_rng(0).standard_normal((n, 2)) for n in [uncounted + 1, *cuts]]
    rows = first_rows(pieces[0], uncounted, most)
    for piece in pieces[1:]:
        rows = rows.with_more(piece)
    every = np.concatenate(pieces)
    found = rows.together()
    np.testing.assert_array_equal(found[:uncounted], every[:uncounted])
    want = np.array(added_up(every[uncounted:], most))
    assert len(want) <= most and len(found) == uncounted + len(want)
    # a last row that is not whole is added from its largest part on
    np.testing.assert_array_equal(found[uncounted:-1], want[:-1])
    np.testing.assert_allclose(found[-1], want[-1], atol=1e-12)


@pytest.mark.parametrize("t_ons", [1, 3])
def test_long_runs_keep_fewer_rows_and_say_the_same(t_ons):
    every = lf.lyapunov_spectrum(CELL, t_ons=t_ons, **LENGTHS)
    few = lf.lyapunov_spectrum(CELL, t_ons=t_ons, max_rows=1024, **LENGTHS)
    each = 16 // (1 if t_ons == 1 else 4)
    assert few.intervals[0] == each * t_ons and len(few.intervals) <= 1024
    assert few.intervals.sum() == few.steps_counted == 9001 == every.intervals.sum()
    starts = np.arange(0, len(every.intervals), each)
    sums = np.add.reduceat(every.log_growth, starts, axis=1)
    np.testing.assert_allclose(few.log_growth, sums, atol=1e-12)
    np.testing.assert_allclose(few.exponents, every.exponents, atol=1e-14)
    np.testing.assert_allclose(few.stderr, every.stderr, rtol=0.02)
    np.testing.assert_allclose(few.history, every.history[[*(starts[1:] - 1), -1]], atol=1e-13)
    window = each * t_ons * 5
    np.testing.assert_allclose(
        few.finite_time(window).exponents, every.finite_time(window).exponents, atol=1e-13
    )
    with pytest.raises(lf.LyapflowError, match=f"a multiple of {each * t_ons}, the steps of a row"):
        few.finite_time(each * t_ons + 1)


@pytest.mark.parametrize("first", [500, 1025, 5000])
def test_runs_in_pieces_keep_the_same_rows(first, monkeypatch):
    settings = {"max_rows": 1024, "q_transient": 50, "t_ons": 2}
    whole = lf.lyapunov_spectrum(CELL, **LENGTHS, **settings)
    part = lf.lyapunov_spectrum(CELL, **LENGTHS | {"steps": first}, **settings)
    assert lf.lyapunov_spectrum(CELL, steps=9001 - first, continue_from=part) == whole
    monkeypatch.setattr("lyapflow.lyapunov.supply.PIECE", 1500)
    assert lf.lyapunov_spectrum(CELL, **LENGTHS, **settings) == whole


def test_members_that_are_lost_have_as_many_rows_as_the_others():
    cells = [lf.LinearRNN(np.array([[a]]), np.zeros((1, 1)), np.zeros(1)) for a in (0.5, 2.0)]
    x = np.zeros((3000, 1))
    found = lf.lyapunov_spectrum(
        lf.stack(cells), np.stack([x, x]), h0=np.ones((2, 1)), max_rows=1024
    )
    assert found.log_growth.shape == (2, 1, 750, 1)
    np.testing.assert_allclose(found.exponents[0], np.log(0.5))
    assert np.isnan(found.exponents[1]).all()


def test_too_few_rows_are_refused():
    with pytest.raises(lf.LyapflowError, match="max_rows must be an integer at least 1024"):
        lf.lyapunov_spectrum(CELL, max_rows=100, **LENGTHS)
