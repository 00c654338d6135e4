"""Schedules: every step and every QR of a sweep is in exactly one of its pieces."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lyapflow.lyapunov.schedule import schedule

lengths = st.integers(0, 12)


@given(
    st.integers(1, 5),
    lengths,
    lengths,
    st.integers(1, 30),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_pieces_of_a_schedule_make_the_whole(t_ons, transient, q_transient, counted, marks):
    plan = schedule(transient + q_transient + counted, t_ons, transient, q_transient)
    assert plan.n_qr == np.count_nonzero(plan.factor_after >= 0)
    marks = sorted({0, *(mark for mark in marks if mark < plan.steps), plan.steps})
    pieces = [plan.between(first, end) for first, end in itertools.pairwise(marks)]
    assert sum(piece.steps for piece in pieces) == plan.steps
    assert sum(piece.transient for piece in pieces) == plan.transient
    assert sum(piece.uncounted for piece in pieces) == plan.uncounted
    np.testing.assert_array_equal(np.concatenate([piece.ends for piece in pieces]), plan.ends)
    for first, piece in zip(marks, pieces):
        followed = plan.factor_after[first : first + piece.steps] >= 0
        np.testing.assert_array_equal(piece.factor_after >= 0, followed)
        np.testing.assert_array_equal(piece.factor_after[followed], np.arange(piece.n_qr))
