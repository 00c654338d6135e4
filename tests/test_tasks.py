"""The tasks."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS

ALL = list(TASKS.values())


@pytest.mark.parametrize("task", [*(cls(6) for cls in ALL), lf.tasks.ItemCopy(6, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_targets_step_by_step(task, dtype):
    x, y, first = task.sample(np.random.default_rng(0), 40, 3, dtype)
    assert x.shape == (40, 3, task.n_inputs)
    assert y.shape == (40, 3, task.n_outputs)
    assert x.dtype == y.dtype == dtype
    assert first == 6
    assert not y[:first].any()
    bits = np.rint(x * task.n_inputs).astype(int)
    for t in range(first, 40):
        for b in range(3):
            expected = {
                lf.tasks.DelayedCopy: lambda t, b: x[t - 6, b, 0],
                lf.tasks.ItemCopy: lambda t, b: x[t - 6, b, 0],
                lf.tasks.TemporalXOR: lambda t, b: abs(x[t - 3, b, 0] - x[t - 6, b, 0]),
                lf.tasks.BinaryTemporalXOR: lambda t, b: float(
                    bits[t - 3, b, 0] != bits[t - 6, b, 0]
                ),
                lf.tasks.SpatialXOR: lambda t, b: float(bits[t - 6, b].sum() % 2),
            }[type(task)](t, b)
            assert y[t, b, 0] == pytest.approx(expected, abs=1e-7)


def test_values_of_the_inputs():
    rng = np.random.default_rng(0)
    assert set(np.unique(lf.tasks.BinaryTemporalXOR(2).inputs(rng, 99, 9))) == {0.0, 1.0}
    assert set(np.unique(lf.tasks.SpatialXOR(2).inputs(rng, 99, 9))) == {0.0, 1 / 3}
    uniform = lf.tasks.DelayedCopy(2).inputs(rng, 999, 9)
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    # flossing takes inputs shorter than a delay
    assert lf.tasks.DelayedCopy(100).inputs(rng, 5, 1).shape == (5, 1, 1)


@pytest.mark.parametrize("cls", ALL)
def test_losses(cls):
    binary = cls in (lf.tasks.BinaryTemporalXOR, lf.tasks.SpatialXOR)
    assert cls(2).loss == ("cross_entropy" if binary else "mse")


def test_items_come_at_their_steps_and_are_as_many_as_asked_for():
    x, _y, _ = lf.tasks.ItemCopy(12, 3).sample(np.random.default_rng(0), 60, 2)
    assert (np.flatnonzero(x[:, 0, 0]) == np.arange(0, 60, 4)).all()
    kept = [np.count_nonzero(x[t - 12 : t, 1, 0]) for t in range(12, 60)]
    assert set(kept) == {3}
    # what is reached without memory: the mean number when one is due, zero between
    _, many, first = lf.tasks.ItemCopy(12, 3).sample(np.random.default_rng(1), 10_000, 16)
    scored = many[first:]
    blind = np.where(scored != 0, 0.5, 0.0)
    assert np.mean((scored - blind) ** 2) == pytest.approx(3 / 12 / 12, rel=0.01)
    full, copy = lf.tasks.ItemCopy(6, 6), lf.tasks.DelayedCopy(6)
    samples = (task.sample(np.random.default_rng(2), 20, 2) for task in (full, copy))
    for of_items, of_copy in zip(*samples):
        np.testing.assert_array_equal(of_items, of_copy)


def test_bad_items():
    with pytest.raises(lf.LyapflowError, match=r"items must be an integer .* = delay, got 7"):
        lf.tasks.ItemCopy(6, 7)
    with pytest.raises(lf.LyapflowError, match="delay must be a multiple of items"):
        lf.tasks.ItemCopy(6, 4)


def test_bad_delays():
    for cls in (lf.tasks.TemporalXOR, lf.tasks.BinaryTemporalXOR):
        with pytest.raises(lf.LyapflowError, match="delay must be even"):
            cls(7)
    assert lf.tasks.SpatialXOR(7).delay == 7
    for delay in (0, -2, 2.0, "2", True, None):
        with pytest.raises(lf.LyapflowError, match="delay must be an integer at least 1"):
            lf.tasks.DelayedCopy(delay)
    for rng in (0, None, np.random.RandomState(0)):
        with pytest.raises(lf.LyapflowError, match="rng must be a"):
            lf.tasks.DelayedCopy(6).sample(rng, 10, 1)
    with pytest.raises(
        lf.LyapflowError, match="T must be longer than the delay, got T=6 with a delay of 6"
    ):
        lf.tasks.DelayedCopy(6).sample(np.random.default_rng(0), 6, 1)


def test_streams_are_named_children_of_the_seed():
    draws = {
        (seed, name, index): stream(seed, name, index).random()
        for seed in (0, 1)
        for name in ("data", "test", "atad")
        for index in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert stream(0, "data", 1).random() == draws[0, "data", 1]
    with pytest.raises(lf.LyapflowError, match="seed must be an integer"):
        stream(-1, "data")
