"""All results of the kernels of a cell for one set of arrays."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    accumulate_driven,
    driven_tangent,
    driven_tangent_pullback,
    first_array,
    has,
    input_pullback,
    jacobian,
    sizes,
    step,
    step_pullback,
    tangent,
    tangent_pullback,
)
from lyapflow.errors import LyapflowError
from lyapflow.testing.findings import Findings
from lyapflow.testing.kernels import run

STATES, VECTORS = 3, 3


class Arrays(NamedTuple):
    """What the kernels of a cell are run on: S steps of two sequences, and a block that goes with the first."""

    h: np.ndarray  # (S, 2, n_state)
    x: np.ndarray  # (S, 2, m)
    h_next_bar: np.ndarray  # (S, 2, n_state)
    Q: np.ndarray  # (S, k, n_state)
    Q_next_bar: np.ndarray  # (S, k, n_state)
    h_bar: np.ndarray  # (n_state,), to which tangent_pullback adds
    gradient: Any  # to which accumulate adds
    X: np.ndarray  # (S, k, m), the movements of the first sequence's inputs


def arrays(cell: Any, size: Sizes, h: Any, x: Any, rng: np.random.Generator) -> Arrays:
    """Checked states and inputs, and random numbers for the rest, in the dtype of the cell."""
    rows_given = [len(a) for a in (h, x) if _checks.ndim(a) == 2]
    count = max(rows_given, default=STATES if h is None else 1)
    like = first_array(cell)
    dtype = like.dtype

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    def rows(name: str, value: Any, width: int) -> np.ndarray:
        if value is None:
            value = normal(count, width)
        value = _checks.array(
            name, value, (width,) if _checks.ndim(value) == 1 else ("S", width), like=like
        )
        if value.ndim == 2 and len(value) != count:
            raise LyapflowError(
                f"h and x must have as many rows, got {name} with {len(value)} beside {count}"
            )
        value = np.broadcast_to(value, (count, width))
        return np.stack([value, np.roll(value, 1, axis=0)], axis=1)

    block = (count, VECTORS, size.state)
    return Arrays(
        rows("h", h, size.state),
        rows("x", x, size.inputs),
        normal(count, 2, size.state),
        normal(*block),
        normal(*block),
        normal(size.state),
        map_arrays(lambda a: normal(*a.shape), cell),
        normal(count, VECTORS, size.inputs),
    )


def outputs(findings: Findings, cell: Any, at: Arrays) -> dict[str, Any]:
    """What all kernels that the cell has make of the same arrays."""
    size, (steps, k, n) = sizes(cell), at.Q.shape
    h, x = at.h.reshape(2 * steps, n), at.x.reshape(2 * steps, size.inputs)
    found = run(findings, step, cell, h=h, x=x, h_next=h.shape, record=(len(h), size.record))
    record = found["record"]
    alone = range(0, 2 * steps, 2)  # rows of the sequence that has a block
    found["Q_next"] = _moved(findings, tangent, cell, at, record[::2])
    if has(cell, jacobian):
        found["D"] = np.array(
            [run(findings, jacobian, cell, h=h[s], x=x[s], D=(n, n))["D"] for s in alone]
        )
    if not has(cell, step_pullback):
        return found
    bars = at.h_next_bar.reshape(2 * steps, n)
    kept = record[:, : size.record - size.second]  # as in training
    pulled = run(
        findings,
        step_pullback,
        cell,
        record=kept,
        h_next_bar=bars,
        h_bar=h.shape,
        work=(len(h), size.step_work),
    )
    found["h_bar"] = pulled["h_bar"]
    empty = at.Q[:0], at.Q[:0], np.empty((0, k, size.tangent_work), h.dtype)
    found |= _of_chunk(findings, cell, at, (kept, bars, pulled["work"]), empty, "step")
    if has(cell, tangent_pullback):
        for weight, name in enumerate(("tangent", "both")):
            given = record[::2], weight * bars[::2], name
            found |= _pull_blocks_back(findings, tangent_pullback, cell, at, *given)
    return found


def driven_outputs(findings: Findings, cell: Any, at: Arrays, record: np.ndarray) -> dict[str, Any]:
    """The same of the kernels that take the tangent of the input, from the records that `step` left."""
    found: dict[str, Any] = {}
    if has(cell, driven_tangent):
        found["Q_next of driven"] = _moved(findings, driven_tangent, cell, at, record[::2], X=at.X)
    if has(cell, step_pullback) and has(cell, driven_tangent_pullback):
        for weight, name in enumerate(("driven", "driven and step")):
            given = record[::2], weight * at.h_next_bar[:, 0], name
            found |= _pull_blocks_back(findings, driven_tangent_pullback, cell, at, *given)
    return found


def _moved(
    findings: Findings,
    generic: Callable,
    cell: Any,
    at: Arrays,
    record: np.ndarray,
    **also: np.ndarray,
) -> np.ndarray:
    """The block after each step, by `tangent` or, with what it takes beside it, `driven_tangent`."""
    size, (steps, k, n) = sizes(cell), at.Q.shape
    blocks = [
        run(
            findings,
            generic,
            cell,
            record=record[s],
            Q=at.Q[s],
            Q_next=(k, n),
            work=(k, size.tangent_work),
            **{name: array[s] for name, array in also.items()},
        )
        for s in range(steps)
    ]
    return np.array([block["Q_next"] for block in blocks])


def _pull_blocks_back(
    findings: Findings,
    generic: Callable,
    cell: Any,
    at: Arrays,
    record: np.ndarray,
    bars: np.ndarray,
    name: str,
) -> dict[str, Any]:
    """Results of a tangent's pullback at each step, and of what takes all of them, behind cotangents of the states."""
    size, (steps, k, n) = sizes(cell), at.Q.shape
    driven = generic is driven_tangent_pullback
    states = run(
        findings,
        step_pullback,
        cell,
        record=record,
        h_next_bar=bars,
        h_bar=(steps, n),
        work=(steps, size.step_work),
    )
    pulled = [
        run(
            findings,
            generic,
            cell,
            record=record[s],
            Q=at.Q[s],
            Q_next_bar=at.Q_next_bar[s],
            Q_bar=(k, n),
            h_bar=at.h_bar,
            step_work=states["work"][s],
            work=(k, size.tangent_work),
            **({"X": at.X[s], "X_bar": at.X[s].shape} if driven else {}),
        )
        for s in range(steps)
    ]
    each = {key: np.array([block[key] for block in pulled]) for key in pulled[0]}
    blocks = at.Q, at.Q_next_bar, each["work"]
    found = _of_chunk(findings, cell, at, (record, bars, each["step_work"]), blocks, name, driven)
    of = "driven" if driven else "tangent"
    return found | {f"{key} of {of}": each[key] for key in each if key.endswith("_bar")}


