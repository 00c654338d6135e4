"""Exponents of Jacobians too large to form: a function multiplies the tangent vectors.

Blocks are n x k with k small, and are factorised by LAPACK in the place of what the function returns,
so that no more than two of them are there beside the one it is given. What a step leaves below the
rounding of a product cannot be found from the Jacobian itself, as it is for networks: it is counted, and
what is not known of its growth goes into the error bars."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow.cells.given import GivenJacobians
from lyapflow.cells.interface import Sizes
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.lyapunov.course import Course, Run
from lyapflow.lyapunov.doubts import doubt
from lyapflow.lyapunov.growth import UNKNOWN, End, Growth, Pace
from lyapflow.lyapunov.measured import Network, Spectrum, of_layers
from lyapflow.lyapunov.problem import Problem, affordable_growth, initial_block
from lyapflow.lyapunov.rounding import may_matter
from lyapflow.lyapunov.rows import MOST, first_rows
from lyapflow.lyapunov.schedule import Schedule, schedule

Move = Callable[[int, np.ndarray], Any]
ROUNDINGS = 64  # in units of ε, of what a function does to a vector
EPS, TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)
SMALLEST = float(np.finfo(float).smallest_subnormal)


def matrix_free_spectrum(
    move: Any, k: Any, n: Any, steps: Any, q0: Any, q_transient: Any
) -> Spectrum:
    """As of `product_spectrum`, for a function of the step and of vectors (n, k)."""
    if not callable(move):
        raise LyapflowError(
            f"with n, a function of t and V must be given, got {type(move).__name__}"
        )
    n = _checks.integer("n", n, 1)
    if k is None or steps is None:
        raise LyapflowError("with n, give k, the number of exponents, and steps as well")
    k = _checks.integer("k", k, 1, n, why=" = n")
    plan = schedule(_checks.integer("steps", steps, 1), 1, 0, q_transient)
    affordable_growth(plan.n_qr, k, 1)
    if q0 is None:  # the default block, which is not kept: it may be large
        Q, _ = _factors(np.random.default_rng(n).standard_normal((k, n)).T)
    else:
        Q = initial_block(q0, n, k, np.empty(0)).T
    log_growth = np.empty((plan.n_qr, k))
    unknown, below = np.zeros(k), np.zeros(k, np.int64)
    for t in range(plan.steps):
        moved = _moved(move, t, Q)
        del Q  # before there is a third block
        Q = np.array(moved, float, order="F")  # the function may write to its own again
        del moved
        exponent = int(np.frexp(max(Q.max(), -Q.min()))[1])
        if not Q.any():  # nothing is left to grow
            log_growth[t:], Q[:] = -np.inf, np.nan
            break
        Q, R = _factors(np.ldexp(Q, -exponent, out=Q))
        least = np.ldexp(SMALLEST, -exponent)  # what the function could not tell from 0
        error = ROUNDINGS * (EPS * R.max() + least) / np.maximum(R, TINY)
        log_growth[t] = np.log(np.maximum(R, TINY)) + exponent * np.log(2)
        if t >= plan.uncounted:
            unknown += np.where(error < 1, np.log1p(error), UNKNOWN)
            below += error >= 1
    return _assessed(Q, plan, log_growth, unknown, below)


def _moved(move: Move, t: int, Q: np.ndarray) -> np.ndarray:
    """What the function makes of Q in step t."""
    moved = np.asarray(move(t, Q))
    if moved.shape != Q.shape or moved.dtype.kind not in "fiu":
        raise LyapflowError(
            f"jacobians({t}, V) must return real numbers of the shape of V, {Q.shape}, "
            f"got shape {moved.shape} of {moved.dtype}"
        )
    if not np.isfinite(moved).all():
        raise Diverged(f"the tangent block is not finite after step {t}", step=t)
    return moved


def _factors(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q, in the place of the block, and the diagonal of R, not negative."""
    with one_blas_thread():
        Q, R = scipy.linalg.qr(block, overwrite_a=True, mode="economic", check_finite=False)
    diagonal = np.diagonal(R)
    Q *= np.where(diagonal < 0, -1.0, 1.0)
    return Q, np.abs(diagonal)


def _assessed(
    Q: np.ndarray, plan: Schedule, log_growth: np.ndarray, unknown: np.ndarray, below: np.ndarray
) -> Spectrum:
    n, k = Q.shape
    nothing = np.zeros(n)
    cell, size = GivenJacobians(nothing), Sizes(n, n, n * n, 0, 0, 0, {})
    given = Problem(cell, size, np.empty((plan.steps, 1, 0)), plan, nothing[None], Q.T)
    paths, end = np.array([0, 0, plan.steps, 0]), End(nothing, Q.T, Pace())
    found = [Growth(log_growth[:0], paths, unknown, below, Q.dtype, nothing, end)]
    rows = [first_rows(log_growth, plan.uncounted, MOST)]
    course = Course(given, plan.steps, found, rows, [], given.h0)
    run = Run([course], np.zeros(1, np.int64))
    spectrum, (short,) = of_layers(Network(cell, None), run, [np.zeros((1, k))])
    spectrum = dataclasses.replace(spectrum, _origin=None)  # nobody goes on without Jacobians
    if below.any():
        left = int(np.argmax(below > 0))
        way_out = f"ask for k <= {left}" if left else "give the Jacobians themselves"
        warn(
            f"from exponent {left + 1} on steps leave directions below rounding ({below.max()} of "
            f"{spectrum.steps_counted} steps), which cannot be told from rounding errors without Jacobians: {way_out}"
        )
    elif may_matter(course).any():
        warn(
            "a starting block gains so much before it aligns that rounding errors may outgrow the directions that are "
            "measured, which without Jacobians cannot be told: ask for fewer exponents"
        )
    elif why := doubt(given, spectrum.exponents[0], np.zeros((1, k)), short):
        warn(why.text)
    return spectrum
