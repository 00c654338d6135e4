"""The innermost tile of a matrix product, held in registers: LLVM instructions on vectors as wide as the processor's.

Loops in Numba leave the choice of vectors and registers to LLVM, which finds a third of the speed.
Addresses are integers, strides are in bytes, and nothing need be aligned. The width changes no bit
of a product."""

from itertools import product

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lyapflow._engine.registers import vector_bytes, vector_registers

VECTOR = vector_bytes()
MASKS = VECTOR == 64  # AVX-512 loads and stores the first lanes of a vector as fast as all of them
# of a tile: with three vectors of B and an entry of A, all 16 registers of AVX2, or most of the 32 of
# AVX-512 and NEON
VECTORS = 3
ROWS = 8 if vector_registers() == 32 else 4
FEW_ROWS = 4  # of a tile below those

_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


class _Code:
    """Loads and stores of numbers of some bits, by an llvmlite builder."""

    def __init__(self, builder, bits, lanes):
        self.builder, self.bytes_each = builder, bits // 8
        self.number = ir.DoubleType() if bits == 64 else ir.FloatType()
        self.vector = ir.VectorType(self.number, lanes)

    def _at(self, kind, address, offsets):
        for offset in offsets:
            address = self.builder.add(address, offset)
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, kind, address, *offsets, mask=None):
        """What is at an address; a mask leaves zeros in the other lanes, and does not touch their memory."""
        place = self._at(kind, address, offsets)
        if mask is None:
            return self.builder.load(place, align=self.bytes_each)
        zeros = ir.Constant(kind, [0.0] * kind.count)
        return self._masked("load", kind, [place, ir.Constant(_LANE, self.bytes_each), mask, zeros])

    def store(self, value, address, *offsets, mask=None):
        place = self._at(value.type, address, offsets)
        if mask is None:
            self.builder.store(value, place, align=self.bytes_each)
        else:
            self._masked(
                "store", ir.VoidType(), [value, place, ir.Constant(_LANE, self.bytes_each), mask]
            )

    def _masked(self, what, result, given):
        name = f"llvm.masked.{what}.v{self.vector.count}f{8 * self.bytes_each}.p0"
        kind = ir.FunctionType(result, [value.type for value in given])
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), given
        )

    def first_lanes(self, count):
        """A mask of so many."""
        numbers = ir.Constant(
            ir.VectorType(_INDEX, self.vector.count), list(range(self.vector.count))
        )
        return self.builder.icmp_signed("<", numbers, self.spread(count))

    def shuffle(self, a, b, lanes):
        return self.builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes)
        )

    def spread(self, value):
        nothing = ir.Constant(ir.VectorType(value.type, self.vector.count), ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(_LANE, 0))
        return self.shuffle(one, one, [0] * self.vector.count)

    def multiply_add(self, a, b, c):
        """``a b + c``, rounded once where the processor can."""
        name = f"llvm.fmuladd.v{self.vector.count}f{8 * self.bytes_each}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c]
        )


def _store_tile(code, alpha, beta, sums, places):
    """Store alpha times each sum, plus beta times what stands there, at a place: address, offsets and mask."""
    builder = code.builder
    alphas, betas = code.spread(alpha), code.spread(beta)
    results = [(builder.fmul(alphas, n), *place) for n, place in zip(sums, places)]
    beta_is_zero = builder.fcmp_ordered("==", beta, ir.Constant(code.number, 0.0))
    with builder.if_else(beta_is_zero) as (alone, together):
        with alone:
            for result, *place, mask in results:
                code.store(result, *place, mask=mask)
        with together:
            for result, *place, mask in results:
                before = code.load(code.vector, *place, mask=mask)
                code.store(code.multiply_add(betas, before, result), *place, mask=mask)


