"""What rounding errors make of exponents, measured: the last steps once more, with a block that is disturbed.

Each rounding error is a fresh vector of length ε beside an aligned one. In a long delay line with strong contraction it
outgrows that one by more than 1/ε: it lives on in old entries of the state while the aligned vector shrinks. So the
last steps are taken twice, from a fresh block. Once it has aligned, it is disturbed now and then in one of the two, by
DISTURBANCE. Growth rates that change by Δ because of it change by ε / DISTURBANCE times as much because of rounding.
"""

from typing import Any

import numpy as np

from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Sizes
from lyapflow.lyapunov.forward import Schedule, schedule
from lyapflow.lyapunov.growth import volume_growth

LAST = 2000  # steps, in whose first half the block aligns
TIMES = 32
DISTURBANCE = 2.0**-40
ROUNDINGS = 64  # in units of ε, of the steps of an interval and their QR
SATURATED = 0.1  # nats; a larger change means that another vector has taken over


def rounding_errors(
    cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, plan: Schedule
) -> np.ndarray:
    """Error (k,) of the exponents of `volume_growth`, in nats per step; infinite where rounding errors outgrow."""
    eps = float(np.finfo(x.dtype).eps)
    given = map_arrays(_double, cell), size, _double(x), _double(h0), _double(block)
    span = min(plan.steps - plan.transient, LAST) // 2
    middle = plan.steps - span
    late = schedule(plan.steps, plan.t_ons, middle - span, 0)
    marks = np.unique(np.linspace(middle, plan.steps, TIMES, endpoint=False).astype(int)).tolist()
    rng = np.random.default_rng(0)

    def disturb(block: np.ndarray) -> None:
        # the first vector is scaled and never projected: rounding does not touch its zeros
        size = np.abs(block)
        size[1:] = size[1:].max(axis=1, keepdims=True)
        block += DISTURBANCE * rng.standard_normal(block.shape) * size

    clean = volume_growth(*given, late).log_growth
    disturbed = volume_growth(*given, late, disturb, marks).log_growth
    with np.errstate(invalid="ignore"):  # of -inf
        change = np.nan_to_num(np.abs((disturbed - clean).sum(axis=0)), nan=0.0)
    roundings = (late.factor_after[middle:] >= 0).sum() / len(marks)
    errors = ROUNDINGS * eps / DISTURBANCE * roundings * change / span
    return np.where(change > SATURATED, np.inf, errors)


def _double(a: np.ndarray) -> np.ndarray:
    return a.astype(float)
