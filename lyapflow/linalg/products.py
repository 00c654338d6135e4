"""Matrix products from nopython code, on row-major arrays.

BLAS copies its factors into another layout before it multiplies, which pays for matrices that are larger than those of
a recurrent network, and for many rows. Here a product is made in tiles of four rows and three vectors, which stay in
registers, from factors where they lie; a second factor is copied, three vectors wide, only to be transposed, to be
filled up to whole vectors, or where its rows are far apart. Every entry is one chain of multiplications and additions
over the inner index, so that it depends neither on how many rows and columns there are beside it nor on the width of
a vector. Nothing is allocated.
"""

import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from lyapflow._jit import jit
from lyapflow.linalg import lapack

VECTOR = 32  # bytes
ROWS, VECTORS = 4, 3  # of a tile: with three vectors of B and an entry of A, all 16 registers of AVX2
DEPTH = 128  # most of the inner index at once: 12 KB of B stay in the L1 cache
PANEL, EDGE = DEPTH * VECTORS * VECTOR, ROWS * VECTORS * VECTOR  # bytes of that, and of a tile
MANY = 32  # rows for which a copy of B pays
LARGE = 2**26  # bytes m n k of a product that BLAS is better at
SPREAD = 2**15  # bytes over which a panel of B may be spread before many rows are better served by a copy

WHOLE, LOWER_RESULT, LOWER_FACTOR, UPPER_FACTOR = range(4)


