"""The kernels of a cell, run from Python: plainly, or between guards that notice writes beyond their arrays."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._trees import is_tree, named_arrays
from lyapflow.cells.interface import (
    accumulate,
    accumulate_driven,
    driven_tangent,
    driven_tangent_pullback,
    first_array,
    input_pullback,
    jacobian,
    sizes,
    step,
    step_pullback,
    tangent,
    tangent_pullback,
    transposed,
)
from lyapflow.testing.findings import Findings

GUARD = 1024  # numbers on both sides of an array that a kernel must not touch

# what a kernel may write, and of it what is defined for every cell
WRITES: dict[Callable, tuple[str, ...]] = {
    step: ("h_next", "record"),
    tangent: ("Q_next", "work"),
    jacobian: ("D",),
    step_pullback: ("h_bar", "work"),
    tangent_pullback: ("Q_bar", "h_bar", "step_work", "work"),
    accumulate: ("gradient", "step_work", "tangent_work"),
    input_pullback: ("x_bar",),
    driven_tangent: ("Q_next", "work"),
    driven_tangent_pullback: ("Q_bar", "X_bar", "h_bar", "step_work", "work"),
    accumulate_driven: ("gradient",),
}
RESULTS = ("h_next", "Q_next", "D", "h_bar", "Q_bar", "X_bar", "gradient", "x_bar")


@jit
def _step(cell, turned, h, x, h_next, record):
    step(cell, turned, h, x, h_next, record)


@jit
def _tangent(cell, turned, record, Q, Q_next, work):
    tangent(cell, turned, record, Q, Q_next, work)


@jit
def _jacobian(cell, turned, h, x, D):
    jacobian(cell, turned, h, x, D)


@jit
def _step_pullback(cell, record, h_next_bar, h_bar, work):
    step_pullback(cell, record, h_next_bar, h_bar, work)


@jit
def _tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work)


@jit
def _accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient)


@jit
def _input_pullback(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar):
    input_pullback(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar)


@jit
def _driven_tangent(cell, turned, record, Q, X, Q_next, work):
    driven_tangent(cell, turned, record, Q, X, Q_next, work)


@jit
def _driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    driven_tangent_pullback(
        cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
    )


@jit
def _accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient)


COMPILED = dict(
    zip(
        WRITES,
        (
            _step,
            _tangent,
            _jacobian,
            _step_pullback,
            _tangent_pullback,
            _accumulate,
            _input_pullback,
            _driven_tangent,
            _driven_tangent_pullback,
            _accumulate_driven,
        ),
    )
)


def places(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """An array, or every array of a cell, by name."""
    yield from named_arrays(value, f"{name}.") if is_tree(value) else [(name, value)]


def _guarded(value: Any) -> Any:
    """A copy of an array, or of a cell, with NaN before and behind each array."""
    if is_tree(value):
        return type(value)(*map(_guarded, value))
    around = np.full(value.size + 2 * GUARD, np.nan, value.dtype)
    copy = np.ndarray(value.shape, value.dtype, around, GUARD * value.itemsize)
    copy[...] = value
    return copy


def run(findings: Findings, generic: Callable, cell: Any, **arrays: Any) -> dict[str, Any]:
    """Run a kernel on guarded copies; arrays it has to write may be given as their shape. Returns what it may write."""
    given: dict[str, Any] = {"cell": cell, "turned": transposed(cell)}
    for name, value in arrays.items():
        given[name] = (
            np.full(value, np.nan, first_array(cell).dtype) if type(value) is tuple else value
        )
    passed = {name: _guarded(given[name]) for name in inspect.signature(generic).parameters}
    COMPILED[generic](*passed.values())
    kernel = generic.__name__
    for name, value in passed.items():
        for (place, array), (_, before) in zip(places(name, value), places(name, given[name])):
            around: Any = array.base
            if not (
                np.isnan(around[:GUARD]).all() and np.isnan(around[len(around) - GUARD :]).all()
            ):
                findings.fault(
                    kernel,
                    f"{kernel} {place}",
                    f"writes beyond {place}, whose shape is {array.shape}",
                )
            if name not in WRITES[generic] and not np.array_equal(array, before, equal_nan=True):
                findings.fault(
                    kernel, f"{kernel} {place}", f"changes {place}, which it is only to read"
                )
            if name in RESULTS and name in WRITES[generic] and not np.isfinite(array).all():
                where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
                findings.fault(
                    kernel, f"{kernel} {place}", f"{place}{where} is not written, or not finite"
                )
    return {name: passed[name] for name in WRITES[generic]}


def forward(
    cell: Any, h: np.ndarray, x: np.ndarray, Q: np.ndarray, X: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Next states of rows h, and D Q at the first len(Q) of them, or D Q + E X."""
    size, turned = sizes(cell), transposed(cell)
    h_next, record = np.empty_like(h), np.empty((len(h), size.record))
    _step(cell, turned, h, np.ascontiguousarray(x), h_next, record)
    Q_next, work = np.empty_like(Q), np.empty((Q.shape[1], size.tangent_work))
    for i in range(len(Q)):
        if X is None:
            _tangent(cell, turned, record[i], Q[i], Q_next[i], work)
        else:
            _driven_tangent(cell, turned, record[i], Q[i], X[i], Q_next[i], work)
    return h_next, Q_next
