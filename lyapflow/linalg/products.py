"""Matrix products from nopython code, on row-major arrays.

BLAS copies its factors into another layout before it multiplies, which pays for matrices that are
larger than those of a recurrent network, and for many rows. Here a product is made tile by tile
from factors where they lie; of the second one a panel is copied only to be transposed, where its
rows are far apart, or to be filled up to whole vectors where those have no masks. Every entry is
summed term by term, 128 at a time, so that it depends neither on what is computed beside it nor on
the width of vectors. Large products go to BLAS, in parts that depend on their shape alone. Columns
are shared with those who help (`lyapflow._engine.team`), which changes no bit. Nothing is
allocated."""

from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from lyapflow._engine.by_address import DTYPES, ByAddress
from lyapflow._engine.jit import jit
from lyapflow._engine.jobs import in_parts
from lyapflow._engine.team import share, start_helpers
from lyapflow._engine.views import on_stack, window
from lyapflow.linalg import lapack
from lyapflow.linalg.tiles import (
    FEW_ROWS,
    MASKS,
    ROWS,
    VECTOR,
    VECTORS,
    address,
    move,
    tile,
    transpose_four,
)

DEPTH = 128  # most of the inner index at once: 12 KB of B stay in the L1 cache
WIDTH = VECTORS * VECTOR  # bytes of its rows, and of a tile's
# a panel of B is copied where A has this many rows, and B's rows are spread over more bytes than
# that
COPY_ROWS = 32
COPY_SPREAD = 2**15
BLAS_WORK = 2**26  # bytes m n k itemsize from which on BLAS is faster, at products of many rows
COLUMNS = 128  # of a part of such a product, about
PART_TERMS = 2**17  # terms m n k that are worth a part of their own
HELPER_TERMS = 2**19  # terms m n k that are worth a helper thread

WHOLE, LOWER_RESULT, LOWER_FACTOR, UPPER_FACTOR = range(4)


@jit(inline="always")
def _pack(B, transpose_B, start, j, width, panel):
    """What of op(B) stands in rows from start and columns from j, into panel; zeros beyond if tiles read them."""
    depth, whole = len(panel), width if MASKS else panel.shape[1]
    zero = panel.dtype.type(0.0)
    to, to_row = address(panel), panel.strides[0]
    across = 4 if transpose_B else VECTOR // panel.itemsize
    done = width // across * across if depth >= 4 else 0  # columns taken by vectors
    if transpose_B:
        at = address(B) + j * B.strides[0] + start * B.itemsize
        for v in range(0, done, across):
            for q in range(0, depth, 4):
                p = min(q, depth - 4)
                transpose_four(
                    at + v * B.strides[0] + p * B.itemsize,
                    B.strides[0],
                    to + p * to_row + v * B.itemsize,
                    to_row,
                    zero,
                )
    else:
        at = address(B) + start * B.strides[0] + j * B.itemsize
        for v in range(0, done, across):
            for p in range(depth):
                move(at + p * B.strides[0] + v * B.itemsize, to + p * to_row + v * B.itemsize, zero)
    for p in range(depth):
        for v in range(done, whole):
            if v >= width:
                panel[p, v] = zero
            else:
                panel[p, v] = B[j + v, start + p] if transpose_B else B[start + p, j + v]


@jit(inline="always")
def _column(a, a_row, a_inner, b, b_row, C, j, width, start, depth, alpha, beta, part):
    """Add to the columns of C from j what `depth` rows of B from start give, a tile after the other."""
    m, lanes = len(C), VECTOR // C.itemsize
    edge = on_stack(ROWS, WIDTH, alpha)
    few = FEW_ROWS if m >= FEW_ROWS else 1
    i = j // few * few if part == LOWER_RESULT else 0
    while i < m:
        rows = ROWS if i + ROWS <= m else few
        top = min(i, m - rows)
        # of a triangle, whole vectors up to the diagonal
        up_to = (top + rows - j + lanes - 1) // lanes * lanes
        across = min(width, up_to) if part == LOWER_RESULT else width
        vectors = (across + lanes - 1) // lanes
        # at least once, for beta
        first = min(max(0, top - start), depth - 1) if part == UPPER_FACTOR else 0
        last = min(depth, i + rows - start) if part == LOWER_FACTOR else depth
        if first >= last:
            i += rows
            continue
        whole = top == i and (MASKS or across == vectors * lanes) and C.strides[1] == C.itemsize
        c, c_row = address(C) + i * C.strides[0] + j * C.itemsize, C.strides[0]
        if not whole:
            c, c_row = address(edge), edge.strides[0]
            for r in range(i - top, rows):
                for v in range(across):
                    edge[r, v] = C[top + r, j + v]
        left, right, inner = a + top * a_row + first * a_inner, b + first * b_row, last - first
        tile(
            rows, vectors, left, a_row, a_inner, right, b_row, c, c_row, across, inner, alpha, beta
        )
        if not whole:
            for r in range(i - top, rows):
                for v in range(across):
                    C[top + r, j + v] = edge[r, v]
        i += rows