def _tile_function(module, rows, vectors, bits):
    """``C = alpha A B + beta C`` for a tile of C, as a function: alone, its pointers stay in registers, too.

    Where there are masks, the last vector of a row may have fewer columns than lanes.
    """
    number = ir.DoubleType() if bits == 64 else ir.FloatType()
    kind = ir.FunctionType(ir.VoidType(), [_INDEX] * 9 + [number] * 2)
    function = cgutils.get_or_insert_function(
        module, kind, f"lyapflow_tile_{rows}_{vectors}_f{bits}"
    )
    if not function.is_declaration:
        return function
    function.linkage = "linkonce_odr"
    # optsize: a loop unrolled would take more registers
    for attribute in ("noinline", "nounwind", "optsize"):
        function.attributes.add(attribute)
    a, a_row, a_inner, b, b_row, c, c_row, width, inner, alpha, beta = function.args
    start, loop, after = (function.append_basic_block(name) for name in ("start", "loop", "after"))
    builder = ir.IRBuilder(start)
    code = _Code(builder, bits, VECTOR * 8 // bits)
    in_last = builder.sub(width, ir.Constant(_INDEX, (vectors - 1) * code.vector.count))
    masks = [None] * (vectors - 1) + [code.first_lanes(in_last) if MASKS else None]
    across = [(ir.Constant(_INDEX, v * VECTOR), mask) for v, mask in enumerate(masks)]
    a_offsets, c_offsets = (
        [builder.mul(row, ir.Constant(_INDEX, r)) for r in range(rows)] for row in (a_row, c_row)
    )
    builder.branch(loop)

    builder.position_at_end(loop)
    left, right, remaining = (builder.phi(_INDEX) for _ in range(3))
    sums = [[builder.phi(code.vector) for _ in across] for _ in a_offsets]
    row_of_b = [code.load(code.vector, right, beside, mask=mask) for beside, mask in across]
    added = []
    for offset, sums_of_row in zip(a_offsets, sums):
        entry = code.spread(code.load(code.number, left, offset))
        added.append([code.multiply_add(entry, x, s) for x, s in zip(row_of_b, sums_of_row)])
    one, zero = ir.Constant(_INDEX, 1), ir.Constant(code.vector, [0.0] * code.vector.count)
    rounds = [(left, a, builder.add(left, a_inner)), (right, b, builder.add(right, b_row))]
    rounds.append((remaining, inner, builder.sub(remaining, one)))
    rounds += [
        (s, zero, n) for sums_of_row, new in zip(sums, added) for s, n in zip(sums_of_row, new)
    ]
    for phi, first, following in rounds:
        phi.add_incoming(first, start)
        phi.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed(">", remaining, one), loop, after)

    builder.position_at_end(after)
    places = [(c, down, beside, mask) for down in c_offsets for beside, mask in across]
    _store_tile(code, alpha, beta, [n for new in added for n in new], places)
    builder.ret_void()
    return function


@intrinsic
def address(typingctx, array):
    """Where the first number of an array is."""

    def codegen(context, builder, signature, values):
        return builder.ptrtoint(context.make_array(array)(context, builder, values[0]).data, _INDEX)

    return types.intp(array), codegen


@intrinsic
def tile(
    typingctx, rows, vectors, a, a_row, a_inner, b, b_row, c, c_row, width, inner, alpha, beta
):
    """``C = alpha A B + beta C`` for a tile of C of so many rows, vectors and columns; inner > 0 terms in each sum.

    There are tiles of 1, FEW_ROWS and ROWS rows, and of up to VECTORS vectors."""

    def codegen(context, builder, signature, values):
        (height, across, *given), bits = values, signature.args[-1].bitwidth
        number = builder.add(builder.mul(height, ir.Constant(_INDEX, VECTORS)), across)
        other, after = (builder.append_basic_block(name) for name in ("other", "after"))
        choice = builder.switch(number, other)
        for rows, vectors in product(sorted({1, FEW_ROWS, ROWS}), range(1, VECTORS + 1)):
            block = builder.append_basic_block(f"tile_{rows}_{vectors}")
            choice.add_case(ir.Constant(_INDEX, VECTORS * rows + vectors), block)
            builder.position_at_end(block)
            builder.call(_tile_function(builder.module, rows, vectors, bits), given)
            builder.branch(after)
        builder.position_at_end(other)
        builder.unreachable()
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(
        rows, vectors, a, a_row, a_inner, b, b_row, c, c_row, width, inner, alpha, beta
    ), codegen


@intrinsic
def transpose_four(typingctx, source, source_row, target, target_row, like):
    """Four rows of four numbers from one address as columns to another."""

    def codegen(context, builder, signature, values):
        source, source_row, target, target_row, _ = values
        code = _Code(builder, signature.args[-1].bitwidth, 4)
        place = [ir.Constant(_INDEX, r) for r in range(4)]
        rows = [code.load(code.vector, source, builder.mul(source_row, r)) for r in place]
        even = [code.shuffle(rows[r], rows[r + 1], [0, 4, 2, 6]) for r in (0, 2)]
        odd = [code.shuffle(rows[r], rows[r + 1], [1, 5, 3, 7]) for r in (0, 2)]
        columns = [
            code.shuffle(*pairs, half)
            for half in ([0, 1, 4, 5], [2, 3, 6, 7])
            for pairs in (even, odd)
        ]
        for r, column in zip(place, columns):
            code.store(column, target, builder.mul(target_row, r))
        return context.get_dummy_value()

    return types.void(source, source_row, target, target_row, like), codegen


@intrinsic
def move(typingctx, source, target, like):
    """One vector from one address to another."""

    def codegen(context, builder, signature, values):
        bits = signature.args[-1].bitwidth
        code = _Code(builder, bits, VECTOR * 8 // bits)
        code.store(code.load(code.vector, values[0]), values[1])
        return context.get_dummy_value()

    return types.void(source, target, like), codegen