def _tile_kernel(module, rows, vectors, bits):
    """A function ``C = alpha A B + beta C`` for a tile of C. Alone, its pointers stay in registers too."""
    lanes, index = VECTOR * 8 // bits, ir.IntType(64)
    number = ir.DoubleType() if bits == 64 else ir.FloatType()
    vector = ir.VectorType(number, lanes)
    kernel = cgutils.get_or_insert_function(
        module, ir.FunctionType(ir.VoidType(), [index] * 8 + [number] * 2), f"lyapflow_tile_{rows}_{vectors}_f{bits}"
    )
    if not kernel.is_declaration:
        return kernel
    kernel.linkage = "linkonce_odr"
    for attribute in ("noinline", "optsize", "nounwind"):  # optsize: to unroll the loop would take more registers
        kernel.attributes.add(attribute)
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f{bits}"
    )
    before, loop, after = (kernel.append_basic_block(n) for n in ("before", "loop", "after"))
    a, a_row, a_inner, b, b_row, c, c_row, inner, alpha, beta = kernel.args
    builder = ir.IRBuilder(before)
    down = [ir.Constant(index, r) for r in range(rows)]
    across = [ir.Constant(index, v * VECTOR) for v in range(vectors)]

    def at(kind, base, *offsets):
        address = base
        for offset in offsets:
            address = builder.add(address, offset)
        return builder.inttoptr(address, kind.as_pointer())

    def spread(value):
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))

    row_offsets = [builder.mul(a_row, r) for r in down]
    builder.branch(loop)

    builder.position_at_end(loop)
    left, right, remaining = (builder.phi(index) for _ in range(3))
    sums = [[builder.phi(vector) for _ in across] for _ in down]
    row_of_b = [builder.load(at(vector, right, offset), align=bits // 8) for offset in across]
    added = []
    for offset, sums_of_row in zip(row_offsets, sums):
        entry = spread(builder.load(at(number, left, offset), align=bits // 8))
        added.append([builder.call(multiply_add, [entry, x, s]) for x, s in zip(row_of_b, sums_of_row)])
    loops = [(left, a, builder.add(left, a_inner)), (right, b, builder.add(right, b_row))]
    loops.append((remaining, inner, builder.sub(remaining, ir.Constant(index, 1))))
    zero = ir.Constant(vector, [0.0] * lanes)
    loops += [(s, zero, n) for of_row, new in zip(sums, added) for s, n in zip(of_row, new)]
    for phi, first, following in loops:
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed(">", loops[2][2], ir.Constant(index, 0)), loop, after)

    builder.position_at_end(after)
    alphas, betas = spread(alpha), spread(beta)
    for new in added:
        new[:] = [builder.fmul(alphas, n) for n in new]
    places = [[at(vector, c, builder.mul(c_row, r), offset) for offset in across] for r in down]
    nothing = builder.fcmp_ordered("==", beta, ir.Constant(number, 0.0))
    with builder.if_else(nothing) as (then, otherwise):
        with then:
            for of_row, new in zip(places, added):
                for place, n in zip(of_row, new):
                    builder.store(n, place, align=bits // 8)
        with otherwise:
            for of_row, new in zip(places, added):
                for place, n in zip(of_row, new):
                    kept = builder.call(multiply_add, [betas, builder.load(place, align=bits // 8), n])
                    builder.store(kept, place, align=bits // 8)
    builder.ret_void()
    return kernel


@intrinsic(prefer_literal=True)
def _tile(typingctx, rows, vectors, a, a_row, a_inner, b, b_row, c, c_row, inner, alpha, beta):
    """``C = alpha A B + beta C`` for a tile of C; addresses and strides in bytes, inner > 0."""

    def codegen(context, builder, signature, values):
        kernel = _tile_kernel(builder.module, rows.literal_value, vectors.literal_value, signature.args[-1].bitwidth)
        builder.call(kernel, values[2:])
        return context.get_dummy_value()

    return types.void(rows, vectors, a, a_row, a_inner, b, b_row, c, c_row, inner, alpha, beta), codegen


@intrinsic(prefer_literal=True)
def _stack(typingctx, size):
    """Bytes on the stack of the caller."""

    def codegen(context, builder, signature, values):
        with builder.goto_entry_block():
            array = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
        array.align = VECTOR
        return builder.bitcast(array, cgutils.voidptr_t)

    return types.voidptr(size), codegen


@intrinsic
def _out_of_line(typingctx):
    """Keeps the function that says this from being inlined, lest LLVM compile its loops for every case around it."""

    def codegen(context, builder, signature, values):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _strided(typingctx, A):
    """A matrix as one whose strides are not known, lest what takes it be compiled for every layout."""

    def codegen(context, builder, signature, values):
        return impl_ret_borrowed(context, builder, signature.return_type, values[0])

    return types.Array(A.dtype, 2, "A")(A), codegen


@intrinsic
def _transpose_four(typingctx, source, source_row, target, target_row, like):
    """Four rows of four numbers from one address to columns at another."""

    def codegen(context, builder, signature, values):
        source, source_row, target, target_row, like = values
        four, bytes_each = ir.VectorType(like.type, 4), signature.args[-1].bitwidth // 8

        def place(address, row, r):
            return builder.inttoptr(builder.add(address, builder.mul(row, ir.Constant(row.type, r))), four.as_pointer())

        def shuffled(a, b, *lanes):
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 4), lanes))

        rows = [builder.load(place(source, source_row, r), align=bytes_each) for r in range(4)]
        low = [shuffled(rows[r], rows[r + 1], 0, 4, 2, 6) for r in (0, 2)]
        high = [shuffled(rows[r], rows[r + 1], 1, 5, 3, 7) for r in (0, 2)]
        columns = [shuffled(*pair, 0, 1, 4, 5) for pair in (low, high)]
        columns += [shuffled(*pair, 2, 3, 6, 7) for pair in (low, high)]
        for r, column in enumerate(columns):
            builder.store(column, place(target, target_row, r), align=bytes_each)
        return context.get_dummy_value()

    return types.void(source, source_row, target, target_row, like), codegen


@intrinsic
def _move(typingctx, source, target, like):
    """One vector from one address to another."""

    def codegen(context, builder, signature, values):
        source, target, like = values
        bytes_each = signature.args[-1].bitwidth // 8
        vector = ir.VectorType(like.type, VECTOR // bytes_each).as_pointer()
        value = builder.load(builder.inttoptr(source, vector), align=bytes_each)
        builder.store(value, builder.inttoptr(target, vector), align=bytes_each)
        return context.get_dummy_value()

    return types.void(source, target, like), codegen


@jit
def _address(array):
    return np.intp(array.ctypes.data)


@jit
def _pack(B, transpose_B, start, j, width, panel):
    """What of op(B) stands in rows from start and columns from j, into panel; zeros beyond its width."""
    _out_of_line()
    depth, whole = panel.shape
    source, target = _address(B), _address(panel)
    number = panel.dtype.type(0.0)
    at_once = 4 if transpose_B else VECTOR // panel.itemsize
    done = width // at_once * at_once if depth >= 4 else 0
    if transpose_B:
        source += j * B.strides[0] + start * B.strides[1]
        for v in range(0, done, 4):
            for q in range(0, depth, 4):
                p = min(q, depth - 4)
                here = source + v * B.strides[0] + p * B.strides[1]
                _transpose_four(
                    here, B.strides[0], target + p * panel.strides[0] + v * panel.itemsize, panel.strides[0], number
                )
    else:
        source += start * B.strides[0] + j * B.strides[1]
        for v in range(0, done, at_once):
            for p in range(depth):
                _move(
                    source + p * B.strides[0] + v * panel.itemsize,
                    target + p * panel.strides[0] + v * panel.itemsize,
                    number,
                )
    for p in range(depth):
        for v in range(done, whole):
            if v >= width:
                panel[p, v] = number
            else:
                panel[p, v] = B[j + v, start + p] if transpose_B else B[start + p, j + v]


@jit
def _column(a, a_row, a_inner, b, b_row, C, j, width, start, depth, alpha, beta, part):
    """Add to the columns of C from j what `depth` rows of B from start give, a tile after the other."""
    _out_of_line()
    m, lanes, zero = len(C), VECTOR // C.itemsize, C.dtype.type(0.0)
    vectors = (width + lanes - 1) // lanes
    edge = carray(_stack(EDGE), (ROWS, VECTORS * lanes), C.dtype)
    rows = ROWS if m >= ROWS else 1
    for i in range(j // rows * rows if part == LOWER_RESULT else 0, m, rows):
        top = min(i, m - rows)
        first = min(max(0, top - start), depth - 1) if part == UPPER_FACTOR else 0  # at least once, for beta
        last = min(depth, i + rows - start) if part == LOWER_FACTOR else depth
        if first >= last:
            continue
        whole = top == i and width == vectors * lanes
        c, c_row = _address(C) + i * C.strides[0] + j * C.itemsize, C.strides[0]
        keep = beta
        if not whole:
            c, c_row, keep = _address(edge), edge.strides[0], zero
        left, right, inner = a + top * a_row + first * a_inner, b + first * b_row, last - first
        if rows == 1:
            if vectors == 1:
                _tile(1, 1, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
            elif vectors == 2:
                _tile(1, 2, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
            else:
                _tile(1, 3, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
        elif vectors == 1:
            _tile(4, 1, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
        elif vectors == 2:
            _tile(4, 2, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
        else:
            _tile(4, 3, left, a_row, a_inner, right, b_row, c, c_row, inner, alpha, keep)
        if not whole:
            for r in range(i - top, rows):
                for v in range(width):
                    C[top + r, j + v] = edge[r, v] + (beta * C[top + r, j + v] if beta != 0 else zero)


@jit
def _gemm(A, transpose_A, B, transpose_B, alpha, beta, C, part):
    m, n = C.shape
    inner = A.shape[0] if transpose_A else A.shape[1]
    if part == WHOLE and m >= MANY and m * n * inner * C.itemsize > LARGE:
        lapack.gemm(A, transpose_A, B, transpose_B, alpha, beta, C)
        return
    a_row, a_inner = (A.strides[1], A.strides[0]) if transpose_A else (A.strides[0], A.strides[1])
    alpha, beta, zero = C.dtype.type(alpha), C.dtype.type(beta), C.dtype.type(0.0)
    lanes = VECTOR // C.itemsize
    wide = VECTORS * lanes
    panel = carray(_stack(PANEL), (DEPTH, wide), C.dtype)
    if inner == 0:
        for i in range(m):
            for j in range(n):
                C[i, j] = beta * C[i, j] if beta != 0 else zero
    for start in range(0, inner, DEPTH):
        depth = min(DEPTH, inner - start)
        spread = depth * B.strides[0] > SPREAD and m >= MANY
        for j in range(0, n, wide):
            width = min(wide, n - j)
            b, b_row = _address(B) + start * B.strides[0] + j * C.itemsize, B.strides[0]
            if transpose_B or spread or width % lanes != 0:
                _pack(B, transpose_B, start, j, width, panel[:depth])
                b, b_row = _address(panel), panel.strides[0]
            a = _address(A) + start * a_inner
            _column(a, a_row, a_inner, b, b_row, C, j, width, start, depth, alpha, beta, part)
        beta = C.dtype.type(1.0)


@jit(inline="always")  # or every layout of the three is compiled
def gemm(A, transpose_A, B, transpose_B, alpha, beta, C, part=WHOLE):
    """``C = alpha op(A) op(B) + beta C``, in place on C, which may be uninitialised where beta is 0.

    Of triangles, part spares what is nothing or is not asked for: LOWER_RESULT leaves open what stands above the
    diagonal of C; LOWER_FACTOR and UPPER_FACTOR say that op(A) has zeros above or below its diagonal.
    """
    _gemm(_strided(A), transpose_A, _strided(B), transpose_B, float(alpha), float(beta), _strided(C), part)
