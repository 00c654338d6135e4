"""Exact ranks: matrices of float64 numbers modulo a prime.

A float64 number is an integer times a power of two, so sums and products of such numbers have
residues modulo an odd prime p. A combination of vectors that vanishes exactly vanishes modulo p,
too; the reverse fails by chance alone, with a probability of about n / p = n 10^-14. So elimination
modulo p tells what is lost exactly from what is only small.

Residues are float64 numbers that hold integers, p/2 in modulus at most but for a little: a fused
multiply-add gives the exact product of two of them as a sum of two float64 numbers, and every
vector unit has one."""

import math

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow.linalg.elementary import fma

PRIME = 2.0**46 - 21.0
INVERSE = 1.0 / PRIME
NEAREST = 1.5 * 2.0**52  # adding it, and taking it away, rounds a number below 2^51 to an integer
TERMS = 64  # products of residues that a sum below 2^53 holds, and more

# residues of 2^e for all exponents e of float64 numbers that are written as integers of 53 bits
_SMALLEST = -1074
_POWERS = np.array([pow(2, e, int(PRIME)) for e in range(_SMALLEST, 1024)], float)


@jit(inline="always")
def _reduce(a):
    """The residue of an integer below 2^53."""
    return a - PRIME * ((a * INVERSE + NEAREST) - NEAREST)


@jit(inline="always")
def _multiply(a, b):
    """The residue of the product of two residues."""
    high = a * b
    low = fma(a, b, -high)
    multiple = (high * INVERSE + NEAREST) - NEAREST
    return fma(-multiple, PRIME, high) + low


@jit
def residues(A, R):
    """R = A modulo p; R may be A."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            number = A[i, j]
            R[i, j] = 0.0
            if number != 0.0:
                # subnormal numbers have fewer bits
                exponent = max(math.frexp(number)[1], _SMALLEST + 53)
                integer = math.ldexp(number, 53 - exponent)
                R[i, j] = _multiply(_reduce(integer), _reduce(_POWERS[exponent - 53 - _SMALLEST]))


@jit
def multiply(A, B, C):
    """C = A B modulo p."""
    for i in range(A.shape[0]):
        C[i] = 0.0
        row = C[i]
        for first in range(0, len(B), TERMS):
            for m in range(first, min(first + TERMS, len(B))):
                if A[i, m] != 0.0:
                    _add_multiple(A[i, m], B[m], row)
            for j in range(row.size):
                row[j] = _reduce(row[j])


@jit
def _add_multiple(a, B, C):
    for j in range(C.size):
        C[j] += _multiply(a, B[j])


@jit
def _reciprocal(a):
    """a^(p - 2), which is 1/a."""
    power, result, exponent = a, 1.0, np.int64(PRIME) - 2
    while exponent > 0:
        if exponent & 1:
            result = _reduce(_multiply(result, power))
        power = _reduce(_multiply(power, power))
        exponent >>= 1
    return result


@jit
def independent(A, kept):
    """Mark, in kept (k,), the rows of A (k, n) that do not depend on those before them; A is overwritten."""
    k, n = A.shape
    for j in range(k):
        row = A[j]
        pivot = 0
        while pivot < n and row[pivot] == 0.0:
            pivot += 1
        kept[j] = pivot < n
        if pivot < n:
            inverse = -_reciprocal(row[pivot])
            for i in range(j + 1, k):
                if A[i, pivot] != 0.0:
                    factor = _reduce(_multiply(inverse, A[i, pivot]))
                    _add_multiple(factor, row, A[i])
                    for c in range(n):
                        A[i, c] = _reduce(A[i, c])
