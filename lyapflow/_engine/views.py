"""Array views and scratch arrays on the stack, which kernels build without reference counts.

Numba's slices count from the end, stop at the ends and step: a hundred instructions each, which are
most of what a kernel of small products is compiled from."""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from lyapflow._engine.atomics import INDEX

LINE = 64  # bytes of the cache: what is on the stack begins with one


def _view(context, builder, view, whole, data, shape, strides):
    result = context.make_array(view)(context, builder)
    populate_array(result, data, shape, strides, whole.itemsize, whole.meminfo, whole.parent)
    return impl_ret_borrowed(context, builder, view, result._getvalue())


@intrinsic
def window(typingctx, array, start, stop, *columns):
    """``array[start:stop]``, or ``array[start:stop, left:right]`` of a matrix; all of it must be there."""
    view = array.copy(layout="A") if columns else array

    def codegen(context, builder, signature, values):
        whole = context.make_array(array)(context, builder, values[0])
        sides = [values[1:3], *([cgutils.unpack_tuple(builder, values[3])] if columns else [])]
        shape, strides = (cgutils.unpack_tuple(builder, of) for of in (whole.shape, whole.strides))
        address = builder.ptrtoint(whole.data, INDEX)
        for axis, (first, behind) in enumerate(sides):
            address = builder.add(address, builder.mul(first, strides[axis]))
            shape[axis] = builder.sub(behind, first)
        return _view(
            context,
            builder,
            view,
            whole,
            builder.inttoptr(address, whole.data.type),
            shape,
            strides,
        )

    return view(
        array, types.intp, types.intp, types.StarArgTuple([types.intp] * len(columns))
    ), codegen


@intrinsic
def as_matrix(typingctx, array):
    """A contiguous array of at least two axes with all but the last as one."""
    if array.layout != "C" or array.ndim < 2:
        raise TypingError(f"a contiguous array of two axes or more is wanted, got {array}")
    view = array.copy(ndim=2)

    def codegen(context, builder, signature, values):
        whole = context.make_array(array)(context, builder, values[0])
        *first, columns = cgutils.unpack_tuple(builder, whole.shape)
        shape = [functools.reduce(builder.mul, first), columns]
        # an axis of length 1 may have any stride
        strides = [builder.mul(columns, whole.itemsize), whole.itemsize]
        return _view(context, builder, view, whole, whole.data, shape, strides)

    return view(array), codegen


@intrinsic
def alone(typingctx, array):
    """A contiguous array as the only one of several: with one more axis ahead, of length 1."""
    if array.layout != "C":
        raise TypingError(f"a contiguous array is wanted, got {array}")
    view = array.copy(ndim=array.ndim + 1)

    def codegen(context, builder, signature, values):
        whole = context.make_array(array)(context, builder, values[0])
        shape, strides = (cgutils.unpack_tuple(builder, of) for of in (whole.shape, whole.strides))
        size = builder.mul(shape[0], strides[0])
        one = ir.Constant(INDEX, 1)
        return _view(context, builder, view, whole, whole.data, [one, *shape], [size, *strides])

    return view(array), codegen


@intrinsic(prefer_literal=True)
def on_stack(typingctx, rows, row_bytes, number):
    """An uninitialised matrix of such rows on the stack of the caller, of the number's dtype."""
    matrix, size = types.Array(number, 2, "C"), number.bitwidth // 8
    height, width = rows.literal_value, row_bytes.literal_value // size

    def codegen(context, builder, signature, values):
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(values[2].type, height * width))
        place.align = LINE
        data = builder.bitcast(place, values[2].type.as_pointer())
        shape, strides = (
            [ir.Constant(INDEX, n) for n in of] for of in ((height, width), (width * size, size))
        )
        result = context.make_array(matrix)(context, builder)
        populate_array(result, data, shape, strides, strides[1], None)
        return result._getvalue()

    return matrix(rows, row_bytes, number), codegen
