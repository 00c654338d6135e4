"""Adam, with gradients clipped array by array."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._engine.jit import jit
from lyapflow._trees import arrays, is_tree, like, map_arrays, named_arrays
from lyapflow.ensemble import Ensemble, Members
from lyapflow.errors import Diverged, LyapflowError


class AdamState(NamedTuple):
    """Steps taken, and the running moments of the gradient, each a tree like the parameters."""

    step: int
    mean: Any
    square: Any


@jit
def _update(p, g, mean, square, step, lr, beta1, beta2, eps, clip_norm):
    total, largest = 0.0, 0.0
    for i in range(g.size):
        total += np.float64(g[i]) * np.float64(g[i])
        largest = max(largest, abs(np.float64(g[i])))
    norm = np.sqrt(total)
    if not np.isfinite(norm) and np.isfinite(largest):  # the squares overflowed, not the gradient
        total = 0.0
        for i in range(g.size):
            total += (g[i] / largest) ** 2
        norm = largest * np.sqrt(total)
    scale = clip_norm / norm if norm > clip_norm else 1.0
    correction1 = 1.0 - beta1**step
    correction2 = 1.0 - beta2**step
    lost = 0
    for i in range(g.size):
        gradient = scale * g[i]
        mean[i] = beta1 * mean[i] + (1.0 - beta1) * gradient
        square[i] = beta2 * square[i] + (1.0 - beta2) * gradient * gradient
        p[i] -= lr * (mean[i] / correction1) / (np.sqrt(square[i] / correction2) + eps)
        lost += not (np.isfinite(square[i]) and np.isfinite(p[i]))
    return lost == 0


@dataclass(frozen=True)
class Adam:
    r"""Settings of Adam (Kingma and Ba, 2015).

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
        \theta \leftarrow \theta - \eta\,\frac{m/(1-\beta_1^s)}{\sqrt{v/(1-\beta_2^s)} + \varepsilon}

    Parameters
    ----------
    lr : float, or callable
        Learning rate η, or a function of the number of updates done before, such as
        ``lambda step: 1e-3 * 0.5 ** (step / 1000)``.
    beta1, beta2 : float
        Decay of the moments per step, in [0, 1).
    eps : float
        ε.
    clip_norm : float, optional
        Bound on the Euclidean norm of each array's gradient; longer gradients are scaled down to
        it. None: no bound.
    hold : sequence of str
        Names of arrays that keep their values, such as ``b``; by default the leak of leaky
        networks. ``hold=()`` trains everything.

    Raises
    ------
    LyapflowError
        If a setting is out of its range.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[0.5]]), np.empty((1, 0)), np.zeros(1))
    >>> gradient = lf.LinearRNN(np.array([[2.0]]), np.empty((1, 0)), np.zeros(1))
    >>> optimizer = lf.Adam(0.1)
    >>> cell, state = optimizer.update(optimizer.init(cell), cell, gradient)
    >>> cell.W.round(6)
    array([[0.4]])
    """

    lr: float | Callable[[int], float] = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = None
    hold: Sequence[str] = ("leak",)

    def __post_init__(self) -> None:
        names = isinstance(self.hold, Iterable) and not isinstance(self.hold, str)
        if not names or not all(isinstance(name, str) for name in self.hold):
            raise LyapflowError(
                f"hold must be names of arrays, such as ('leak', 'b'), got {self.hold!r:.80}"
            )
        object.__setattr__(self, "hold", tuple(self.hold))
        if not callable(self.lr):
            _checks.number("lr", self.lr, 0.0)
        for name in ("beta1", "beta2"):
            if _checks.number(name, getattr(self, name), 0.0, 1.0) == 1.0:
                raise LyapflowError(f"{name} must be below 1, got 1")
        _checks.number("eps", self.eps, 0.0, open_low=True)
        if self.clip_norm is not None:
            _checks.number("clip_norm", self.clip_norm, 0.0, open_low=True)

    def rate(self, step: int) -> float:
        """The learning rate after so many updates."""
        return (
            _checks.number(f"lr({step})", self.lr(step), 0.0)
            if callable(self.lr)
            else float(self.lr)
        )

    def init(self, params: Any) -> Any:
        """The state before the first update of params, a cell or Model; of an ensemble, one for each member."""
        if isinstance(params, Ensemble):
            return Ensemble(map(self.init, params))
        return AdamState(0, map_arrays(np.zeros_like, params), map_arrays(np.zeros_like, params))

    def update(self, state: Any, params: Any, grads: Any) -> tuple[Any, Any]:
        """One step: the new parameters and the new state; the old ones stay as they were.

        A member of an ensemble that cannot be updated, its gradient being NaN, stays as it was.

        Raises
        ------
        LyapflowError
            If the state or the gradient does not belong to the parameters.
        Diverged
            If a gradient is not finite, or so large that its square is not.
        """
        if isinstance(params, Ensemble):
            members = Members(params, list(grads.reasons) if isinstance(grads, Ensemble) else None)
            states, gradients = members.split("state", state), members.split("grads", grads)
            return members.join(
                members.run(
                    lambda r: self.update(states[r], params[r], gradients[r]),
                    lambda r: (params[r], states[r]),
                )
            )
        if not isinstance(state, AdamState):
            raise LyapflowError(
                f"state must come from init or from the last update, got {type(state).__name__}"
            )
        if not is_tree(grads):
            raise LyapflowError(
                f"grads must be a cell or Model like the parameters, got {type(grads).__name__}"
            )
        step = state.step + 1
        clip_norm = np.inf if self.clip_norm is None else float(self.clip_norm)
        fresh = [np.array(p, order="C") for p in arrays(params)]
        mean, square = ([m.copy() for m in arrays(moment)] for moment in (state.mean, state.square))
        settings = (
            self.rate(state.step),
            float(self.beta1),
            float(self.beta2),
            float(self.eps),
            clip_norm,
        )
        for name, tree in (("gradient", arrays(grads)), ("state", mean), ("state", square)):
            for p, other in itertools.zip_longest(fresh, tree):
                if p is None or other is None or other.shape != p.shape or other.dtype != p.dtype:
                    expected, got = (
                        "nothing" if a is None else f"{a.dtype} {a.shape}" for a in (p, other)
                    )
                    raise LyapflowError(
                        f"a {name} must be like its parameter, {expected}, got {got}"
                    )
        for name, g in named_arrays(grads):
            _checks.not_masked(f"the gradient of {name}", g)
        names = [name.rpartition(".")[2] for name, _ in named_arrays(params)]
        for name, p, g, m, v in zip(names, fresh, arrays(grads), mean, square):
            if name in self.hold:
                continue
            flat = (p.reshape(-1), np.array(g, order="C").reshape(-1), m.reshape(-1), v.reshape(-1))
            if not _update(*flat, step, *settings):
                raise Diverged(
                    f"an update by {self} stopped being finite: set clip_norm or a smaller lr"
                )
        return like(params, iter(fresh)), AdamState(
            step, like(params, iter(mean)), like(params, iter(square))
        )
