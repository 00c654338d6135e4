"""Sweeps back over pieces of a tape, however long, and the memory that they take."""

import tracemalloc

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays
from lyapflow.lyapunov.sweep import new_tape


@pytest.mark.parametrize(("rows", "steps"), [(7, 1000), (7, 1), (1, 1), (512, 3)])
def test_chunks_and_segments_do_not_matter(monkeypatch, rows, steps):
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(6, 2, rng=rng), 1, rng=rng)
    x, y = rng.standard_normal((40, 2, 2)), rng.random((40, 2, 1))

    def results():
        flossing = lf.flossing_value_and_grad(
            model.cell, x, 3, t_ons=2, transient=5, q_transient=6
        )[1]
        task = lf.bptt_value_and_grad(model, x, y)[1]
        return [*arrays(flossing), *arrays(task)]

    expected = results()
    monkeypatch.setattr("lyapflow.lyapunov.segments.ROWS_PER_CHUNK", rows)
    for file in ("segments", "sweep", "pullback"):
        monkeypatch.setattr(
            f"lyapflow.lyapunov.{file}.steps_per_segment", lambda size, vectors: steps
        )
    for a, b in zip(results(), expected):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.LSTM])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("t_ons", "transient", "q_transient"), [(1, 0, 0), (3, 7, 8), (1, 90, 0)])
def test_checkpoints_give_the_same_bits(
    monkeypatch, cell_class, dtype, t_ons, transient, q_transient
):
    monkeypatch.setattr("lyapflow.lyapunov.segments.ROWS_PER_CHUNK", 12)
    rng = np.random.default_rng(0)
    cell, x = (
        cell_class.random(6, 1, rng=rng, dtype=dtype),
        rng.standard_normal((101, 2, 1)).astype(dtype),
    )
    options = {"t_ons": t_ons, "transient": transient, "q_transient": q_transient}
    whole = lf.flossing_value_and_grad(cell, x, 3, **options)
    pieces = set()
    for memory in (0, 5e3, 2e4, 5e4):
        monkeypatch.setattr(
            "lyapflow.lyapunov.tape.new_tape",
            lambda given, full: (
                pieces.add(given.plan.steps if full else 0),
                new_tape(given, full=full),
            )[1],
        )
        loss, gradient, exponents = lf.flossing_value_and_grad(cell, x, 3, memory=memory, **options)
        assert loss == whole[0]
        np.testing.assert_array_equal(exponents, whole[2])
        for a, b in zip(gradient, whole[1]):
            np.testing.assert_array_equal(a, b)
    assert len(pieces) > 4  # the ring, and pieces of several lengths


def test_checkpoints_need_little_memory():
    cell = lf.TanhRNN.random(60, 1, rng=np.random.default_rng(0))
    x = np.ones((3000, 1))
    lf.flossing_value_and_grad(cell, x[:50], 30, memory=0)

    def peak(memory):
        tracemalloc.start()
        lf.flossing_value_and_grad(cell, x, 30, memory=memory)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(1e9) > 60e6
    assert peak(10e6) < 12.5e6  # exponents and their cotangents as well
    assert peak(0) < 6e6


def test_many_trajectories_keep_to_the_memory():
    """Where one tape for each thread would fit, but not one for each trajectory."""
    cell = lf.TanhRNN.random(20, 1, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1000, 16, 1))
    lf.flossing_value_and_grad(cell, x[:20], 10, memory=0)
    peaks, gradients = [], []
    for memory in (1e9, 8e6, 2e6):
        tracemalloc.start()
        gradients.append(lf.flossing_value_and_grad(cell, x, 10, memory=memory)[1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 40e6
    assert peaks[1] < 8e6 + 1e6
    assert peaks[2] < 2e6 + 1.5e6
    for gradient in gradients[1:]:
        for a, b in zip(gradient, gradients[0]):
            np.testing.assert_array_equal(a, b)
