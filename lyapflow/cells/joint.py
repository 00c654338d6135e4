r"""Two layers as one cell, whose tangent vectors have entries in both.

    h¹' = f₁(h¹, x'),   h²' = f₂(h², u¹'),   where u¹' are the units of h¹'

    tangent           q¹' = D₁ q¹ (+ E₁ X),   q²' = D₂ q² + E₂ (q¹' in the units)
    step pullback     h̄² = D₂^T h̄²',   h̄¹ = D₁^T (h̄¹' + x̄² in the units)

The state has that of the lower layer first. Exponents of layers need no such cell
(`lyapflow.lyapunov.layers`); it is for what mixes the layers: an output that is fed back, and
covariant vectors. The kernels of a layer take arrays of its own, so parts of the joint ones are
copied: that is little beside the products.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload

from lyapflow._engine.jit import OPTIONS, jit
from lyapflow._engine.views import alone, as_matrix, window
from lyapflow.cells.driven import driven
from lyapflow.cells.interface import (
    Cell,
    Sizes,
    accumulate,
    accumulate_driven,
    checked,
    driven_tangent,
    driven_tangent_pullback,
    first_array,
    implement,
    input_pullback,
    sizes,
    step,
    step_pullback,
    tangent,
    tangent_pullback,
    within_bounds,
)
from lyapflow.cells.layers import Layers, each_layer

# by the generic function of the outer cell
OF_DRIVEN = {
    tangent: (driven_tangent,),
    step_pullback: (step_pullback, input_pullback),
    tangent_pullback: (driven_tangent_pullback,),
    accumulate: (accumulate, accumulate_driven),
}


def for_driven(generics: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the generic functions of a cell take of a cell within it, whose input it moves."""
    return tuple(of for generic in generics for of in OF_DRIVEN.get(generic, (generic,)))


class Lengths(NamedTuple):
    """What kernels have to know of a cell within another, as arrays (length, 0), which have no numbers to train."""

    state: np.ndarray
    record: np.ndarray
    step_work: np.ndarray
    tangent_work: np.ndarray
    inputs: np.ndarray

    @classmethod
    def of(cls, cell: Any) -> "Lengths":
        size, dtype = sizes(cell), first_array(cell).dtype
        return cls(*(np.empty((getattr(size, field), 0), dtype) for field in cls._fields))


@driven
class Joint(NamedTuple):
    """Two layers as one cell.

    Attributes
    ----------
    lower, upper : cells
        The lower one may be a Joint itself.
    below, above : Lengths
        Of the two.
    """

    lower: Cell
    upper: Cell
    below: Lengths
    above: Lengths


def joint(network: Layers) -> Any:
    """All layers of a network as one cell."""
    lowest: Any = network.layers[0]
    return functools.reduce(_on_top, network.layers[1:], lowest)


def as_one(cell: Any) -> Any:
    """A network of layers, checked, as one cell; any other cell as it is."""
    return joint(checked(cell)) if isinstance(cell, Layers) else cell


def like_given(cell: Any, gradient: Any) -> Any:
    """A gradient in `as_one(cell)` as one in the cell."""
    return Layers(joined_layers(gradient)) if isinstance(cell, Layers) else gradient


def joined_layers(cell: Any) -> tuple[Any, ...]:
    """All layers of a network, or those that were joined, bottom first; a cell is its own only one."""
    if isinstance(cell, Joint):
        return (*joined_layers(cell.lower), cell.upper)
    return each_layer(cell)


def _on_top(lower: Any, upper: Any) -> Joint:
    return Joint(lower, upper, Lengths.of(lower), Lengths.of(upper))


@sizes.register
def _(cell: Joint) -> Sizes:
    below, above = sizes(cell.lower), sizes(cell.upper)
    n, n_above, units = below.state, above.state, above.inputs
    return Sizes(
        state=n + n_above,
        units=n + n_above,
        inputs=below.inputs,
        record=below.record + above.record + n_above + units,  # and the upper state and its input
        # and the cotangents of both next states, of the upper input and of the lower state
        step_work=below.step_work + above.step_work + n_above + n + units + n,
        # and the movement of the upper input, and the cotangent of that of the lower next state
        tangent_work=below.tangent_work + above.tangent_work + units + n,
        shapes={},
    )


@checked.register
def _(cell: Joint, *generics: Any) -> Joint:
    lower = checked(cell.lower, *generics)
    return _on_top(lower, checked(cell.upper, *for_driven(generics)))


