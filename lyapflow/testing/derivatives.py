"""Second derivatives of a step, and gradients of a chunk of steps, against differences of `step` and the tangents."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow._trees import like, named_arrays
from lyapflow.cells.interface import driven_tangent, has
from lyapflow.testing.differences import derivative, directions
from lyapflow.testing.findings import Findings
from lyapflow.testing.kernels import forward
from lyapflow.testing.outputs import Arrays

# what is added to a number is known to this part of that number
EPS = float(np.finfo(float).eps)
# of `_weighed`: the states of both sequences, the blocks, and the first sequence with the blocks
PARTS = {
    "step": (1, 1, 0, 0),
    "tangent": (0, 0, 1, 0),
    "both": (1, 0, 1, 0),
    "driven": (0, 0, 0, 1),
    "driven and step": (1, 0, 0, 1),
}


def check_second_derivatives(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    s: int,
    names: list[str],
    along: np.ndarray,
    driven: bool = False,
) -> None:
    """The adjoint of a tangent at state s against that tangent and its differences."""
    kernel, of = (
        ("driven_tangent_pullback", "driven") if driven else ("tangent_pullback", "tangent")
    )
    h, x, Q, bar = at.h[s, 0], at.x[s, :1], at.Q[s], at.Q_next_bar[s]
    expected = bar @ forward(cell, h[None], x, along[None])[1][0].T
    got = found[f"Q_bar of {of}"][s] @ along.T
    findings.compare(
        kernel, "Q_bar", got, expected, lambda j, i: f"Q_bar[{j}]{names[i]} at state {s}"
    )
    together, blocks = np.repeat(x, len(along), axis=0), np.repeat(Q[None], len(along), axis=0)
    X = np.repeat(at.X[s][None], len(along), axis=0) if driven else None

    def weighed(distance: float) -> np.ndarray:
        moved = forward(cell, h + distance * along, together, blocks, X)[1]
        return (moved * bar).sum(axis=(1, 2))

    expected, doubt = derivative(weighed, h)
    got = along @ (found[f"h_bar of {of}"][s] - at.h_bar)
    doubt += EPS * np.abs(at.h_bar).max()
    name = "what is added to h_bar"
    findings.compare(kernel, name, got, expected, lambda j: f"{name}{names[j]} at state {s}", doubt)


class Differences(NamedTuple):
    """Derivatives of what `_weighed` returns where one array is displaced."""

    names: list[str]  # of the displacements
    along: np.ndarray  # (D, *shape)
    parts: np.ndarray  # (D, 4)
    doubt: float


def in_field(cell: Any, at: Arrays, field: str, rng: np.random.Generator) -> Differences:
    """Where a field of the cell is displaced."""
    values = dict(named_arrays(cell))
    value = values[field]
    names, along = directions(value.shape, rng)

    def weighed(distance: float) -> np.ndarray:
        moved = (
            like(cell, iter((values | {field: value + distance * one}).values())) for one in along
        )
        return np.array([_weighed(each, at, at.x) for each in moved])

    return Differences(names, along, *derivative(weighed, value))


def in_inputs(cell: Any, at: Arrays, rng: np.random.Generator) -> Differences:
    """Where the inputs are."""
    names, along = directions(at.x.shape, rng)

    def weighed(distance: float) -> np.ndarray:
        return np.array([_weighed(cell, at, at.x + distance * one) for one in along])

    return Differences(names, along, *derivative(weighed, at.x))


def _weighed(cell: Any, at: Arrays, x: np.ndarray) -> list[float]:
    """The next states of each sequence times their cotangents, and the blocks, moved and driven, times theirs."""
    steps, _, n = at.Q.shape
    h, rows = (a.swapaxes(0, 1).reshape(2 * steps, a.shape[2]) for a in (at.h, x))
    # the block once with inputs that are still, once with those that move
    X = np.concatenate([0 * at.X, at.X], axis=1) if has(cell, driven_tangent) else None
    h_next, Q_next = forward(cell, h, rows, np.concatenate([at.Q, at.Q], axis=1), X)
    by_sequence = h_next.reshape(2, steps, n) * at.h_next_bar.swapaxes(0, 1)
    by_block = Q_next.reshape(steps, 2, -1, n) * at.Q_next_bar[:, None]
    return [*by_sequence.sum(axis=(1, 2)), *by_block.sum(axis=(0, 2, 3))]


def compare_gradient(
    findings: Findings,
    at: Arrays,
    found: dict[str, Any],
    field: str,
    differences: Differences,
    kernel: str,
    what: str,
    hint: str,
) -> None:
    """What was added to the gradient in a field."""
    names, along, parts, doubt = differences
    before = dict(named_arrays(at.gradient))[field]
    added = dict(named_arrays(found[f"gradient of {what}"]))[field] - before
    got = [(one * added).sum() for one in along]
    lost = EPS * max(np.abs(one * before).sum() for one in along)
    name = f"gradient of {what}, {field}"
    entries = [f"{name}{place}{hint}" for place in names]
    expected = parts @ PARTS[what]
    findings.compare(kernel, name, got, expected, entries.__getitem__, doubt + lost)


def compare_input_gradient(
    findings: Findings, found: dict[str, Any], differences: Differences, kernel: str, what: str
) -> None:
    """What x_bar was set to."""
    names, along, parts, doubt = differences
    name = f"x_bar of {what}"
    # but for the step alone, of the sequence that has a block
    x_bar = found[name]
    got = [(one[:, : x_bar.shape[1]] * x_bar).sum() for one in along]
    entries = [f"{name}{place}" for place in names]
    findings.compare(kernel, name, got, parts @ PARTS[what], entries.__getitem__, doubt)