def _of_chunk(
    findings: Findings,
    cell: Any,
    at: Arrays,
    states: Sequence[np.ndarray],
    blocks: Sequence[np.ndarray],
    name: str,
    driven: bool = False,
) -> dict[str, Any]:
    """What `accumulate` makes of `at.gradient`, and x_bar, from rows of one sequence or of two."""
    steps, both = len(at.h), len(states[0]) // len(at.h)
    record, bars, step_work = (a.reshape(steps, both, a.shape[1]) for a in states)
    given = {
        "x": at.x[:, :both],
        "h": at.h[:, :both],
        "record": record,
        "h_next_bar": bars,
        "step_work": step_work,
        "Q": blocks[0],
        "Q_next_bar": blocks[1],
        "tangent_work": blocks[2],
    }
    found: dict[str, Any] = {}
    gradient = at.gradient
    if driven and has(cell, accumulate_driven):
        of_X = {"X": at.X, "Q_next_bar": blocks[1], "tangent_work": blocks[2]}
        gradient = run(findings, accumulate_driven, cell, **of_X, gradient=gradient)["gradient"]
    for generic, written in (
        (accumulate, {"gradient": gradient}),
        (input_pullback, {"x_bar": (steps, both, at.x.shape[2])}),
    ):
        # without what X gives it, a gradient is not whole
        part = driven and generic is accumulate and not has(cell, accumulate_driven)
        if has(cell, generic) and not part:
            result = run(findings, generic, cell, **given, **written)
            found |= {f"{key} of {name}": result[key] for key in written}
    return found
