"""Results compare as wholes."""

import copy

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.learning.history import FlossingRecord, Measurement, TrainingRecord

CELL = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
X = np.random.default_rng(1).standard_normal((30, 1))


@pytest.fixture(scope="module")
def results():
    return [
        lf.lyapunov_spectrum(CELL, X),
        lf.lyapunov_spectrum(CELL, X[:3]),  # stderr is NaN
        lf.lyapunov_spectrum(lf.stack([CELL, CELL]), [X, X]),
        lf.condition_number(CELL, X, steps=3),
        lf.condition_number(CELL, X, steps=[3, 5]),
        FlossingRecord(0, 1, 0.5, np.arange(3.0)),
        TrainingRecord(0, 0.5, np.nan, 1.0),
        TrainingRecord(0, np.array([0.5, 1.0]), np.array([np.nan, 0.5]), np.ones(2)),
        Measurement(0, 0.5, np.nan, np.ones(2), np.array([1.0, -np.inf])),
        lf.floss(CELL, lambda epoch: X, k=2, epochs=2)[1],
    ]


@pytest.mark.parametrize("number", range(10))
def test_a_result_equals_its_copy_and_no_other(results, number):
    for other, result in enumerate(results):
        assert (results[number] == copy.deepcopy(result)) is (number == other)
    assert results[number] != 1
    assert len(results) == 10


def test_a_number_that_differs_makes_a_difference():
    record = FlossingRecord(0, 1, 0.5, np.arange(3.0))
    for changes in (
        {"loss": 0.6},
        {"epoch": 2},
        {"exponents": np.arange(4.0)},
        {"exponents": np.array([0.0, 1.0, 3.0])},
    ):
        assert record != FlossingRecord(**{**vars(record), **changes})
