"""Networks without input: a number of steps instead of an input of no width."""

import numpy as np
import pytest

import lyapflow as lf

RNG = np.random.default_rng(0)
CELLS = [lf.TanhRNN.random(4, 0, rng=RNG, g=1.5, dtype=dtype) for dtype in (np.float64, np.float32)]
DRIVEN = lf.TanhRNN.random(4, 2, rng=RNG)
STARTS = [np.ones(4), RNG.standard_normal((3, 4))]


def everything(cell, x=None, h0=None, **steps):
    """Whatever takes an input."""
    spectrum = lf.lyapunov_spectrum(cell, x, 3, h0=h0, transient=2, **steps)
    loss, gradient, exponents = lf.flossing_value_and_grad(cell, x, 3, h0=h0, **steps)
    inputs = {"inputs": lambda epoch: x} if x is not None else steps
    flossed, _ = lf.floss(cell, **inputs, k=2, epochs=2, h0=h0)
    found = [
        lf.trajectory(cell, x, h0, **steps),
        spectrum.exponents,
        spectrum.trajectories,
        loss,
        exponents,
    ]
    return [*found, gradient.W, flossed.W]


@pytest.mark.filterwarnings("ignore:the trajectory starts on a fixed point")  # zeros
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: str(cell[0].dtype))
@pytest.mark.parametrize("start", [None, *STARTS], ids=["zeros", "one", "three"])
def test_steps_are_an_input_of_no_width(cell, start):
    start = start if start is None else start.astype(cell.W.dtype)
    shape = (30, 3, 0) if start is not None and start.ndim == 2 else (30, 0)
    expected = everything(cell, np.empty(shape, cell.W.dtype), start)
    for a, b in zip(everything(cell, h0=start, steps=30), expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("start", STARTS, ids=["one", "three"])
def test_steps_of_an_ensemble(start):
    both = lf.stack([CELLS[0], CELLS[0]._replace(W=0.5 * CELLS[0].W)])
    for r, found in enumerate(zip(*everything(both, h0=np.stack([start, 2 * start]), steps=30))):
        for a, b in zip(found, everything(both[r], h0=(r + 1) * start, steps=30), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "function", [lf.trajectory, lf.lyapunov_spectrum, lf.flossing_value_and_grad]
)
def test_steps_that_make_no_sense(function):
    for cell, arguments, message in [
        (CELLS[0], {}, "^give either x, .* or steps, .*; got neither"),
        (
            CELLS[0],
            {"x": np.empty((5, 0)), "steps": 5},
            "^give either x, .* or steps, .*; got both",
        ),
        (
            DRIVEN,
            {"steps": 5},
            "^steps is for cells without inputs, this one has 2; give x instead",
        ),
        (DRIVEN, {}, "got neither"),
        (CELLS[0], {"steps": 0}, "^steps must be an integer at least 1, got 0"),
        (CELLS[0], {"steps": 2.0}, "^steps must be an integer"),
        (CELLS[0], {"steps": 10**15}, "more than half of this machine's memory"),
        (CELLS[0], {"steps": 5, "h0": np.ones(3)}, r"^h0 must have shape \(4,\), got \(3,\)"),
        (CELLS[0], {"steps": 5, "h0": np.ones((0, 4))}, "at least one step and one trajectory"),
        (lf.stack([DRIVEN]), {"steps": 5}, "^member 0: steps is for cells without inputs"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            function(cell, **arguments)


def test_flossing_by_steps_that_make_no_sense():
    for arguments, message in [
        ({}, "inputs must be a function of the epoch"),
        ({"inputs": lambda epoch: np.empty((5, 0)), "steps": 5}, "got both"),
        ({"inputs": lambda epoch: None}, "got neither"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            lf.floss(CELLS[0], **arguments, k=2, epochs=1)
