"""The flossing loss on Lyapunov exponents, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import DIFFERENTIABLE, input_pullback
from lyapflow.cells.layers import Layers, of_layer
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.lyapunov.layers import driven, layer_problems
from lyapflow.lyapunov.padding import padded
from lyapflow.lyapunov.problem import Problem, doubt_layout, each_trajectory
from lyapflow.lyapunov.pullback import retreat, total
from lyapflow.lyapunov.resolution import with_way_out
from lyapflow.lyapunov.tape import TapedSweep, piece_starts, taped_sweep

MEMORY = 256e6  # bytes

AVERAGES = ("exponents", "loss")


class Wanted(NamedTuple):
    """What the loss wants of k exponents."""

    target: np.ndarray  # (k,)
    weights: np.ndarray | None  # (k,), None for ones
    one_sided: bool
    average: str

    def off(self, exponents: np.ndarray) -> np.ndarray:
        """How far exponents (..., k) are from their targets; 0 for what does not matter."""
        off = exponents - self.target
        return np.minimum(off, 0.0) if self.one_sided else off


def number_of_exponents(k: Any) -> int:
    """How many exponents k asks for: itself or, where it is given for each of several layers, the sum."""
    if not isinstance(k, (tuple, list)):
        return _checks.integer("k", k, 1)
    return sum(_checks.integer("k of each layer", of, 1) for of in k)


def wanted(
    k: int, target: Any, average: Any, weights: Any = None, one_sided: Any = False
) -> Wanted:
    """The same after checks."""
    target = targets(target, k)
    _checks.one_of("average", average, AVERAGES)
    found = None if weights is None else _checks.finite("weights", weights)
    if weights is not None and (found is None or found.shape != (k,) or (found < 0).any()):
        raise LyapflowError(
            f"weights must be {k} finite numbers of at least 0, one per exponent, got {weights!r:.80}"
        )
    return Wanted(target, found, _checks.flag("one_sided", one_sided), average)


# the problem of each layer, what is wanted, memory, and the shape of the gradient in the input, where it is asked for
Checked = tuple[list[Problem], Wanted, float, tuple[int, ...] | None]


def _checked(
    target: Any,
    memory: Any,
    average: Any,
    weights: Any = None,
    one_sided: Any = False,
    input_gradient: Any = False,
    **arguments: Any,
) -> Checked:
    asked = _checks.flag("input_gradient", input_gradient)
    generics = (*DIFFERENTIABLE, input_pullback) if asked else DIFFERENTIABLE
    given = layer_problems(generics, **arguments)
    aims = wanted(sum(len(g.block) for g in given), target, average, weights, one_sided)
    batched = _checks.ndim(arguments["x"]) == 3 or _checks.ndim(arguments["h0"]) == 2
    x = given[0].x
    shape = x.shape if batched else (x.shape[0], x.shape[2])
    return given, aims, _checks.number("memory", memory, 0.0), shape if asked else None


def _network(cells: Sequence[Any]) -> Any:
    """The cells of all layers as one network."""
    return cells[0] if len(cells) == 1 else Layers(tuple(cells))


def _lost(checked: Checked) -> tuple:
    (given, aims, _, shape), dtype = checked, checked[0][0].x.dtype
    nothing = (
        np.nan,
        map_arrays(lambda a: np.full_like(a, np.nan), _network([g.cell for g in given])),
        np.full(len(aims.target), np.nan, dtype),
    )
    return nothing if shape is None else (*nothing, np.full(shape, np.nan, dtype))


@over_members("x", "h0", "q0", "lengths", check=_checked, lost=_lost)
def flossing_value_and_grad(
    cell: Any,
    x: ArrayLike | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
    average: str = "exponents",
    weights: ArrayLike | None = None,
    one_sided: bool = False,
    memory: float = MEMORY,
    input_gradient: bool = False,
    lengths: ArrayLike | None = None,
) -> tuple:
    r"""Flossing loss, its gradient in all parameters of the cell, and the exponents.

    .. math:: L = \sum_{i \le k} w_i (\bar\lambda_i - \lambda_i^{target})^2
        \qquad\text{or}\qquad
        L = \frac{1}{B} \sum_{b \le B} \sum_{i \le k} w_i (\lambda_{bi} - \lambda_i^{target})^2

    The first is the loss of the exponents averaged over the B trajectories (over all their counted
    steps, if they differ in length), the second the average of each trajectory's loss. The second
    is larger by the variance of the exponents over the trajectories, which it therefore also
    reduces; for one trajectory both are the same.

    The exponents are a function of (parameters, x, h0, q0); the gradient is the exact derivative of
    that function, through the trajectory and the QR, transients included, with h0 and q0 held
    constant.

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Input of one trajectory, or of B.
    k : int, optional
        Number of exponents in the loss, all n_state by default. In a network of layers the number
        for every layer, or a tuple with one for each; exponents, target and weights are then
        joined, those of the bottom layer first.
    steps : int, optional
        Instead of x, for a cell without inputs, as in `lyapunov_spectrum`.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories; in a network of layers a sequence
        with one block for each.
    t_ons, transient, q_transient
        As in `lyapunov_spectrum`.
    average : "exponents" or "loss"
        What is averaged over the trajectories: the exponents (the first formula), or the losses
        (the second), as in the scripts of the paper's author.
    weights : array (k,), optional
        Weights w of the exponents, at least 0; all 1 by default.
    one_sided : bool
        Whether only exponents below their targets count, which keeps gradients from vanishing and
        leaves expanding directions alone.
    memory : float
        Bytes that the tapes of the forward sweeps may take, about ``8 T k (n_state + k)`` for each
        trajectory in float64. If all tapes together are larger, sweeps keep checkpoints and are
        recomputed piece by piece, one trajectory per thread at a time, which takes half as long
        again and gives the same bits. If not even that fits, the least possible memory is used.
    input_gradient : bool
        Whether to return the gradient in the input, too, for whatever precedes the network.
    lengths : int array (B,), optional
        Length of each trajectory, if x (T, B, m) is padded at the ends.

    Returns
    -------
    loss : float
    gradient : cell
        Of the same class.
    exponents : array (k,)
        In nats per step, averaged over the trajectories.
    x_bar : array of the shape of x
        The gradient in x, with `input_gradient`.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite, or if the block loses rank, so that fewer
        than k exponents exist; the error names the step and, as ``rank``, the number that is left.
        An ensemble goes on: loss, gradient and exponents of that member are NaN, and
        ``gradient.reasons`` says why.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories.

    Notes
    -----
    Paper, Alg. 1, Eq. 4, 5 and 8; derivation in ``docs/derivations.md``.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(np.diag([0.5, 0.25]), np.empty((2, 0)), np.zeros(2))
    >>> loss, gradient, exponents = lf.flossing_value_and_grad(cell, steps=10, q0=np.eye(2))
    >>> exponents.round(6)  # ln 0.5 and ln 0.25 at the fixed point 0
    array([-0.693147, -1.386294])
    >>> np.diag(gradient.W).round(6)  # 2 λ / W_ii
    array([ -2.772589, -11.090355])
    """
    given, aims, memory, shape = _checked(
        target,
        memory,
        average,
        weights,
        one_sided,
        input_gradient,
        cell=cell,
        x=x,
        k=k,
        steps=steps,
        h0=h0,
        q0=q0,
        t_ons=t_ons,
        transient=transient,
        q_transient=q_transient,
        lengths=lengths,
    )
    if steps is None:
        doubt_layout(given[0].x)
    *found, x_bar = _flossing(driven(given), aims, memory, shape is not None)
    return tuple(found) if x_bar is None else (*found, x_bar.reshape(shape))


def one_value_and_grad(memory: float = MEMORY, **arguments: Any) -> tuple[float, Any, np.ndarray]:
    """`flossing_value_and_grad` of one cell, for callers who vouch for the layout of x."""
    given, aims, memory, _ = _checked(memory=memory, **arguments)
    return _flossing(driven(given), aims, memory)[:3]


def targets(target: Any, k: int) -> np.ndarray:
    """Wanted exponents (k,) from a number or k of them."""
    found = _checks.finite("target", target)
    if found is None or found.shape not in ((), (k,)):
        raise LyapflowError(
            f"target must be a finite number or {k} of them, one per exponent, got {target!r}"
        )
    return np.broadcast_to(found, (k,))


def _flossing(
    given: list[Problem], aims: Wanted, memory: float, input_gradient: bool = False
) -> tuple[float, Any, np.ndarray, np.ndarray | None]:
    """Loss, gradient, exponents and x_bar, from sweeps ahead, the bottom layer first, and back, the top layer first."""
    batch, layers = len(given[0].h0), range(len(given))
    counted = given[0].counted[:, None]
    taped: list[list[TapedSweep]] = []
    for number in layers:
        with of_layer(number, len(given)):
            taped.append(_ahead(given[number], memory / len(given)))

    growth = np.array([np.concatenate([of.growth for of in sweeps]) for sweeps in zip(*taped)])
    exponents = growth.sum(axis=0) / counted.sum()
    # a row for each trajectory, or one for all
    off = aims.off(growth / counted if aims.average == "loss" else exponents[None])
    pull = off if aims.weights is None else aims.weights * off
    loss = float(np.vdot(pull, off)) / len(off)

    # the loss depends on each trajectory through its counted growth alone
    steps = counted * batch if aims.average == "loss" else counted.sum()
    growth_bar = np.broadcast_to(2.0 * pull / steps, growth.shape)
    ends = np.cumsum([len(layer.block) for layer in given])
    of_layers = np.split(growth_bar, ends[:-1], axis=1)
    gradients: list[Any] = []
    x_bar = None
    for number in reversed(layers):
        with of_layer(number, len(given)):
            gradient, x_bar = _back(
                taped[number],
                len(given[number].x),
                of_layers[number],
                x_bar,
                input_gradient or number > 0,
            )
        gradients.insert(0, gradient)
    return loss, _network(gradients), exponents.astype(given[0].x.dtype), x_bar


def _ahead(given: Problem, memory: float) -> list[TapedSweep]:
    """A sweep of each trajectory of a layer."""
    batch = len(given.h0)
    starts = [piece_starts(given, memory)] * batch
    if given.lengths is not None:
        starts = [piece_starts(given.alone(b), memory / batch) for b in range(batch)]
    try:
        return each_trajectory(lambda b: taped_sweep(given.alone(b), starts[b]), batch)
    except Diverged as error:
        if error.rank is None:
            raise
        raise with_way_out(error, given) from None


def _back(
    sweeps: list[TapedSweep],
    steps: int,
    growth_bar: np.ndarray,
    units_bar: np.ndarray | None,
    input_gradient: bool,
) -> tuple[Any, np.ndarray | None]:
    """A layer's gradient, and the cotangents (T, B, m) of its input, where they are asked for.

    From those of the growth (B, k) of each trajectory, and those (T, B, units) that its units get
    from the layer above."""
    x_bars = [np.empty_like(of.given.x) for of in sweeps] if input_gradient else None

    def back(b: int) -> Any:
        length = sweeps[b].given.plan.steps
        from_above = None if units_bar is None else np.ascontiguousarray(units_bar[:length, b])
        return retreat(sweeps[b], growth_bar[b], from_above, None if x_bars is None else x_bars[b])

    gradient = total(each_trajectory(back, len(sweeps)), "flossing")
    return gradient, None if x_bars is None else padded(x_bars, steps, 0.0)
