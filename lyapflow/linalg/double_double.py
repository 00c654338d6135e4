"""Twice the digits: sums and products of unevaluated pairs high + low of float64 numbers, some 32 digits in all.

Dekker (1971); Hida, Li and Bailey (2001). An error is relative to what is added, not to the sum.
"""

from lyapflow._engine.jit import jit
from lyapflow.linalg.elementary import fma


@jit(inline="always")
def subtract_product(c, c_low, a, a_low, b, b_low):
    """``c - a b``"""
    product = a * b
    error = fma(a_low, b, fma(a, b_low, fma(a, b, -product)))
    total = c - product
    part = total - c
    rest = (c - (total - part)) - (product + part)
    rest += c_low - error
    high = total + rest
    return high, rest - (high - total)


@jit(inline="always")
def quotient(a, a_low, b, b_low):
    """``a / b``"""
    first = a / b
    second = (fma(-first, b, a) + (a_low - first * b_low)) / b
    high = first + second
    return high, second - (high - first)


@jit
def subtract_multiple(c, c_low, a, a_low, b, b_low):
    """``c -= a b`` for vectors c and b and a number a."""
    for i in range(c.size):
        c[i], c_low[i] = subtract_product(c[i], c_low[i], a, a_low, b[i], b_low[i])
