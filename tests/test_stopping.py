"""Rules that end a run: when they do, and what they say."""

import time

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.learning.history import FlossingRecord, Measurement, TrainingRecord
from lyapflow.learning.stopping import AccuracyReached, TimeLimit


def trained(*accuracies):
    return [TrainingRecord(epoch, 0.5, accuracy, 1.0) for epoch, accuracy in enumerate(accuracies)]


def test_the_mean_of_the_last_epochs_must_reach_the_goal():
    rule = AccuracyReached(0.75, window=2)
    assert [rule(record) for record in trained(1.0, 0.25, 0.75, 0.75)] == [
        False,
        False,
        False,
        True,
    ]
    assert rule.reason == "accuracy 0.75"


def test_a_window_must_be_full():
    rule = AccuracyReached(0.0)
    assert [rule(record) for record in trained(*[1.0] * 20)] == [False] * 19 + [True]


def test_no_reason_before_the_goal():
    rule = AccuracyReached(0.75, window=1)
    assert not rule(trained(0.5)[0])
    assert rule.reason == ""


def test_other_records_do_not_count():
    rule = AccuracyReached(0.75, window=1)
    assert not rule(FlossingRecord(0, 0, 0.1, np.zeros(2)))
    assert not rule(Measurement(0, 0.1, 1.0, np.zeros(2), np.zeros(2)))


def test_records_of_before_count():
    rule = AccuracyReached(0.75, window=3, before=trained(0.0, 1.0, 1.0))
    assert rule(trained(0.5)[0])


def test_no_run_ends_before_so_many_epochs():
    rule = AccuracyReached(0.75, window=1, after=3)
    assert [rule(record) for record in trained(1.0, 1.0, 1.0)] == [False, False, True]
    assert AccuracyReached(0.75, window=1, after=3, before=trained(1.0, 1.0))(trained(1.0)[0])


def test_a_run_that_had_reached_the_goal_ends_at_its_next_record():
    rule = AccuracyReached(0.75, window=2, before=trained(1.0, 1.0))
    assert rule(FlossingRecord(0, 0, 0.1, np.zeros(2)))


def test_a_task_without_accuracy_reaches_nothing():
    rule = AccuracyReached(0.0, window=1)
    assert not rule(trained(np.nan)[0])


def test_all_members_of_an_ensemble_must_reach_the_goal_but_those_left_behind():
    rule = AccuracyReached(0.75, window=1)
    pairs = [[1.0, 0.5], [np.nan, 0.5], [np.nan, np.nan], [1.0, 0.75]]
    assert [rule(record) for record in trained(*map(np.array, pairs))] == [
        False,
        False,
        False,
        True,
    ]
    assert AccuracyReached(0.75, window=1)(trained(np.array([np.nan, 1.0]))[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal": 1.5}, "goal must be a finite number at least 0.0 and at most 1.0, got 1.5"),
        ({"goal": float("nan")}, "goal must be a finite number"),
        ({"goal": 0.9, "window": 0}, "window must be an integer at least 1, got 0"),
        ({"goal": 0.9, "after": -1}, "after must be an integer at least 0, got -1"),
    ],
)
def test_accuracies_that_make_no_sense(settings, message):
    with pytest.raises(lf.LyapflowError, match=message):
        AccuracyReached(**settings)


def test_a_time_limit_counts_from_when_it_is_made(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rule = TimeLimit(1.5)
    now[0] += 89.9
    assert not rule(trained(0.5)[0])
    assert rule.reason == ""
    now[0] += 0.1
    assert rule(trained(0.5)[0])
    assert rule.reason == "time limit of 1.5 minutes"


@pytest.mark.parametrize("minutes", [-1.0, float("inf"), float("nan"), "1"])
def test_time_limits_that_make_no_sense(minutes):
    with pytest.raises(lf.LyapflowError, match="minutes must be a finite number at least 0"):
        TimeLimit(minutes)


def test_rules_end_a_run_in_memory():
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(6, 1, rng=rng), 1, rng=rng)
    rules = [AccuracyReached(0.1, window=3), TimeLimit(60)]
    task = lf.tasks.BinaryTemporalXOR(2)
    _, history = lf.train(model, task, epochs=10, seed=0, T=20, callbacks=rules)
    assert len(history.training) == 3
    assert [rule.reason for rule in rules] == ["accuracy 0.1", ""]
