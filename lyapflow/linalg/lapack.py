"""BLAS and LAPACK from nopython code, on row-major arrays.

The addresses come from SciPy's Cython interface and are registered as LLVM symbols, so that
compiled code stays cacheable on disk. Every wrapper takes row-major arrays whose rows may be
strided (a slice of a wider array) but whose last axis is contiguous. The routines themselves are
column-major: they see the transposed matrices, which is why factors and sides are swapped in the
calls. Nothing is allocated."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lyapflow._engine.blas import register_routines
from lyapflow._engine.jit import jit

_PLAIN, _TRANSPOSED, _UPPER = map(ord, "NTU")
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
        register_routines()
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


@jit(inline="always")
def _flag(condition, if_true, if_false):
    return np.uint8(if_true if condition else if_false)


@jit(inline="always")
def _leading(A):
    # The stride of a single row is arbitrary (0 after np.newaxis), and BLAS insists on at least the
    # row's length.
    return np.int32(max(1, A.shape[1], A.strides[0] // A.itemsize))


@jit(inline="always")
def gemm(A, transpose_A, B, transpose_B, alpha, beta, C):
    """``C = alpha op(A) op(B) + beta C``, in place on C, which may be uninitialised where beta is 0."""
    m, n = C.shape
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


@jit(inline="always")
def potrf(G):
    """The lower triangle of G becomes its Cholesky factor.

    Where G is not positive definite, an entry on the diagonal of what comes back is not positive,
    or is NaN."""
    _fortran("potrf", np.uint8(_UPPER), np.int32(len(G)), G, _leading(G), np.int32(0))


@jit(inline="always")
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


@jit(inline="always")
def orgqr(A, tau, work):
    """The orthonormal factor that ``geqrf`` left in A as reflectors: rows of A, in place."""
    k = np.int32(A.shape[0])
    _fortran(
        "orgqr",
        np.int32(A.shape[1]),
        k,
        k,
        A,
        _leading(A),
        tau,
        work,
        np.int32(work.size),
        np.int32(0),
    )
