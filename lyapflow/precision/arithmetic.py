"""Arithmetic of a given precision: balls by FLINT, which enclose the exact result, or mpmath's floating point.

A vector is a list of numbers, a matrix a list of rows. Numbers know ``+ - * /`` and comparison;
what else is needed the arithmetic does, which keeps its answers to `not_negative`. Neither leaves a
trace in the caller's FLINT or mpmath settings. Both libraries are imported where they are used:
that takes 0.1 s, and python-flint may be missing."""

import importlib.util
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import mul
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError

Vector = list[Any]
Matrix = list[Vector]
WIDEST = 10**5  # bits between the exponents of numbers that mpmath multiplies together


class Undecided(ArithmeticError):
    """A ball is too wide for what is asked of it."""


class Balls:
    """Numbers with a bound on their error, from python-flint: the exact result lies within."""

    proves = True

    def __init__(self) -> None:
        import flint

        self.flint = flint
        self.decisions: deque[bool] = deque()

    @contextmanager
    def precision(self, bits: int) -> Iterator[None]:
        with self.flint.ctx.workprec(bits):
            yield

    def number(self, value: float) -> Any:
        return self.flint.arb(value)

    def tanh(self, x: Any) -> Any:
        return x.tanh()

    def sech(self, x: Any) -> Any:
        return x.sech()

    def exp(self, x: Any) -> Any:
        return x.exp()

    def sqrt(self, x: Any) -> Any:
        return x.sqrt()

    def log(self, x: Any) -> Any:
        return x.log()

    def to_float(self, x: Any) -> float:
        return float(x.mid())

    def not_negative(self, x: Any) -> bool:
        if not (x >= 0 or x < 0):
            raise Undecided
        self.decisions.append(bool(x >= 0))
        return self.decisions[-1]

    def middle(self, x: Any) -> Any:
        """The number in the middle of a ball, rounded to the present precision."""
        return (+x.mid()).mid()

    def bound(self, x: Any) -> float:
        """A float not below the modulus."""
        return float(np.nextafter(float(x.abs_upper()), np.inf))

    def radius(self, x: Any) -> Any:
        return x.rad()

    def product(self, A: Matrix, B: Matrix) -> Matrix:
        if not B or not B[0]:
            return [[] for _ in A]
        return (self.flint.arb_mat(A) * self.flint.arb_mat(B)).tolist()

    def dot(self, u: Iterable[Any], v: Iterable[Any]) -> Any:
        return sum((a * b for a, b in zip(u, v)), self.flint.arb(0))


class Floats:
    """mpmath's floating point numbers, rounded and without a bound: errors are estimated by repetition."""

    proves = False

    def __init__(self) -> None:
        import mpmath

        self.context = mpmath.MPContext()
        self.decisions: deque[bool] = deque()

    @contextmanager
    def precision(self, bits: int) -> Iterator[None]:
        before, self.context.prec = self.context.prec, bits
        try:
            yield
        finally:
            self.context.prec = before

    def number(self, value: float) -> Any:
        return self.context.mpf(value)

    def tanh(self, x: Any) -> Any:
        return self.context.tanh(x)

    def sech(self, x: Any) -> Any:
        return self.context.sech(x)

    def exp(self, x: Any) -> Any:
        return self.context.exp(x)

    def sqrt(self, x: Any) -> Any:
        return self.context.sqrt(x)

    def log(self, x: Any) -> Any:
        return self.context.log(x)

    def to_float(self, x: Any) -> float:
        return float(x)

    def not_negative(self, x: Any) -> bool:
        self.decisions.append(bool(x >= 0))
        return self.decisions[-1]

    def middle(self, x: Any) -> Any:
        return +x

    def bound(self, x: Any) -> float:
        return float(abs(x))

    def radius(self, x: Any) -> Any:
        return self.context.mpf(0)

    def product(self, A: Matrix, B: Matrix) -> Matrix:
        rows, columns = list(map(_integers, A)), list(map(_integers, zip(*B)))
        mpf = self.context.mpf  # rounds what is exact until then
        return [
            [mpf((sum(map(mul, row, column)), e + f)) for column, f in columns] for row, e in rows
        ]

    def dot(self, u: Iterable[Any], v: Iterable[Any]) -> Any:
        return self.context.fdot(u, v)


def _integers(numbers: Iterable[Any]) -> tuple[list[int], int]:
    """The same numbers as integers times a power of 2: multiplied so, mpmath's are ten times faster."""
    parts = [
        (man if value >= 0 else -man, exp) for value in numbers for man, exp in [value.man_exp]
    ]
    exponents = [exp for man, exp in parts if man]
    least = min(exponents, default=0)
    if exponents and max(exponents) - least > WIDEST:
        raise Undecided
    return [man << (exp - least) if man else 0 for man, exp in parts], least


Arithmetic = Balls | Floats


def arithmetic(backend: str | None) -> Arithmetic:
    """The arithmetic of a backend; FLINT's where it is installed, if None."""
    if backend is not None:
        _checks.one_of("backend", backend, ("flint", "mpmath"))
    installed = importlib.util.find_spec("flint") is not None
    if backend == "flint" and not installed:
        raise LyapflowError(
            "backend='flint' needs python-flint; install it, or use backend='mpmath'"
        )
    return Balls() if installed and backend != "mpmath" else Floats()


def exact(arithmetic: Arithmetic, array: np.ndarray) -> Any:
    """The same numbers, nested lists for axes."""
    if array.ndim == 0:
        return arithmetic.number(float(array))
    return [exact(arithmetic, part) for part in array]