@within_bounds.register
def _(cell: Joint) -> Joint:
    return cell._replace(lower=within_bounds(cell.lower), upper=within_bounds(cell.upper))


def first_unit(cell):
    """The place in its state of the first unit that a cell shows, in a kernel."""


@overload(first_unit, jit_options=OPTIONS, strict=False)
def _first_unit(cell):
    if cell.instance_class is Joint:
        return lambda cell: len(cell.below.state)
    return lambda cell: 0


def move(cell, turned, record, Q, X, Q_next, work):
    """`driven_tangent`, or `tangent` where X is None."""


def pull_back(cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work):
    """The adjoint of `move`."""


# overloads, and not kernels that are called: one Joint may be the lower layer of another, and
# Numba does not compile a kernel on its way to itself
@overload(move, jit_options=OPTIONS, strict=False)
def _move(cell, turned, record, Q, X, Q_next, work):
    if isinstance(X, types.NoneType):
        return lambda cell, turned, record, Q, X, Q_next, work: tangent(
            cell, turned, record, Q, Q_next, work
        )
    return lambda cell, turned, record, Q, X, Q_next, work: driven_tangent(
        cell, turned, record, Q, X, Q_next, work
    )


@overload(pull_back, jit_options=OPTIONS, strict=False)
def _pull_back(cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work):
    def still(cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work):
        tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work)

    def driven(cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work):
        driven_tangent_pullback(
            cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
        )

    return still if isinstance(X, types.NoneType) else driven


@jit(allocates=True)
def columns(matrix, start, stop):
    """A copy of some columns, which is contiguous, as kernels want what they are given.

    Numba's own slices are a hundred instructions each, of which these kernels would be full."""
    found = np.empty((len(matrix), stop - start), matrix.dtype)
    for i in range(len(found)):
        for j in range(stop - start):
            found[i, j] = matrix[i, start + j]
    return found


@jit
def put(values, matrix, start):
    """Write values into columns of a matrix, from `start` on."""
    for i in range(len(values)):
        for j in range(values.shape[1]):
            matrix[i, start + j] = values[i, j]


@jit
def _add(values, matrix, start):
    """The same, added."""
    for i in range(len(values)):
        for j in range(values.shape[1]):
            matrix[i, start + j] += values[i, j]


@jit(allocates=True)
def parts(arrays, start, stop):
    """Some columns of arrays (C, B, width)."""
    return columns(as_matrix(arrays), start, stop).reshape(
        arrays.shape[0], arrays.shape[1], stop - start
    )


@jit(allocates=True)
def inputs_of_step(cell, lengths, x, h, record, h_next_bar, step_work, x_bar):
    """`input_pullback` of one step of a batch, no block of which was pulled back."""
    no_block = np.empty((0, 1, h.shape[1]), h.dtype)
    no_work = np.empty((0, 1, len(lengths.tangent_work)), h.dtype)
    input_pullback(
        cell,
        alone(x),
        alone(h),
        alone(record),
        alone(h_next_bar),
        alone(step_work),
        no_block,
        no_block,
        no_work,
        alone(x_bar),
    )


@jit
def inputs_of_tangent(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, work, x_bar):
    """`input_pullback` of one step of one state, whose block was pulled back; all but blocks are vectors."""
    input_pullback(
        cell,
        alone(alone(x)),
        alone(alone(h)),
        alone(alone(record)),
        alone(alone(h_next_bar)),
        alone(alone(step_work)),
        alone(Q),
        alone(Q_next_bar),
        alone(work),
        alone(alone(x_bar)),
    )


@jit
def _in_record(cell):
    """Where the parts of a joint record end: of both layers, of the upper state and of its input."""
    second = len(cell.below.record) + len(cell.above.record)
    return len(cell.below.record), second, second + len(cell.above.state)


@jit
def _in_step_work(cell):
    """Of step_work: of both layers, of the cotangents of their next states, the upper one's first, and of the input."""
    second = len(cell.below.step_work) + len(cell.above.step_work)
    above_next = second + len(cell.above.state)
    below_next = above_next + len(cell.below.state)
    return (
        len(cell.below.step_work),
        second,
        above_next,
        below_next,
        below_next + len(cell.above.inputs),
    )


@jit
def _in_tangent_work(cell):
    """Of tangent_work: of both layers, and of the movement of the upper input."""
    second = len(cell.below.tangent_work) + len(cell.above.tangent_work)
    return len(cell.below.tangent_work), second, second + len(cell.above.inputs)


