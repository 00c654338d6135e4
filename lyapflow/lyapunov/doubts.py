"""Why exponents cannot be trusted: the trajectory, rounding errors, or the length of the run."""

from typing import NamedTuple

import numpy as np

from lyapflow.lyapunov.error_bars import returns
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.trajectory import no_tangents, states_of

SHORT_CYCLE = 8  # steps within which a repelling cycle is noticed


class Doubt(NamedTuple):
    """Why exponents cannot be trusted: what of them, and whether more steps may settle it."""

    text: str
    about: str  # "start", "rounding" or "length"
    may_pass: bool = False


def doubt(given: Problem, largest: float, errors: np.ndarray, short: bool) -> Doubt | None:
    """What is wrong with exponents of which one is the largest, if anything is.

    Errors (B, k) are what rounding makes; `short` says that the run is too short for the error
    bars."""
    if largest > np.sqrt(np.finfo(given.x.dtype).eps) and _never_leaves(given):
        return Doubt(
            "the trajectory starts on a fixed point or cycle that repels (λ_1 > 0), and never leaves it: the exponents "
            "are those of that point; start from a random h0",
            "start",
        )
    if (outgrown := np.isinf(errors).any(axis=0)).any():
        left = int(np.argmax(outgrown))
        return Doubt(
            f"from exponent {left + 1} on rounding errors outgrow the directions that are measured (a long chain or "
            "delay line that contracts strongly): "
            + (f"ask for k <= {left}" if left > 0 else "use more precise numbers")
            + (", or use float64" if given.x.dtype == np.float32 else ""),
            "rounding",
        )
    if short:
        return Doubt(
            "growth rates stay above or below their mean for a large part of the run (slow input, switching between "
            "states, laminar phases, a fixed point or cycle that is still approached, or a block that still aligns): "
            "error bars may be too small; use more steps, or a longer q_transient (and transient)",
            "length",
            may_pass=True,
        )
    return None


def _never_leaves(given: Problem) -> bool:
    """Whether an autonomous trajectory starts on a fixed point or short cycle, exactly."""
    if given.size.inputs > 0:
        return False
    first = no_tangents(given.cell, given.x[:SHORT_CYCLE], given.h0)
    return bool(returns(np.concatenate([given.h0[None], states_of(first)])).any())
