"""The generic functions that a cell class implements.

A cell is a ``NamedTuple`` class of arrays; a gradient is the same class holding gradients. What
differs between cells is said by the functions below, one implementation per class, in the package
or in a user's own module::

    @sizes.register
    def _(cell: MyCell) -> Sizes: ...

    @implement(step, MyCell)
    def my_step(cell, turned, h, x, h_next, record): ...

`sizes` is Python. The others are kernels: compiled by Numba in nopython mode, serial, given every
array they write. Arrays are row-major and a vector is a row: a batch of states is (B, n_state), a
tangent block (k, n_state). So a product with W^T wants its rows: `turned` is the cell with every
array as a matrix, transposed (`transposed`). `step` and `tangent` suffice for a spectrum; gradients
take the two pullbacks and `accumulate`, those in the input `input_pullback` as well; `jacobian` is
for tests, precision and people, and is made of `tangent` where a cell has none. `driven_tangent`,
`driven_tangent_pullback` and `accumulate_driven` are for networks whose inputs are moved by what is
upstream: layers, one above the other, and outputs that are fed back."""

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numba.core import types
from numba.extending import overload

from lyapflow import _checks
from lyapflow._engine.jit import OPTIONS
from lyapflow._engine.outside import add_kernel, by_reference
from lyapflow._trees import is_tree, map_arrays, named_arrays
from lyapflow.errors import LyapflowError

BY_VALUE = (
    "; the class has come by value from another process, or was defined again: define it, and its functions, "
    "in a module that every process imports"
)


