"""BLAS and LAPACK from nopython code, on row-major arrays.

The addresses come from SciPy's Cython interface and are registered as LLVM symbols, so that compiled code stays
cacheable on disk. Every wrapper takes row-major arrays whose rows may be strided (a slice of a wider array) but
whose last axis is contiguous. The routines themselves are column-major: they see the transposed matrices, which is
why factors and sides are swapped in the calls. Nothing is allocated.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import get_cython_function_address, intrinsic

from lyapflow._jit import jit

_ROUTINES = {
    "scipy.linalg.cython_blas": ("gemm", "symm"),
    "scipy.linalg.cython_lapack": ("geqrf", "orgqr", "potrf"),
}
for _module, _names in _ROUTINES.items():
    for _name in _names:
        for _prefix in "sd":
            _address = get_cython_function_address(_module, _prefix + _name)
            llvmlite.binding.add_symbol(f"lyapflow_{_prefix}{_name}", _address)

_PLAIN, _TRANSPOSED, _RIGHT, _UPPER = map(ord, "NTRU")
FEW = 8  # rows of a product that are few
_PREFIX = {types.float32: "s", types.float64: "d"}


@intrinsic(prefer_literal=True)
def _fortran(typingctx, name, *arguments):
    """Call a routine: arrays pass their data, scalars the address of a copy."""
    arrays = [a for a in arguments if isinstance(a, types.Array)]
    dtypes = {a.dtype for a in arrays}
    if len(dtypes) != 1 or not dtypes <= _PREFIX.keys():
        raise TypeError(f"{name} takes arrays of float32 or of float64, got {arguments}")
    symbol = f"lyapflow_{_PREFIX[arrays[0].dtype]}{name.literal_value}"

    def codegen(context, builder, signature, values):
        packed = values[1]
        pointers = []
        for index, kind in enumerate(arguments):
            value = builder.extract_value(packed, index)
            if isinstance(kind, types.Array):
                pointer = context.make_array(kind)(context, builder, value).data
            else:
                pointer = cgutils.alloca_once_value(builder, value)
            pointers.append(builder.bitcast(pointer, cgutils.voidptr_t))
        routine_type = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] * len(pointers))
        routine = cgutils.get_or_insert_function(builder.module, routine_type, symbol)
        builder.call(routine, pointers)
        return context.get_dummy_value()

    return types.void(name, types.StarArgTuple(arguments)), codegen


@jit
def _flag(condition, if_true, if_false):
    return np.uint8(if_true if condition else if_false)


@jit
def _leading(A):
    # The stride of a single row is arbitrary (0 after np.newaxis), and BLAS insists on at least the row's length.
    return np.int32(max(1, A.shape[1], A.strides[0] // A.itemsize))


def _same_memory(context, builder, signature, values):
    return impl_ret_borrowed(context, builder, signature.return_type, values[0])


@intrinsic
def _contiguous(typingctx, row):
    """A row that Numba takes for strided, because it belongs to a slice, as the contiguous one that it is."""
    return types.Array(row.dtype, 1, "C")(row), _same_memory


@intrinsic
def _strided(typingctx, A):
    """A matrix as one whose strides are not known, lest what takes it be compiled for every layout."""
    return types.Array(A.dtype, 2, "A")(A), _same_memory


@jit(fastmath={"reassoc", "contract"})  # sums in any order, the same for all products of a shape
def _multiply_few(A, B, alpha, beta, C):
    """``C = alpha A B^T + beta C``, two rows with four at a time.

    BLAS copies all of B first, which costs more than a few rows of C.
    """
    m, n = C.shape
    zero = C.dtype.type(0.0)
    for i in range(0, m, 2):
        pair = min(i + 1, m - 1)
        a0, a1 = _contiguous(A[i]), _contiguous(A[pair])
        for j in range(0, n, 4):
            b0, b1 = _contiguous(B[j]), _contiguous(B[min(j + 1, n - 1)])
            b2, b3 = _contiguous(B[min(j + 2, n - 1)]), _contiguous(B[min(j + 3, n - 1)])
            s00, s01, s02, s03, s10, s11, s12, s13 = zero, zero, zero, zero, zero, zero, zero, zero
            for p in range(a0.size):
                s00 += a0[p] * b0[p]
                s01 += a0[p] * b1[p]
                s02 += a0[p] * b2[p]
                s03 += a0[p] * b3[p]
                s10 += a1[p] * b0[p]
                s11 += a1[p] * b1[p]
                s12 += a1[p] * b2[p]
                s13 += a1[p] * b3[p]
            first, second = (s00, s01, s02, s03), (s10, s11, s12, s13)
            for d in range(min(4, n - j)):
                C[i, j + d] = alpha * first[d] + (beta * C[i, j + d] if beta != 0 else zero)
                if pair > i:
                    C[pair, j + d] = alpha * second[d] + (beta * C[pair, j + d] if beta != 0 else zero)


@jit
def _gemm(A, transpose_A, B, transpose_B, alpha, beta, C):
    m, n = C.shape
    if m <= FEW and transpose_B and not transpose_A and A.shape[1] > FEW:
        _multiply_few(A, B, C.dtype.type(alpha), C.dtype.type(beta), C)
        return
    inner = A.shape[0] if transpose_A else A.shape[1]
    _fortran(
        "gemm",
        _flag(transpose_B, _TRANSPOSED, _PLAIN),
        _flag(transpose_A, _TRANSPOSED, _PLAIN),
        np.int32(n),
        np.int32(m),
        np.int32(inner),
        C.dtype.type(alpha),
        B,
        _leading(B),
        A,
        _leading(A),
        C.dtype.type(beta),
        C,
        _leading(C),
    )


@jit(inline="always")  # or every layout of the three is compiled
def gemm(A, transpose_A, B, transpose_B, alpha, beta, C):
    """``C = alpha op(A) op(B) + beta C``, in place on C, which may be uninitialised where beta is 0."""
    _gemm(_strided(A), transpose_A, _strided(B), transpose_B, float(alpha), float(beta), _strided(C))


@jit
def symm(S, B, C):
    """``C = S B + C`` in place on C, for symmetric S of which the lower triangle is read."""
    _fortran(
        "symm",
        np.uint8(_RIGHT),
        np.uint8(_UPPER),
        np.int32(C.shape[1]),
        np.int32(C.shape[0]),
        C.dtype.type(1.0),
        S,
        _leading(S),
        B,
        _leading(B),
        C.dtype.type(1.0),
        C,
        _leading(C),
    )


@jit
def potrf(G):
    """The lower triangle of G becomes its Cholesky factor.

    Where G is not positive definite, an entry on the diagonal of what comes back is not positive, or is NaN.
    """
    _fortran("potrf", np.uint8(_UPPER), np.int32(len(G)), G, _leading(G), np.int32(0))


@jit
def geqrf(A, tau, work):
    """Householder QR of ``A.T``, in place: its R is the lower triangle of the first rows of A, transposed."""
    _fortran(
        "geqrf",
        np.int32(A.shape[1]),
        np.int32(A.shape[0]),
        A,
        _leading(A),
        tau,
        work,
        np.int32(work.size),
        np.int32(0),
    )


@jit
def orgqr(A, tau, work):
    """The orthonormal factor that ``geqrf`` left in A as reflectors: rows of A, in place."""
    k = np.int32(A.shape[0])
    _fortran("orgqr", np.int32(A.shape[1]), k, k, A, _leading(A), tau, work, np.int32(work.size), np.int32(0))