@implement(step, Joint)
def joint_step(cell, turned, h, x, h_next, record):
    n, first, units = len(cell.below.state), first_unit(cell.lower), len(cell.above.inputs)
    r1, r2, r3 = _in_record(cell)
    below, above = columns(h, 0, n), columns(h, n, h.shape[1])
    below_next, above_next = np.empty_like(below), np.empty_like(above)
    below_record = np.empty((len(h), r1), h.dtype)
    above_record = np.empty((len(h), r2 - r1), h.dtype)
    step(cell.lower, turned.lower, below, x, below_next, below_record)
    driving = columns(below_next, first, first + units)
    step(cell.upper, turned.upper, above, driving, above_next, above_record)
    put(below_next, h_next, 0)
    put(above_next, h_next, n)
    put(below_record, record, 0)
    put(above_record, record, r1)
    put(above, record, r2)
    put(driving, record, r3)


@implement(driven_tangent, Joint)
def joint_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    n, first, units = len(cell.below.state), first_unit(cell.lower), len(cell.above.inputs)
    (r1, r2, _), (t1, t2, _) = _in_record(cell), _in_tangent_work(cell)
    below, above = columns(Q, 0, n), columns(Q, n, Q.shape[1])
    below_next, below_work = np.empty_like(below), np.empty((len(Q), t1), Q.dtype)
    above_next, above_work = np.empty_like(above), np.empty((len(Q), t2 - t1), Q.dtype)
    move(cell.lower, turned.lower, window(record, 0, r1), below, X, below_next, below_work)
    moved = columns(below_next, first, first + units)
    driven_tangent(
        cell.upper, turned.upper, window(record, r1, r2), above, moved, above_next, above_work
    )
    put(below_next, Q_next, 0)
    put(above_next, Q_next, n)


@implement(step_pullback, Joint)
def joint_step_pullback(cell, record, h_next_bar, h_bar, work):
    n, first = len(cell.below.state), first_unit(cell.lower)
    (r1, r2, r3), (w1, w2, w3, w4, w5) = _in_record(cell), _in_step_work(cell)
    below_record, above_record = columns(record, 0, r1), columns(record, r1, r2)
    above, driving = columns(record, r2, r3), columns(record, r3, record.shape[1])
    below_next_bar, above_next_bar = (
        columns(h_next_bar, 0, n),
        columns(h_next_bar, n, h_next_bar.shape[1]),
    )
    below_bar, above_bar = np.empty_like(below_next_bar), np.empty_like(above_next_bar)
    below_work, above_work = columns(work, 0, w1), columns(work, w1, w2)
    driving_bar = np.empty_like(driving)

    step_pullback(cell.upper, above_record, above_next_bar, above_bar, above_work)
    inputs_of_step(
        cell.upper,
        cell.above,
        driving,
        above,
        above_record,
        above_next_bar,
        above_work,
        driving_bar,
    )
    _add(driving_bar, below_next_bar, first)
    step_pullback(cell.lower, below_record, below_next_bar, below_bar, below_work)
    put(below_bar, h_bar, 0)
    put(above_bar, h_bar, n)
    put(below_work, work, 0)
    put(above_work, work, w1)
    put(above_next_bar, work, w2)
    put(below_next_bar, work, w3)
    put(driving_bar, work, w4)
    put(below_bar, work, w5)


@implement(driven_tangent_pullback, Joint)
def joint_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n, first, units = len(cell.below.state), first_unit(cell.lower), len(cell.above.inputs)
    (r1, r2, _), (t1, t2, t3) = _in_record(cell), _in_tangent_work(cell)
    w1, w2, _, _, _ = _in_step_work(cell)
    below, above = columns(Q, 0, n), columns(Q, n, Q.shape[1])
    below_next_bar, above_next_bar = (
        columns(Q_next_bar, 0, n),
        columns(Q_next_bar, n, Q_next_bar.shape[1]),
    )
    below_bar, above_bar = np.empty_like(below), np.empty_like(above)
    below_work, above_work = columns(work, 0, t1), columns(work, t1, t2)

    # the upper layer, whose input moves with the lower one
    move(cell.lower, turned.lower, window(record, 0, r1), below, X, below_bar, below_work)
    moved = columns(below_bar, first, first + units)
    moved_bar = np.empty_like(moved)
    driven_tangent_pullback(
        cell.upper,
        turned.upper,
        window(record, r1, r2),
        above,
        moved,
        above_next_bar,
        above_bar,
        moved_bar,
        window(h_bar, n, h_bar.size),
        window(step_work, w1, w2),
        above_work,
    )
    _pull_input_back(cell, record, above, above_next_bar, above_work, h_bar, step_work)

    _add(moved_bar, below_next_bar, first)
    pull_back(
        cell.lower,
        turned.lower,
        window(record, 0, r1),
        below,
        X,
        below_next_bar,
        below_bar,
        X_bar,
        window(h_bar, 0, n),
        window(step_work, 0, w1),
        below_work,
    )
    put(below_bar, Q_bar, 0)
    put(above_bar, Q_bar, n)
    put(below_work, work, 0)
    put(above_work, work, t1)
    put(moved, work, t2)
    put(below_next_bar, work, t3)


