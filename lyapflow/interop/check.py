"""Compare a cell made from another program's weights with that program: states, step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lyapflow.cells.interface import sizes
from lyapflow.cells.layers import Layers, of_layer, split_states
from lyapflow.errors import LyapflowError
from lyapflow.interop.mistakes import explained
from lyapflow.lyapunov.trajectory import no_tangents, states_of

STEPS, SEQUENCES = 6, 3  # of an original that is run for comparison
ROUNDING = (
    100  # errors of single operations that a step may add up to, for each square root of a summand
)
COARSE = 1e-3  # of the largest number; nothing that is off by more than this is rounding


def trial(cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs (T, B, m), and states (B, n_state) to start from, for an original to be run on."""
    size, rng = sizes(cell), np.random.default_rng(0)
    x = rng.standard_normal((STEPS, SEQUENCES, size.inputs))
    return x, 0.5 * rng.standard_normal((SEQUENCES, size.state))


def check_states(
    cells: Sequence[Any],
    x: np.ndarray,
    h0: np.ndarray | None,
    originals: Sequence[np.ndarray],
    *,
    seen_as: Sequence[np.ndarray | None] | None = None,
    order: str | None = None,
) -> None:
    """Raise an error where the units of layers are not those of the original.

    Parameters
    ----------
    cells : sequence of cells
        The layers, bottom first.
    x : array (T, B, m)
    h0 : array (B, n_state) or None
        The states of all layers before the first step; None for zeros.
    originals : sequence of arrays (T, B, n)
        The units of each layer, as the original program has them.
    seen_as : sequence of arrays (p, n) or None, optional
        What the original shows of a layer's units, a projection of them.
    order : str, optional
        In which order the gates were taken to stand.
    """
    network = cells[0] if len(cells) == 1 else Layers(tuple(cells))
    x = np.ascontiguousarray(x, cells[0].b.dtype)
    if h0 is None:
        h0 = np.zeros((x.shape[1], sizes(network).state), x.dtype)
    states = states_of(no_tangents(network, x, np.ascontiguousarray(h0, x.dtype)))
    starts = split_states(network, h0)
    into = x
    for number, (cell, of, original) in enumerate(
        zip(cells, split_states(network, states), originals)
    ):
        projection = None if seen_as is None else seen_as[number]
        units = of[:, :, : sizes(cell).units]
        seen = units if projection is None else units @ projection.T
        tolerance = _tolerance(cell, into, units, original.dtype, projection)
        off = np.abs(seen[: len(tolerance)] - original[: len(tolerance)]).max(axis=(1, 2))
        if not (off <= tolerance).all():
            with of_layer(number, len(cells)):
                t = int(np.argmin(off <= tolerance))
                unit = int(np.argmax(np.abs(seen[t] - original[t]).max(axis=0)))
                why = explained(cell, into, starts[number], original, tolerance, projection, order)
                raise LyapflowError(
                    f"the states are not those of the original: at step {t} unit {unit} is off by "
                    f"{off[t]:.2g}, rounding would be {tolerance[t]:.1g}; {why}"
                )
        into = np.ascontiguousarray(units)


def _tolerance(
    cell: Any, x: np.ndarray, units: np.ndarray, dtype: Any, projection: np.ndarray | None
) -> np.ndarray:
    """What rounding may make of the units after each step; it ends where that is too coarse to tell anything."""
    eps = max(np.finfo(of).eps for of in (cell.b.dtype, dtype))
    W, V, b = (np.abs(np.asarray(part, float)) for part in (cell.W, cell.V, cell.b))
    W, V = W.reshape(-1, W.shape[-1]), V.reshape(-1, V.shape[-1])
    scale = max(1.0, float(np.abs(units).max()))
    summed = W.sum(axis=1) * scale + V @ np.abs(x).max(axis=(0, 1)) + b.ravel()
    one = ROUNDING * eps * np.sqrt(W.shape[1] + V.shape[1]) * max(1.0, float(summed.max()))
    grows = 1.0 + np.linalg.norm(W, 2)
    with np.errstate(over="ignore"):  # of long inputs, whose ends are not looked at
        amplified = grows ** np.arange(len(x))
    shown = 1.0 if projection is None else max(1.0, float(np.abs(projection).sum(axis=1).max()))
    tolerance = shown * one * amplified
    # from a state of zeros the first step says nothing of the recurrent weights
    usable = max(2, int((tolerance <= COARSE * scale).sum()))
    return np.minimum(tolerance[:usable], COARSE * scale)
