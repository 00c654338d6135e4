r"""How far back a gradient reaches, and how far it can be trusted.

The long-term Jacobian over a lag l, ``M_l = ∂h_t / ∂h_{t-l} = D_{t-1} ... D_{t-l}``, is formed for some
times t, backwards, with a factor e^s of its own, so that it neither overflows nor underflows. Exponents
say how it grows in the long run; this says what it does over the lags that a task has, what of it a readout
sees, and what the parameters add to it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow._presented import Lines, Presented
from lyapflow._results import Result
from lyapflow._trees import arrays
from lyapflow.cells.interface import (
    accumulate,
    checked,
    sizes,
    step,
    step_pullback,
    tangent,
    transposed,
    zeros_like,
)
from lyapflow.cells.joint import as_one
from lyapflow.cells.layers import seen_units
from lyapflow.cells.linearisation import jacobian_of, with_jacobian
from lyapflow.errors import LyapflowError
from lyapflow.learning.model import Model, checked_model
from lyapflow.lyapunov.problem import Problem, initial_state, inputs
from lyapflow.lyapunov.trajectory import no_tangents, states_of

PROBES = 8  # random vectors that the norm of a derivative in the parameters is found from
DISAGREEMENT = 0.1
EPS = float(np.finfo(float).eps)
SMALLEST_CHANGE = 1e-12  # of which float64 states show three digits
ROUNDINGS = 8  # of a state after a step, in units of ε


@dataclass(frozen=True, eq=False, repr=False)
class Reach(Presented, Result):
    """Long-term Jacobians ``∂h_t / ∂h_{t-l}`` of A times t, over L lags l.

    Attributes
    ----------
    lags : int array (L,)
    log_singular_values : array (A, L, n_state)
        Natural logarithms, in descending order; NaN below the rounding of the product.
    effective_rank : array (A, L)
        ``(Σ σ²)² / Σ σ⁴``: in how many directions a change of the past arrives.
    log_readout : array (A, L), optional
        For a Model: logarithm of the norm of ``W_out ∂u_t / ∂h_{t-l}``, u the units that it reads
        (of layers those of the top one): what a loss sees.
    log_parameters : array (A, L), optional
        Logarithm of the Frobenius norm of ``∂h_t / ∂θ`` through the parameters θ of one step, l
        steps back, from random vectors; of a network that has gradients.
    disagreement : array (A, longest lag)
        After 1, 2, ... steps: the distance of the change of the state by its Jacobian from that by
        central differences, relative to the former; NaN where so little is left of the disturbance
        that rounding errors would decide.
    change : float
        Size of the disturbance of these differences, relative to the state.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> model = lf.Model.random(lf.TanhRNN.random(10, 1, rng=rng), 1, rng=rng)
    >>> reach = lf.gradient_reach(model, rng.standard_normal((500, 1)), range(1, 41))
    >>> low, median, high = reach.quartiles("readout")
    >>> median.shape
    (40,)
    >>> reach.lag(0.01)  # the first from which on less than a hundredth is left
    11.0
    """

    lags: np.ndarray
    log_singular_values: np.ndarray
    effective_rank: np.ndarray
    log_readout: np.ndarray | None
    log_parameters: np.ndarray | None
    disagreement: np.ndarray
    change: float

    def _summary(self) -> Lines:
        """What one wants to know first: what the longest lag leaves, from where on it is little, the horizon."""
        last, horizon = int(self.lags[-1]), self.horizon()
        found = [("Reach", f"{len(self.log_norms)} times, lags from {self.lags[0]} to {last}")]
        measured = {"norms": self.log_norms, "readout": self.log_readout}
        for of in (of for of, values in measured.items() if values is not None):
            low, median, high = self.quartiles(of)[:, -1] / np.log(10.0)
            lag = self.lag(of=of)
            from_where = "not below 1 %" if np.isinf(lag) else f"below 1 % from lag {lag:.0f} on"
            said = (
                f"10^{median:.1f} over {last} steps (quartiles {low:.1f}, {high:.1f}), {from_where}"
            )
            found.append((of, said))
        far = f"more than {self.disagreement.shape[1]}" if np.isinf(horizon) else f"{horizon:.0f}"
        return [*found, ("horizon", f"{far} steps for changes of {self.change:g}")]

    @property
    def log_norms(self) -> np.ndarray:
        """ln ‖∂h_t / ∂h_{t-l}‖ (A, L), the largest singular value."""
        return self.log_singular_values[:, :, 0]

    def quartiles(self, of: str = "norms") -> np.ndarray:
        """Quartiles (3, L) over the times of log_norms, log_readout, log_parameters, or effective_rank.

        Parameters
        ----------
        of : {"norms", "readout", "parameters", "effective_rank"}

        Returns
        -------
        array (3, L)

        Raises
        ------
        LyapflowError
            If that was not measured.
        """
        _checks.one_of("of", of, ("norms", "readout", "parameters", "effective_rank"))
        values = getattr(self, of if of == "effective_rank" else f"log_{of}")
        if values is None:
            raise LyapflowError(
                f"{of} was not measured: readout takes a Model, parameters a network with gradients"
            )
        return np.quantile(values, (0.25, 0.5, 0.75), axis=0, method="inverted_cdf")

    def lag(self, level: float = 0.01, of: str = "norms") -> float:
        """The first measured lag from which on the median norm stays below a level; infinite if the last does not.

        Parameters
        ----------
        level : float
            Absolute for the norm of the state's Jacobian, which is 1 at lag 0; relative to the first
            lag for readout and parameters.
        of : {"norms", "readout", "parameters"}

        Returns
        -------
        float

        Raises
        ------
        LyapflowError
            If the level is not positive, or that was not measured.
        """
        level = _checks.number("level", level, 0.0, open_low=True)
        median = self.quartiles(of)[1]
        below = median < np.log(level) + (0.0 if of == "norms" else median[0])
        if not below[-1]:
            return np.inf
        return float(self.lags[len(below) - int(np.argmin(below[::-1])) if not below.all() else 0])

    def horizon(self, disagreement: float = DISAGREEMENT) -> float:
        """Steps over which Jacobians predict what a small change does, to within `disagreement` in the median.

        In a chaotic network a gradient over more steps is exact, but useless: it is the slope of
        the loss at one point, and the loss curves within less than the change. Infinite if even the
        longest lag is not too long.
        """
        disagreement = _checks.number("disagreement", disagreement, 0.0, open_low=True)
        told = np.where(np.isnan(self.disagreement), 0.0, self.disagreement)
        off = np.median(told, axis=0) > disagreement
        return float(np.argmax(off)) if off.any() else np.inf


@jit
def _pull_parameters_back(
    cell, turned, h, x, bar, h_next, record, h_bar, work, no_block, no_work, gradient
):
    """Add to gradient what the parameters of one step give the cotangent `bar` of its result."""
    step(cell, turned, h, x, h_next, record)
    step_pullback(cell, record, bar, h_bar, work)
    n, m, r, w = h.shape[1], x.shape[1], record.shape[1], work.shape[1]
    accumulate(
        cell,
        x.reshape(1, 1, m),
        h.reshape(1, 1, n),
        record.reshape(1, 1, r),
        bar.reshape(1, 1, n),
        work.reshape(1, 1, w),
        no_block,
        no_block,
        no_work,
        gradient,
    )


class _Parameters:
    """The norm of a derivative in the parameters of one step."""

    def __init__(self, cell: Any) -> None:
        size = sizes(cell)
        n = size.state
        self.cell, self.turned = cell, transposed(cell)
        self.scratch = tuple(np.empty((1, width)) for width in (n, size.record, n, size.step_work))
        self.nothing = np.empty((0, 0, n)), np.empty((0, 0, size.tangent_work))

    def log_norm(self, h: np.ndarray, x: np.ndarray, bars: np.ndarray) -> float:
        """``½ ln`` of the mean over bars (P, n) of ``|bar^T ∂f/∂θ|²``."""
        total = 0.0
        for bar in bars:
            gradient = zeros_like(self.cell)
            _pull_parameters_back(
                self.cell,
                self.turned,
                h[None],
                x[None],
                bar[None],
                *self.scratch,
                *self.nothing,
                gradient,
            )
            total += sum(float((a**2).sum()) for a in arrays(gradient))
        with np.errstate(divide="ignore"):
            return 0.5 * float(np.log(total / len(bars)))


def _parameters(network: Any) -> _Parameters | None:
    """Of a network, layers as one cell; nothing where one of its cells has no gradients."""
    with suppress(LyapflowError):
        return _Parameters(checked(as_one(network), step_pullback, accumulate))
    return None


def _disagreement(
    cell: Any,
    h: np.ndarray,
    x: np.ndarray,
    jacobians: np.ndarray,
    change: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """After each step from the state h: how far Jacobians are off central differences, along a random direction."""
    direction = rng.standard_normal(h.size)
    direction /= np.linalg.norm(direction)
    size = change * (float(np.linalg.norm(h)) or 1.0)
    starts = h + size * np.array([[1.0], [-1.0]]) * direction
    direction = (starts[0] - starts[1]) / (2 * size)  # as it is after rounding
    both = np.ascontiguousarray(np.repeat(x[:, None], 2, axis=1))
    ahead, behind = states_of(no_tangents(cell, both, starts)).swapaxes(0, 1)
    off, log_scale = np.full(len(x), np.nan), 0.0
    for s, D in enumerate(jacobians):
        direction = D @ direction
        length = float(np.linalg.norm(direction))
        if length == 0.0:
            break
        direction /= length
        log_scale += np.log(length)
        rounding = np.log(ROUNDINGS * EPS * (float(np.linalg.norm(ahead[s])) or EPS) / (2 * size))
        if rounding - log_scale <= np.log(DISAGREEMENT / 10):
            change_found = (ahead[s] - behind[s]) / (2 * size)
            off[s] = np.linalg.norm(change_found * np.exp(-log_scale) - direction)
    return off


def gradient_reach(
    network: Any,
    x: ArrayLike | None = None,
    lags: ArrayLike | None = None,
    *,
    steps: int | None = None,
    h0: ArrayLike | None = None,
    transient: int = 0,
    times: int = 32,
    change: float = 1e-3,
) -> Reach:
    r"""How far back gradients reach: norms and singular values of ``∂h_t / ∂h_{t-l}`` over lags l.

    Parameters
    ----------
    network : cell or Model
        For a Model the readout is measured as well, and h0 is the Model's.
    x : array (T, m) or (T, B, m)
        Inputs of one trajectory or of B; for a cell without inputs give `steps` instead.
    lags : int array, optional
        Ascending; by default 25 or fewer from 1 to 256 (or to half of the counted steps), evenly
        spaced in their logarithms.
    steps : int, optional
        Number of steps of a cell without inputs.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    transient : int
        First steps, which are left out.
    times : int
        Number of times t at which to measure, spread evenly over the run and its trajectories.
    change : float
        Size of the disturbance, relative to the state, for which `Reach.horizon` asks whether
        gradients hold.

    Returns
    -------
    Reach
        In float64, whatever the dtype of the network.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state stops being finite.

    Notes
    -----
    With λ_1 the norm is about ``e^{λ_1 l}`` in the long run; over the lags of a task it may be far
    from that. The gradient in the parameters, ``∂h_t / ∂θ``, is a sum over lags of ``M_{l-1} ∂f /
    ∂θ``: with λ_1 near 0 its terms do not fade, so it grows with the length of a sequence, which
    flossing does not tame.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(20, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((500, 1))
    >>> reach = lf.gradient_reach(cell, x, [1, 10, 20], transient=50)
    >>> bool((np.diff(reach.quartiles()[1]) < 0).all())
    True
    >>> reach.lag(0.5)
    10.0
    """
    if isinstance(network, Model):
        if h0 is not None:
            raise LyapflowError(
                "h0 is the Model's own; leave it out, or give the Model another one"
            )
        network = checked_model(network)
        cell, W_out, h0 = network.cell, network.W_out.astype(float), network.h0
    else:
        cell, W_out = checked(network, step, tangent), None
    cell = with_jacobian(cell)
    size = sizes(cell)
    given = _problem(cell, x, steps, h0)
    transient = _checks.integer("transient", transient, 0, len(given.x) - 1, why=" = steps - 1")
    lags = _lags(lags, len(given.x) - transient)
    times = _checks.integer("times", times, 1)
    change = _checks.number("change", change, SMALLEST_CHANGE)
    longest, n = int(lags[-1]), size.state
    _checks.affordable(
        f"{times} windows of {longest} Jacobians", longest * n * n * 2 + times * len(lags) * n
    )
    states = np.concatenate([given.h0[None], states_of(given)])
    parameters = _parameters(given.cell)
    ends = np.linspace(len(given.x), transient + longest, times).round().astype(int)[::-1]
    found = [
        _at(given, states, lags, int(t), a % given.x.shape[1], W_out, parameters, change, a)
        for a, t in enumerate(ends)
    ]
    log_sigma, rank, readout, of_parameters, off = (np.array(part) for part in zip(*found))
    return Reach(
        lags,
        log_sigma,
        rank,
        None if W_out is None else readout,
        None if parameters is None else of_parameters,
        off,
        change,
    )


def _problem(cell: Any, x: Any, steps: Any, h0: Any) -> Problem:
    """States to be found, in float64."""
    size, like = sizes(cell), arrays(cell)[0]
    x, _ = inputs(x, size, like, steps, h0)
    return no_tangents(cell, x, initial_state(h0, size, x.shape[1], like)).in_float64()


def _lags(lags: Any, most: int) -> np.ndarray:
    if lags is None:
        last = max(1, min(256, most // 2))
        return np.unique(np.geomspace(1, last, min(last, 25)).round().astype(int))
    found = np.asarray(lags)
    whole = found.ndim == 1 and found.size > 0 and np.issubdtype(found.dtype, np.integer)
    found = found.astype(np.int64) if whole else found  # differences of unsigned numbers wrap
    if not whole or found[0] < 1 or (np.diff(found) <= 0).any() or found[-1] > most:
        raise LyapflowError(
            f"lags must be ascending integers from 1 to the {most} steps after the transient, got {lags!r:.80}"
        )
    return found


def _at(
    given: Problem,
    states: np.ndarray,
    lags: np.ndarray,
    t: int,
    b: int,
    W_out: np.ndarray | None,
    parameters: _Parameters | None,
    change: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Before time t of trajectory b: ln σ (L, n), effective rank, ln of readout and of parameters, disagreement."""
    longest, n, rng = int(lags[-1]), states.shape[2], np.random.default_rng(seed)
    first = t - longest
    h = np.ascontiguousarray(states[first:t, b])
    x = np.ascontiguousarray(given.x[first:t, b])
    jacobians = np.array([jacobian_of(given.cell, *of) for of in zip(h, x)])
    probes = rng.standard_normal((PROBES, n))
    log_sigma = np.full((len(lags), n), np.nan)
    rank, readout, of_parameters = np.empty((3, len(lags)))
    M, log_scale, number = np.eye(n), 0.0, 0
    with one_blas_thread(), np.errstate(divide="ignore"):
        for lag in range(1, longest + 1):
            check_interrupt()
            back = longest - lag
            if lag == lags[number] and parameters is not None:
                bars = np.ascontiguousarray(probes @ M)
                of_parameters[number] = log_scale + parameters.log_norm(h[back], x[back], bars)
            M = M @ jacobians[back]
            largest = float(np.abs(M).max())
            if largest > 0:
                M /= largest
            log_scale += np.log(largest) if largest > 0 else -np.inf
            if lag < lags[number]:
                continue
            sigma = np.linalg.svd(M, compute_uv=False)
            there = sigma > n * EPS * sigma[0]
            there[0] = True
            log_sigma[number, there] = log_scale + np.log(sigma[there])
            rank[number] = (sigma**2).sum() ** 2 / (sigma**4).sum() if sigma[0] > 0 else 0.0
            if W_out is not None:
                seen = W_out @ seen_units(given.cell, M.T).T
                readout[number] = log_scale + np.log(np.linalg.norm(seen, 2))
            number += 1
    off = _disagreement(given.cell, h[0], x, jacobians, change, rng)
    return log_sigma, rank, readout, of_parameters, off
