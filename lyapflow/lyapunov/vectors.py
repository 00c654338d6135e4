"""Covariant Lyapunov vectors: the directions that grow with each exponent, ahead and back in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._results import Result
from lyapflow.cells.interface import step, tangent
from lyapflow.cells.joint import as_one
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.lyapunov.coefficients import backward, flags_apart
from lyapflow.lyapunov.error_bars import error_bars
from lyapflow.lyapunov.problem import Problem, problem
from lyapflow.lyapunov.resolution import with_way_out
from lyapflow.lyapunov.tape import piece_starts, taped_sweep

MEMORY = 256e6  # bytes
CONVERGED = 1e-3  # distance of a vector from that of another start, which is no longer warned of
# Vectors are refused that are still so far apart, and that the gap between exponents would not have
# brought nearer than that in the whole run. Fewer counted steps do not tell.
APART, NEARER, TELLING = 0.1, 0.01, 500


@dataclass(frozen=True, eq=False)
class CovariantVectors(Result):
    """Covariant Lyapunov vectors of one trajectory; of an ensemble, with a leading member axis on every array.

    There are T counted steps, and vectors of each ``every``-th: T' = T / every, rounded up.

    Attributes
    ----------
    vectors : array (T', n_state, k)
        Columns of length 1: vector i before counted step ``t every`` is ``vectors[t, :, i]``. Its
        component along the i-th vector of the forward sweep's orthonormal block is positive, so
        that the Jacobian maps it to a positive multiple of its successor.
    growth : array (T, k)
        ``log |D v_i|`` of every counted step.
    states : array (T', n_state)
        The states at which the vectors are taken, before their step.
    convergence : array (k,)
        Error of each vector that is left from the arbitrary start of the sweeps (Notes of
        `covariant_vectors`).
    every : int
        Steps between vectors.
    reasons : tuple of (str or None)
        For an ensemble: why the results of a member are NaN; None if they are not.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0), g=2.0)
    >>> x = np.random.default_rng(1).standard_normal((1000, 1))
    >>> found = lf.covariant_vectors(cell, x, k=2, q_transient=400, end_transient=400)
    >>> found.vectors.shape, found.angles().shape
    ((200, 10, 2), (200, 2, 2))
    >>> bool(found.convergence.max() < 1e-6)
    True
    """

    vectors: np.ndarray = field(repr=False)
    growth: np.ndarray = field(repr=False)
    states: np.ndarray = field(repr=False)
    convergence: np.ndarray
    every: int = 1
    reasons: tuple[str | None, ...] = ()

    @property
    def exponents(self) -> np.ndarray:
        """Mean growth (k,) in nats per step.

        That of `lyapunov_spectrum` over the same steps, up to ``log(c_i(0) / c_i(T)) / T`` with the
        component c_i of v_i in the i-th direction of the forward block."""
        return self.growth.mean(axis=-2)

    def angles(self) -> np.ndarray:
        """Angles (T', k, k) between any two vectors, in radians from 0 to π/2.

        Returns
        -------
        array (T', k, k)
            Small ones are known to the root of the rounding error: 1e-8, in float32 3e-4.

        Raises
        ------
        LyapflowError
            If there are too many for this machine's memory.
        """
        steps, k = self.vectors.shape[-3], self.vectors.shape[-1]
        _checks.affordable(f"angles of {k} vectors at {steps} steps", 2 * steps * k**2)
        with one_blas_thread():
            cosines = self.vectors.swapaxes(-1, -2) @ self.vectors
        return np.arccos(np.minimum(np.abs(cosines), 1.0))

    def subspace_angles(
        self, first: int | Sequence[int], second: Sequence[int] | None = None
    ) -> np.ndarray:
        """Principal angles between the spans of two sets of vectors, in radians, the smallest first.

        Parameters
        ----------
        first : int or sequence of int
            Numbers of vectors from 0 on; an integer j stands for the first j of them.
        second : sequence of int, optional
            By default all others.

        Returns
        -------
        array (T', j)
            As many angles as the smaller set has vectors. A system is hyperbolic if the smallest of
            them, between the vectors that grow and those that shrink, stays away from 0.

        Raises
        ------
        LyapflowError
            If a set is empty, a vector is in both, or there is none of that number.

        Notes
        -----
        Björck and Golub (1973): small angles from their sines, large ones from their cosines.
        """
        k = self.vectors.shape[-1]
        if isinstance(first, str) or not np.iterable(first):
            first = range(_checks.integer("first, if a number,", first, 1, k - 1, " = k - 1"))
        second = [i for i in range(k) if i not in first] if second is None else second
        if isinstance(second, str) or not np.iterable(second):
            raise LyapflowError(
                f"second must be numbers of vectors, such as [{k - 1}], got {second!r:.80}"
            )
        sets = [
            [_checks.integer(name, i, 0, k - 1, " = k - 1") for i in of]
            for name, of in (("first", first), ("second", second))
        ]
        numbers = sets[0] + sets[1]
        if not all(sets) or len(set(numbers)) < len(numbers):
            raise LyapflowError(
                f"first and second must be sets of vectors that have none in common, and one at "
                f"least, got {sets[0]} and {sets[1]}"
            )
        with one_blas_thread():
            large, small = (
                np.linalg.qr(np.nan_to_num(self.vectors[..., of]))[0]
                for of in sorted(sets, key=len, reverse=True)
            )
            along = large.swapaxes(-1, -2) @ small
            cosines = np.linalg.svd(along, compute_uv=False)
            sines = np.linalg.svd(small - large @ along, compute_uv=False)[..., ::-1]
        near = np.arcsin(np.minimum(sines, 1.0))
        angles = np.where(sines < cosines, near, np.arccos(np.minimum(cosines, 1.0)))
        angles[np.isnan(self.vectors[..., 0, 0])] = np.nan  # of lost members
        return angles

    @staticmethod
    def _over_members(
        found: Sequence[CovariantVectors], reasons: Sequence[str | None]
    ) -> CovariantVectors:
        """Those of an ensemble from those of its members."""
        names = ("vectors", "growth", "states", "convergence")
        arrays: Any = {name: np.stack([getattr(one, name) for one in found]) for name in names}
        return replace(found[0], **arrays, reasons=tuple(reasons))


class _Checked:
    """Checked arguments."""

    def __init__(
        self,
        cell: Any,
        x: Any,
        k: Any,
        steps: Any,
        h0: Any,
        q0: Any,
        transient: Any,
        q_transient: Any,
        end_transient: Any,
        every: Any,
        memory: Any,
    ) -> None:
        cell = as_one(cell)
        self.given = problem((step, tangent), cell, x, k, steps, h0, q0, 1, transient, q_transient)
        if self.given.x.shape[1] > 1:
            raise LyapflowError(
                f"covariant vectors are those of one trajectory, got {self.given.x.shape[1]} of them; "
                f"give x[:, b], or h0[b], of one after the other"
            )
        self.first = transient + q_transient
        steps = self.given.plan.steps
        most = steps - self.first - 1
        why = f" for {steps} steps, of which {self.first} come before those that are counted"
        self.end = _checks.integer("end_transient", end_transient, 0, most, why)
        self.last = steps - self.end
        self.every = _checks.integer("every", every, 1)
        self.memory = _checks.number("memory", memory, 0.0)
        k, n = self.given.block.shape
        counted = self.last - self.first
        self.kept = -(-counted // self.every)
        _checks.affordable(
            f"{k} covariant vectors of length {n} at {self.kept} steps",
            self.kept * (k + 1) * n + counted * k,
        )


def _lost(checked: _Checked) -> CovariantVectors:
    (k, n), kept = checked.given.block.shape, checked.kept

    def nothing(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, checked.given.x.dtype)

    return CovariantVectors(
        nothing(kept, n, k),
        nothing(checked.last - checked.first, k),
        nothing(kept, n),
        nothing(k),
        checked.every,
    )


@over_members("x", "h0", "q0", check=_Checked, lost=_lost)
def covariant_vectors(
    cell: Any,
    x: ArrayLike | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    q_transient: int,
    end_transient: int,
    transient: int = 0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    every: int = 1,
    memory: float = MEMORY,
) -> CovariantVectors:
    r"""The first k covariant Lyapunov vectors along the trajectory driven by x.

    .. math:: D_t v_i(t) = e^{\gamma_i(t)} v_i(t + 1), \qquad \lambda_i = \langle \gamma_i \rangle

    Vector i grows at the rate of exponent i forward in time and shrinks at that rate backward in
    time. Unlike the vectors of a tangent block, which are kept orthogonal, it does not depend on a
    scalar product: the Jacobians alone carry it along.

    Parameters
    ----------
    cell : cell
    x : array (T, m)
        Input of one trajectory; for a cell without inputs give `steps` instead.
    k : int, optional
        Number of vectors, all n_state by default.
    steps : int, optional
        Number of steps of a cell without inputs, transients included.
    q_transient : int
        Steps that align the forward sweep's block before the first counted step.
    end_transient : int
        Last steps, over which the backward sweep aligns and which are not counted.
    transient : int
        First steps, which only move the state.
    h0 : array (n_state,), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block; the first k columns of a fixed matrix by default.
    every : int
        Steps between the vectors that are kept. Growth is given for all steps.
    memory : float
        Bytes that the tape of the forward sweep may take, beside the result, about ``8 T k (n_state
        + k)`` in float64. If it is larger, the sweep keeps checkpoints and is recomputed piece by
        piece, with the same bits.

    Returns
    -------
    CovariantVectors

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state stops being finite; if the block loses rank, as in `flossing_value_and_grad`; or
        if two exponents cannot be told apart in this run, so that vectors are not unique. The last
        two give the number of vectors that exist, as ``rank``.

    Warns
    -----
    LyapflowWarning
        If some vectors have not converged to 1e-3.

    Notes
    -----
    Ginelli et al., *Characterizing dynamics with covariant Lyapunov vectors*, PRL 99, 130601
    (2007). A forward sweep with a QR after every step leaves :math:`Q_t` and :math:`R_t`; back in
    time, :math:`C_t = R_t^{-1} C_{t+1}` with columns of length 1 gives :math:`V_t = Q_t C_t`.

    The forward sweep approaches the span of the first i vectors as :math:`e^{-(\lambda_i -
    \lambda_{i+1}) t}`, the backward sweep to vector i within it as :math:`e^{-(\lambda_{i-1} -
    \lambda_i) t}`. `convergence` is the largest of what is left by these rates, with the gaps of
    the mean growth; of the angle between the spans that two initial blocks have come to at the
    first counted step (root of the sum of the squared sines of their principal angles); and of the
    distance of the vectors that two initial coefficients have come to after the last. The rates are
    needed where Jacobians are far from normal: there two starts agree with each other long before
    they have arrived. Of the last vector the gap to the exponents beyond is not known.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> W = np.array([[0.9, 0.5], [0.0, 0.4]])
    >>> cell = lf.LinearRNN(W, np.empty((2, 0)), np.zeros(2))
    >>> found = lf.covariant_vectors(
    ...     cell, steps=150, q0=np.eye(2), q_transient=50, end_transient=50
    ... )
    >>> found.vectors[0].round(9)  # the eigenvectors of W
    array([[ 1.        , -0.70710678],
           [ 0.        ,  0.70710678]])
    >>> np.exp(found.exponents).round(9)  # its eigenvalues
    array([0.9, 0.4])
    >>> np.degrees(found.angles()[0]).round(6)
    array([[ 0., 45.],
           [45.,  0.]])
    """
    return vectors_of(
        _Checked(cell, x, k, steps, h0, q0, transient, q_transient, end_transient, every, memory)
    )


def vectors_of(checked: _Checked) -> CovariantVectors:
    """`covariant_vectors` of checked arguments."""
    given = checked.given
    try:
        taped = taped_sweep(given, piece_starts(given, checked.memory))
    except Diverged as error:
        if error.rank is None:
            raise
        raise with_way_out(error, given) from None
    counted = checked.last - checked.first
    found = backward(taped, checked.first, checked.last, min(checked.every, counted))
    apart = np.maximum(found.apart, flags_apart(given, checked.first, found.first_block))
    convergence = np.maximum(apart, _by_the_gaps(checked, found.growth))
    _refuse_equal(given, found.growth, apart)
    late = np.flatnonzero(convergence > CONVERGED)
    if late.size:
        warn(
            f"{late.size} of {len(convergence)} covariant vectors have not converged: vector {late[0] + 1} is off "
            f"by {convergence[late[0]]:.1e}, the worst by {convergence.max():.1e}; use a longer q_transient and "
            f"end_transient, or a smaller k"
        )
    dtype = given.x.dtype
    return CovariantVectors(
        found.vectors.swapaxes(1, 2),
        found.growth.astype(dtype),
        found.states,
        convergence.astype(dtype),
        checked.every,
    )


def _by_the_gaps(checked: _Checked, growth: np.ndarray) -> np.ndarray:
    """What is left of other directions by the gaps between exponents, of length k.

    Where a gap is small and the Jacobians are not normal, two starts agree with each other long
    before they have arrived."""
    gaps = np.maximum(-np.diff(growth.mean(axis=0)), 0.0)
    left = np.zeros(growth.shape[1])
    # the last vector's gap to the exponents beyond is not known
    left[:-1] = np.exp(-gaps * (checked.first - checked.given.plan.transient))
    left[1:] = np.maximum(left[1:], np.exp(-gaps * checked.end))
    return left


def _refuse_equal(given: Problem, growth: np.ndarray, convergence: np.ndarray) -> None:
    """Raise Diverged where vectors are not unique.

    The spans of the first i vectors have not come nearer to each other, and the gap between
    exponents i and i + 1, two standard errors added, would not have brought them together in the
    whole run: growth of directions that change places gives a gap of about 1 / steps."""
    if len(growth) < TELLING:
        return
    steps = given.plan.steps - given.plan.transient
    bars = error_bars(growth[None], np.ones(len(growth), np.int64), np.zeros(1, np.int64))
    errors = np.linalg.norm(np.diff(bars.deviations, axis=1), axis=0)
    gaps = np.abs(np.diff(growth.mean(axis=0))) + 2 * errors
    equal = np.flatnonzero((convergence[:-1] > APART) & (gaps * steps < -np.log(NEARER)))
    if equal.size:
        i = int(equal[0])
        way_out = f"ask for k <= {i}" if i else "the first of them is among these"
        raise Diverged(
            f"exponents {i + 1} and {i + 2} are equal as far as {steps} steps tell, so that their covariant vectors "
            f"are not unique; {way_out}",
            rank=i,
        )