@jit
def _columns(job, number):
    """Of a product, the columns of C that make its part of that number."""
    A, transpose_A, B, transpose_B, alpha, beta, C, part, columns, by_blas = job
    m, inner = len(C), A.shape[0] if transpose_A else A.shape[1]
    first = number * columns
    stop = min(first + columns, C.shape[1])
    if by_blas:
        top, bottom, left, right = (
            (first, stop, 0, inner) if transpose_B else (0, inner, first, stop)
        )
        B, C = window(B, top, bottom, left, right), window(C, 0, m, first, stop)
        lapack.gemm(A, transpose_A, B, transpose_B, alpha, beta, C)
        return
    lanes = VECTOR // C.itemsize
    a_row, a_inner = (A.strides[1], A.strides[0]) if transpose_A else (A.strides[0], A.strides[1])
    alpha, beta, zero = C.dtype.type(alpha), C.dtype.type(beta), C.dtype.type(0.0)
    wide = VECTORS * lanes
    panel = on_stack(DEPTH, WIDTH, zero)
    if inner == 0 and beta != 1:
        for i in range(m):
            for j in range(first, stop):
                C[i, j] = beta * C[i, j] if beta != 0 else zero
    for start in range(0, inner, DEPTH):
        depth = min(DEPTH, inner - start)
        spread = depth * B.strides[0] > COPY_SPREAD and m >= COPY_ROWS
        j = first
        while j < stop:
            # four vectors are two and two: a tile of one waits for its sums
            width = wide - lanes if wide < stop - j <= wide + lanes else min(wide, stop - j)
            b, b_row = address(B) + start * B.strides[0] + j * C.itemsize, B.strides[0]
            if transpose_B or spread or (width % lanes != 0 and not MASKS):
                _pack(B, transpose_B, start, j, width, window(panel, 0, depth))
                b, b_row = address(panel), panel.strides[0]
            a = address(A) + start * a_inner
            _column(a, a_row, a_inner, b, b_row, C, j, width, start, depth, alpha, beta, part)
            j += width
        beta = C.dtype.type(1.0)


_addresses = in_parts(_columns)


@jit
def _gemm(A, transpose_A, B, transpose_B, alpha, beta, C, part):
    m, n = C.shape
    inner = A.shape[0] if transpose_A else A.shape[1]
    lanes = VECTOR // C.itemsize
    columns = VECTORS * lanes
    by_blas = part == WHOLE and m >= COPY_ROWS and m * n * inner * C.itemsize > BLAS_WORK
    if by_blas:
        columns = -(-n // max(1, n // COLUMNS))
    else:
        # vectors along the other side
        if part == WHOLE and transpose_A and not transpose_B and n < min(m, lanes):
            A, B, C, m, n = B, A, C.T, n, m
        columns *= max(1, PART_TERMS // max(1, m * inner * columns))
    job = (A, transpose_A, B, transpose_B, alpha, beta, C, part, columns, by_blas)
    function, arguments = _addresses(job)
    share(-(-n // columns), function, arguments)


def _arguments(dtype):
    """Types of `_gemm`'s arguments, whatever the layout of the matrices."""
    matrix = types.Array(dtype, 2, "A")
    return (
        matrix,
        types.boolean,
        matrix,
        types.boolean,
        types.float64,
        types.float64,
        matrix,
        types.intp,
    )


products = ByAddress("products", _gemm, _arguments)


def _product(A, transpose_A, B, transpose_B, alpha, beta, C, *part):
    if len({a.dtype for a in (A, B, C)}) > 1 or any(
        a.ndim != 2 or a.layout == "F" for a in (A, B, C)
    ):
        raise TypingError(f"a product takes row-major matrices of one dtype, got {A}, {B}, {C}")
    if C.dtype not in DTYPES:
        raise TypingError(f"a product takes matrices of float64 or float32, got {C}")
    given = (
        A,
        types.boolean,
        B,
        types.boolean,
        types.float64,
        types.float64,
        C,
        *(types.intp for _ in part),
    )
    return products.call(C.dtype, *given, more=() if part else (WHOLE,))


@intrinsic
def gemm(typingctx, A, transpose_A, B, transpose_B, alpha, beta, C):
    """``C = alpha op(A) op(B) + beta C``, in place on C, which may be uninitialised where beta is 0.

    The last axis of each is contiguous; rows may lie apart.
    """
    return _product(A, transpose_A, B, transpose_B, alpha, beta, C)


@intrinsic
def gemm_part(typingctx, A, transpose_A, B, transpose_B, alpha, beta, C, part):
    """The same; skips triangles that are zero or are not wanted.

    LOWER_RESULT leaves open what stands above the diagonal of C; LOWER_FACTOR and UPPER_FACTOR say
    that op(A) has zeros above or below its diagonal."""
    return _product(A, transpose_A, B, transpose_B, alpha, beta, C, part)


def start_helpers_for(terms: int, parts: int = 1) -> None:
    """Let other threads help: with products of so many terms m n k, or with so many parts."""
    start_helpers(max(terms // HELPER_TERMS, parts - 1))
