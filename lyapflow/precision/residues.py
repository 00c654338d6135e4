"""Which numbers are zero and which products lose rank, decided by the same equations modulo a prime.

A float64 number is an integer times a power of 2, so it has a residue, and so have sums, products
and quotients. For exp(v) stands a random residue, one for each v, which keeps exp(0) = 1 and exp(v)
exp(-v) = 1; tanh and sech follow. What holds for residues that are drawn at random holds, but for
an accident, whatever is drawn, and so for the true exponentials: where a residue is zero the number
is zero, and no matrix has a higher rank than its residues. A minor of r rows after t steps of n
units is a polynomial of degree 4 n r t at most; a random argument makes such a one zero by accident
with that chance over PRIME (Schwartz and Zippel), 10^-10 for r = n = 200 and a thousand steps.

Exponentials that are related in other ways can make the true rank lower than this bound.
"""

import random
from collections.abc import Iterable
from typing import Any

from lyapflow.precision.arithmetic import Arithmetic, Matrix

PRIME = 2**61 - 1
WIDTH = 17  # bytes that hold a sum of up to 2^14 products of residues


class Residue(int):
    """An integer modulo PRIME; residues have no order."""

    def __add__(self, other: int) -> "Residue":
        return Residue(int.__add__(self, other) % PRIME)

    def __sub__(self, other: int) -> "Residue":
        return Residue(int.__sub__(self, other) % PRIME)

    def __rsub__(self, other: int) -> "Residue":
        return Residue(int.__rsub__(self, other) % PRIME)

    def __mul__(self, other: int) -> "Residue":
        return Residue(int.__mul__(self, other) % PRIME)

    def __pow__(self, exponent: int, _: None = None) -> "Residue":  # type: ignore[override]
        return Residue(pow(int(self), exponent, PRIME))

    def __truediv__(self, other: int) -> "Residue":  # type: ignore[override]
        return self * pow(int(other), -1, PRIME)

    def __rtruediv__(self, other: int) -> "Residue":  # type: ignore[override, misc]
        return self**-1 * other

    def __neg__(self) -> "Residue":
        return Residue(-int(self) % PRIME)

    __radd__, __rmul__ = __add__, __mul__
    __lt__ = __le__ = __gt__ = __ge__ = None  # type: ignore[assignment]


class Residues:
    """The arithmetic of residues, which decides what another arithmetic has just decided."""

    def __init__(self, other: Arithmetic) -> None:
        self.other = other
        self.draw = random.Random(0)
        self.known: dict[tuple[str, Residue], Residue] = {("exp", Residue(0)): Residue(1)}

    def number(self, value: float) -> Residue:
        numerator, denominator = value.as_integer_ratio()
        return Residue(numerator) / denominator

    def _random(self, function: str, x: Residue) -> Residue:
        if (function, x) not in self.known:
            self.known[function, x] = Residue(self.draw.randrange(1, PRIME))
        return self.known[function, x]

    def exp(self, x: Residue) -> Residue:
        if ("exp", x) not in self.known:
            self.known["exp", -x] = 1 / self._random("exp", x)
        return self.known["exp", x]

    def tanh(self, x: Residue) -> Residue:
        grown, shrunk = self.exp(x), self.exp(-x)
        return (grown - shrunk) / (grown + shrunk)

    def sech(self, x: Residue) -> Residue:
        return 2 / (self.exp(x) + self.exp(-x))

    def sqrt(self, x: Residue) -> Residue:
        return self._random("sqrt", x) if x else x

    def log(self, x: Residue) -> Residue:
        return self._random("log", x) if x != 1 else Residue(0)

    def not_negative(self, x: Residue) -> bool:
        return self.other.decisions.popleft()

    def product(self, A: Matrix, B: Matrix) -> Matrix:
        # a row of B as one long integer: Python multiplies it ten times faster than its entries
        rows = [
            int.from_bytes(b"".join(v.to_bytes(WIDTH, "little") for v in row), "little")
            for row in B
        ]
        columns = range(0, WIDTH * len(B[0]) if B else 0, WIDTH)
        product = []
        for row in A:
            total = sum(int(v) * long for v, long in zip(row, rows) if v)
            entries = total.to_bytes(WIDTH * len(columns), "little")
            product.append(
                [Residue(int.from_bytes(entries[i : i + WIDTH], "little") % PRIME) for i in columns]
            )
        return product

    def dot(self, u: Iterable[Any], v: Iterable[Any]) -> Residue:
        return Residue(sum(int(a) * b for a, b in zip(u, v)) % PRIME)


def rank(A: Matrix) -> int:
    """Rank of a matrix of residues, by elimination."""
    rows, found = [[int(v) for v in row] for row in A], 0
    while rows:
        pivot = rows.pop()
        first = next((i for i, v in enumerate(pivot) if v), None)
        if first is None:
            continue
        found += 1
        inverse = pow(pivot[first], -1, PRIME)
        for r, row in enumerate(rows):
            if row[first]:
                factor = row[first] * inverse % PRIME
                rows[r] = [(v - factor * p) % PRIME for v, p in zip(row, pivot)]
    return found