@jit(allocates=True)
def _pull_input_back(cell, record, Q, Q_next_bar, tangent_work, h_bar, step_work):
    """Second derivatives of the upper layer, by way of its input: the lower step's pullback once more.

    Q and what follows it are the upper layer's."""
    n, first = len(cell.below.state), first_unit(cell.lower)
    r1, r2, r3 = _in_record(cell)
    w1, w2, w3, w4, w5 = _in_step_work(cell)
    next_bar, driving_before, before = (
        window(step_work, w3, w4),
        window(step_work, w4, w5),
        window(step_work, w5, step_work.size),
    )
    driving_bar, bar = np.empty_like(driving_before), np.empty((1, n), h_bar.dtype)
    inputs_of_tangent(
        cell.upper,
        window(record, r3, record.size),
        window(record, r2, r3),
        window(record, r1, r2),
        window(step_work, w2, w3),
        window(step_work, w1, w2),
        Q,
        Q_next_bar,
        tangent_work,
        driving_bar,
    )
    for i in range(driving_bar.size):
        next_bar[first + i] += driving_bar[i] - driving_before[i]
    step_pullback(
        cell.lower,
        alone(window(record, 0, r1)),
        alone(next_bar),
        bar,
        alone(window(step_work, 0, w1)),
    )
    for i in range(n):
        h_bar[i] += bar[0, i] - before[i]


@implement(accumulate, Joint)
def joint_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    n = len(cell.below.state)
    (r1, r2, r3), (t1, t2, t3) = _in_record(cell), _in_tangent_work(cell)
    w1, w2, w3, w4, _ = _in_step_work(cell)
    above_next_bar, above_work = (
        parts(Q_next_bar, n, Q_next_bar.shape[2]),
        parts(tangent_work, t1, t2),
    )
    moved = parts(tangent_work, t2, t3)
    accumulate_driven(cell.upper, moved, above_next_bar, above_work, gradient.upper)
    accumulate(
        cell.upper,
        parts(record, r3, record.shape[2]),
        parts(h, n, h.shape[2]),
        parts(record, r1, r2),
        parts(step_work, w2, w3),
        parts(step_work, w1, w2),
        parts(Q, n, Q.shape[2]),
        above_next_bar,
        above_work,
        gradient.upper,
    )
    accumulate(
        cell.lower,
        x,
        parts(h, 0, n),
        parts(record, 0, r1),
        parts(step_work, w3, w4),
        parts(step_work, 0, w1),
        parts(Q, 0, n),
        parts(tangent_work, t3, tangent_work.shape[2]),
        parts(tangent_work, 0, t1),
        gradient.lower,
    )


@implement(input_pullback, Joint)
def joint_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    n, r1 = len(cell.below.state), len(cell.below.record)
    (w1, _, w3, w4, _), (t1, _, t3) = _in_step_work(cell), _in_tangent_work(cell)
    input_pullback(
        cell.lower,
        x,
        parts(h, 0, n),
        parts(record, 0, r1),
        parts(step_work, w3, w4),
        parts(step_work, 0, w1),
        parts(Q, 0, n),
        parts(tangent_work, t3, tangent_work.shape[2]),
        parts(tangent_work, 0, t1),
        x_bar,
    )


@implement(accumulate_driven, Joint)
def joint_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    t1, _, t3 = _in_tangent_work(cell)
    below_next_bar, below_work = (
        parts(tangent_work, t3, tangent_work.shape[2]),
        parts(tangent_work, 0, t1),
    )
    accumulate_driven(cell.lower, X, below_next_bar, below_work, gradient.lower)
