"""Elementwise kernels: functions with the derivatives that Jacobians need, and a check.

One expm1 by range reduction and a polynomial gives tanh with sech², and the sigmoid with its
derivative, with small *relative* error in all: ``1 - tanh(x)²`` has none left near |x| = 19, and
log R sees that."""

import math

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from lyapflow._engine.jit import OPTIONS, jit

# Per dtype: 1.5 * 2^(mantissa bits), whose ulp is one; ln 2 in two parts, the first short enough
# for n * high to be exact; the logarithm of the largest number; for the intrinsic: integer width,
# mantissa bits, exponent bias.
_REDUCTION = {
    types.float64: tuple(
        map(
            np.float64,
            (1.5 * 2.0**52, 0.693147180369123816490, 1.90821492927058770002e-10, 709.782712893384),
        )
    ),
    types.float32: tuple(
        map(np.float32, (1.5 * 2.0**23, 0.693359375, -2.12194440054690583e-4, 88.72283))
    ),
}
_FORMAT = {types.float64: (64, 52, 1023), types.float32: (32, 23, 127)}
_DEGREE = {types.float64: 13, types.float32: 7}  # of Taylor's polynomial of e^r for |r| <= ln 2 / 2


def _reduction(x):
    """The constants of the dtype of x."""


@overload(_reduction, jit_options=OPTIONS)
def _reduction_of(x):
    constants = _REDUCTION[x]
    return lambda x: constants


@intrinsic
def _half_power_of_two(typingctx, shifted):
    """``2^(n - 1)`` from ``n + 1.5 * 2^(mantissa bits)``, whose low bits hold n."""
    width, mantissa, bias = _FORMAT[shifted]

    def codegen(context, builder, signature, values):
        integer = ir.IntType(width)
        bits = builder.bitcast(values[0], integer)
        exponent = builder.add(bits, ir.Constant(integer, bias - 1))
        return builder.bitcast(
            builder.shl(exponent, ir.Constant(integer, mantissa)), values[0].type
        )

    return shifted(shifted), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """``a b + c``, rounded once. A compiler left free to contract may do so in a loop and not in its tail."""

    def codegen(context, builder, signature, values):
        return builder.fma(*values)

    return a(a, a, a), codegen


@intrinsic
def _taylor(typingctx, r):
    """``(e^r - 1 - r) / r²`` by Taylor's polynomial, in Horner's scheme."""

    def codegen(context, builder, signature, values):
        first, *others = (
            ir.Constant(values[0].type, 1.0 / math.factorial(p)) for p in range(_DEGREE[r], 1, -1)
        )
        result = first
        for coefficient in others:
            result = builder.fma(result, values[0], coefficient)
        return result

    return r(r), codegen


@jit(inline="always")
def _expm1(y):
    """``e^y - 1`` for y >= 0, and whether y was so large that e^y would overflow, and was cut."""
    number = type(y)
    shift, ln2_high, ln2_low, largest = _reduction(y)
    saturated = y > largest  # not where y is NaN
    y = largest if saturated else y
    shifted = fma(y, number(1.0 / math.log(2.0)), shift)
    n = shifted - shift
    r = fma(-n, ln2_low, fma(-n, ln2_high, y))
    p = fma(r * r, _taylor(r), r)
    half = _half_power_of_two(shifted)  # 2^n itself would overflow at the end of the range
    return number(2.0) * fma(half, p, half - number(0.5)), saturated


@jit(inline="always")
def _tanh_sech2(x):
    number = type(x)
    one, two, quarter = number(1.0), number(2.0), number(0.25)
    e, saturated = _expm1(two * abs(x))
    q = number(4.0) / (e + two)  # a normal number wherever sech² is one
    sech2 = q * (one - quarter * q)  # 4 (e + 1) / (e + 2)², with the fewest roundings
    return math.copysign(quarter * e * q, x), number(0.0) if saturated else sech2


@jit(inline="always")
def _sigmoid(x):
    number = type(x)
    one = number(1.0)
    e, saturated = _expm1(abs(x))
    q = number(0.0) if saturated else one / (e + number(2.0))  # sigmoid(-|x|)
    return q if x < number(0.0) else one - q, q * (one - q)


@jit
def add_rows(a, b):
    """``b += Σ_i a_i`` for the rows of a matrix. What Numba makes of whole arrays takes seconds to compile."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[j] += a[i, j]


@jit(inline="always")
def copy(a, b):
    """``b = a`` for matrices, rounded to the dtype of b."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[i, j] = a[i, j]


@jit
def repeat(b, a):
    """Each row of the matrix a becomes the vector b."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] = b[j]


@jit
def all_finite(a):
    """Whether a matrix has no NaN or infinity."""
    lost = 0  # counted, not summed: a sum of floats would not vectorise
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            lost += not np.isfinite(a[i, j])
    return lost == 0


@jit
def tanh_sech2(x, t, s):
    """``t = tanh(x)``, ``s = sech²(x) = tanh'(x)`` for vectors, < 4 ulp relative error in both.

    Where sech² would be subnormal (|x| > 354.9, in float32 |x| > 44.4) it is 0.
    """
    for i in range(x.size):
        t[i], s[i] = _tanh_sech2(x[i])


@jit
def sigmoid(x, s, d):
    """``s = 1 / (1 + e^-x)``, ``d = s (1 - s)``, its derivative, for vectors, < 4 ulp relative error in both.

    Beyond |x| = 709.8, in float32 88.7, d is 0, and so is s on the left.
    """
    for i in range(x.size):
        s[i], d[i] = _sigmoid(x[i])