class Cell(Protocol):
    """A NamedTuple of arrays: the parameters of one step of a network, or a gradient in them."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    @property
    def _replace(self) -> Callable[..., Self]: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


C = TypeVar("C", bound=Cell)


class Sizes(NamedTuple):
    """What a cell needs to know before its first step.

    Attributes
    ----------
    state, units, inputs : int
        Length of the state, of its leading part that a readout sees, and of an input.
    record : int
        Numbers per state and step that `step` leaves for `tangent` and the pullbacks.
    step_work, tangent_work : int
        Numbers per state, and per tangent vector, that the pullbacks leave for `accumulate`.
    shapes : mapping
        The shape that each field of the cell must have.
    bounds : mapping
        Of fields whose values have them: above the first number, and up to the second.
    second : int
        How many numbers at the end of a record only the pullback of the tangent reads, for its
        second derivatives. Training, which moves no tangent vectors, does not keep them.
    """

    state: int
    units: int
    inputs: int
    record: int
    step_work: int
    tangent_work: int
    shapes: Mapping[str, tuple[int, ...]]
    bounds: Mapping[str, tuple[float, float]] = {}
    second: int = 0


@functools.singledispatch
def sizes(cell: Any) -> Sizes:
    """The `Sizes` of a cell, from the shapes of its fields."""
    way_out = ""
    library = type(cell).__module__.partition(".")[0]
    if library in ("torch", "keras"):
        way_out = f"; make it one with lyapflow.from_{library}"
    elif is_tree(cell) and not by_reference(type(cell)):
        way_out = BY_VALUE
    elif isinstance(cell, (list, tuple)):
        way_out = "; make one ensemble of many cells with lyapflow.stack, or one network of layers with lyapflow.layers"
    raise LyapflowError(
        f"a cell must be one of lyapflow's, or of a class with an implementation of "
        f"lyapflow.cells.interface.sizes, got {type(cell).__name__}{way_out}"
    )


def step(cell, turned, h, x, h_next, record):
    """Next states (B, n_state) of the states h under inputs x (B, m), and the linearisation record (B, n_record)."""


def tangent(cell, turned, record, Q, Q_next, work):
    """``Q_next = D Q`` for k tangent vectors, rows of Q (k, n_state), at one state's record (n_record,).

    work (k, tangent_work) is scratch.
    """


def step_pullback(cell, record, h_next_bar, h_bar, work):
    """``h_bar = D^T h_next_bar`` for a batch of states; work (B, step_work) is left for `accumulate`."""


def tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    """Adjoint of `tangent`: sets Q_bar, *adds* the part through the second derivatives to h_bar (n_state,).

    work (k, tangent_work) is left for `accumulate`. Whatever the tangent gives the
    parameters and is not there is *added* to step_work (step_work,), which `step_pullback` has set
    for the same state.
    """


def accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    """Add the parameter gradient of C steps to gradient, a cell of the same class.

    All arrays have the C steps as a first axis: x (C, B, m), h (C, B, n_state) before the step,
    h_next_bar after it, and so on; Q, Q_next_bar (C', k, n_state) and tangent_work have C' = C, or
    C' = 0 where no tangent block moved."""


def input_pullback(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar):
    """Set x_bar (C, B, m), the cotangent of the inputs of C steps, from what `accumulate` is given."""


def driven_tangent(cell, turned, record, Q, X, Q_next, work):
    """``Q_next = D Q + E X`` with ``E_ij = ∂h_next_i / ∂x_j``: `tangent` where the input moves, too.

    X (k, m) has the movement of the input that goes with each tangent vector, in rows; these may be
    part of longer ones.
    """


def driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    """Adjoint of `driven_tangent`: sets Q_bar and X_bar (k, m), *adds* to h_bar what D and E give the state.

    As in `tangent_pullback`, work is left for `accumulate` (and `accumulate_driven`), and whatever is
    not there is *added* to step_work: of the second derivatives, those in the parameters and in the
    step's own input, which `accumulate` and `input_pullback` make of it.
    """


def accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    """Add to gradient what the movements X (C, k, m) of the input give the parameters in C steps.

    Where blocks were moved by `driven_tangent`, `accumulate` is called after it for the rest (it may
    write over its arguments)."""


def jacobian(cell, turned, h, x, D):
    """``D_ij = ∂h_next_i / ∂h_j`` (n_state, n_state) at the state h (n_state,) and input x (m,)."""


# what a gradient takes
DIFFERENTIABLE = (step, tangent, step_pullback, tangent_pullback, accumulate)

_IMPLEMENTED: dict[Callable, dict[type, Callable]] = {}


def implement(generic: Callable, cell_class: type) -> Callable:
    """Register the decorated function as the kernel that `generic` runs for cells of `cell_class`.

    Raises
    ------
    LyapflowError
        If the parameters are not those of the generic function, or the class has an implementation.
    """

    def register(function: Callable) -> Callable:
        wanted, given = (list(inspect.signature(f).parameters) for f in (generic, function))
        if wanted != given:
            raise LyapflowError(
                f"{generic.__name__} takes the parameters ({', '.join(wanted)}), "
                f"got ({', '.join(given)}) for {cell_class.__name__}"
            )

        if cell_class in _IMPLEMENTED.get(generic, ()):
            raise LyapflowError(
                f"{cell_class.__name__} has its {generic.__name__}, which may be compiled already; "
                f"define the class again, then its functions"
            )

        _name_apart(cell_class)

        def dispatch(cell, *arguments):
            if isinstance(cell, types.BaseNamedTuple) and cell.instance_class is cell_class:
                return function
            return None

        overload(generic, jit_options=OPTIONS, strict=False)(dispatch)
        _IMPLEMENTED.setdefault(generic, {})[cell_class] = function
        add_kernel(cell_class, function)
        return function

    return register


def _name_apart(cell_class: type) -> None:
    """Give a class a name that no other class of cells has, such as one that it takes the place of.

    Numba finds compiled code by the name of a NamedTuple's class and the types of its fields: the
    second class of a name would be run with the kernels of the first."""
    others = {c.__name__ for of in _IMPLEMENTED.values() for c in of if c is not cell_class}
    name, count = cell_class.__name__, itertools.count(2)
    while cell_class.__name__ in others:
        cell_class.__name__ = f"{name}_{next(count)}"


def kernels(cell_class: type) -> dict[Callable, Callable]:
    """What is registered with `implement` for a class: its kernel of each generic function."""
    return {generic: own[cell_class] for generic, own in _IMPLEMENTED.items() if cell_class in own}


def first_array(cell: Cell) -> np.ndarray:
    """The first array of a cell, which has the dtype of all."""
    array: np.ndarray
    _, array = next(named_arrays(cell))
    return array


def has(cell: Cell, generic: Callable) -> bool:
    """Whether the class of a cell has an implementation of a generic function."""
    return type(cell) in _IMPLEMENTED.get(generic, ())


@functools.singledispatch
def checked(cell: Any, *generics: Callable) -> Any:
    """The cell with C-contiguous arrays of one float dtype, after checks of shapes, values and implementations."""
    if hasattr(cell, "cell"):
        raise LyapflowError(f"this takes a cell, got a {type(cell).__name__}; pass its .cell")
    if not is_tree(cell):
        sizes(cell)  # raises: not a cell
    for generic in generics:
        if not has(cell, generic):
            raise _without(generic, type(cell))
    name = type(cell).__name__
    found: dict[str, np.ndarray] = {}
    dtypes = [a.dtype for a in cell if isinstance(a, np.ndarray) and a.dtype in _checks.DTYPES]
    # the few are told to become as the many
    like = np.empty(0, max(dtypes, key=dtypes.count)) if dtypes else None
    for field, value in zip(cell._fields, cell):
        like = found[field] = _checks.array(f"{field} of {name}", value, like=like)
    cell = type(cell)(**found)
    try:
        size = sizes(cell)
    except (IndexError, ValueError) as error:
        if isinstance(error, LyapflowError):
            raise
        shapes = ", ".join(f"{f} {a.shape}" for f, a in found.items())
        gated = name.startswith(("LSTM", "GRU")) and next(iter(found.values())).ndim == 2
        way_out = "; lyapflow.from_gates reads gates that lie below one another" if gated else ""
        raise LyapflowError(
            f"the shapes of {name} do not make a cell (its docstring has them): {shapes}{way_out}"
        ) from None
    if size.state == 0:
        field, array = next(iter(found.items()))
        raise LyapflowError(
            f"{name} must have at least one unit, got none ({field} has shape {array.shape})"
        )
    for field, shape in size.shapes.items():
        if found[field].shape != shape:
            raise LyapflowError(
                f"the shapes of {name} must fit together: {field} must have shape {shape}, got {found[field].shape}"
            )
    # a gradient, which nobody runs, is a cell without bounds
    for field, (low, high) in size.bounds.items() if generics else ():
        wrong = ~((found[field] > low) & (found[field] <= high))
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise LyapflowError(
                f"{field} of {name} must lie in ({low:g}, {high:g}], got {found[field][index]:g} at index {index}"
            )
    return cell


@functools.singledispatch
def within_bounds(cell: Any) -> Any:
    """The cell after an update; values beyond their bounds are moved to them, a thousandth inside the lower one."""
    bounds = sizes(cell).bounds
    if not bounds:
        return cell
    moved = {}
    for field, (low, high) in bounds.items():
        array = getattr(cell, field)
        moved[field] = np.clip(array, low + 1e-3 * (high - low), high).astype(array.dtype)
    return cell._replace(**moved)


def _without(generic: Callable, cell_class: type) -> LyapflowError:
    """The error of a class without an implementation of a generic function."""
    own = "; write one and register it with lyapflow.cells.interface.implement"
    return LyapflowError(
        f"this needs {generic.__name__} of {cell_class.__name__}, which has none"
        f"{own if by_reference(cell_class) else BY_VALUE}"
    )


def transposed(cell: C) -> C:
    """A cell of the same class, each array as a matrix with rows along its last axis, transposed."""
    turned: C = map_arrays(_turned, cell)
    return turned


def _turned(array: np.ndarray) -> np.ndarray:
    a = np.atleast_1d(array)
    return np.ascontiguousarray(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]).T)


def zeros_like(cell: C) -> C:
    """A cell of the same class and shapes, all zero: a gradient to add to."""
    zeros: C = map_arrays(np.zeros_like, cell)
    return zeros


def member(cells, p):
    """Cell p of several, in a kernel: the same class, whose arrays have one more axis ahead."""


@overload(member, jit_options=OPTIONS, strict=False)
def _member(cells, p):
    parts = ", ".join(
        f"member(cells.{field}, p)"
        if isinstance(of, types.BaseNamedTuple)
        else f"cells.{field}[p, ...]"
        for field, of in zip(cells.fields, cells.types)
    )
    names = {"cell_class": cells.instance_class, "member": member}
    return eval(f"lambda cells, p: cell_class({parts})", names)
