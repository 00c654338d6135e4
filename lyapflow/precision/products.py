"""Products of Jacobians and their singular values, with as many bits as it takes to prove them."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lyapflow.precision.arithmetic import Arithmetic, Matrix, Undecided, exact
from lyapflow.precision.cells import exact_cell, move
from lyapflow.precision.residues import Residues, rank
from lyapflow.precision.singular_values import Tell, log_singular_values

GUARD = 64  # bits that are computed beyond those of the result
PROVED = 1e-6  # relative error with which a singular value is reported
MAX_BITS = 10**6  # bits


class Found(NamedTuple):
    logs: list[float]  # of the singular values that are not zero
    error: float
    rank: int


Known = dict[int, Found]


def _tell_part(tell: Callable[[float, int], None], t: int, bits: int, share: float) -> None:
    tell(max(0.0, t - 1 + share), bits)


def bits_of(log_kappa: float) -> int:
    """Bits that should do for a condition number of about this size."""
    return min(MAX_BITS, 2 * GUARD + int(1.1 * log_kappa / math.log(2.0)))


def _rounded(a: Arithmetic, T: Matrix, bits: int) -> Matrix:
    with a.precision(bits):
        largest = max(abs(a.middle(v)) for row in T for v in row)
        widest = max(a.radius(v) for row in T for v in row)
        if widest * a.number(2.0) ** (bits + 8) > largest:
            raise Undecided
        return [[+v for v in row] for row in T]


def _log_singular_values(
    a: Arithmetic, T: Matrix, full: int, bits: int, expected: float, tell: Tell
) -> Found:
    """Of a product, rounded to so many bits, with no more of them than it takes, since most need far fewer."""
    if full == 0:
        return Found([], 0.0, 0)
    T, precision = _rounded(a, T, bits), bits_of(expected)
    while True:
        precision = min(precision, bits + GUARD)
        with a.precision(precision):
            logs, error = log_singular_values(a, T, full, tell)
        if error <= PROVED or precision == bits + GUARD:
            return Found(logs, error, full)
        precision *= 2


class Problem(NamedTuple):
    """What to multiply: a cell and its input as exact float64 numbers."""

    cell: Any
    x: np.ndarray
    Q: np.ndarray
    states: np.ndarray  # (1, n_state): h0 alone, or (T, n_state)
    # logarithm of the condition number after each number of steps that is wanted
    expected: dict[int, float]

    def exactly(self, a: Any) -> tuple[Any, Matrix, Matrix, Matrix]:
        """Cell, input, states (the first, or all that are known) and Q in an arithmetic."""
        return exact_cell(a, self.cell), exact(a, self.x), exact(a, self.states), exact(a, self.Q)

    def products(self, a: Arithmetic, bits: int, growth: int) -> Iterator[tuple[int, Matrix, int]]:
        """(t, T_t Q, a bound on its rank) for each t, where a step widens balls by so many bits at most.

        So fewer and fewer bits are carried: what the first steps round is what grows. The bound is
        that of `expected` steps; of others it is the number of columns."""
        residues = Residues(a)
        (cell, x, states, T), (same_cell, same_x, same_states, same_T) = map(
            self.exactly, (a, residues)
        )
        zero, last = a.number(0.0), max(self.expected)
        h, same_h = states[0], same_states[0]
        for t in range(last + 1):
            # outside of any precision, which whoever stops here would not restore
            yield t, T, rank(same_T) if t in self.expected else len(T[0])
            if t == last:
                break
            if t < len(states):
                h, same_h = states[t], same_states[t]
            a.decisions.clear()
            with a.precision(bits + GUARD + growth * (last - t)):
                h, T = move(cell, a, h, x[t], T)
            same_h, same_T = move(same_cell, residues, same_h, same_x[t], same_T)
            h = [v if same else zero for v, same in zip(h, same_h)]
            T = [[v if same else zero for v, same in zip(*rows)] for rows in zip(T, same_T)]

    def solve(
        self, a: Arithmetic, bits: int, tell: Callable[[float, int], None], known: Known, last: bool
    ) -> Known:
        """Singular values of the products, rounded to so many bits, that are not known.

        Unless this is the last try, it ends where bits do not suffice.
        """
        growth, found = 4, dict(known)
        while True:
            try:
                for t, T, full in self.products(a, bits, growth):
                    if t in self.expected and t not in found:
                        part = functools.partial(_tell_part, tell, t, bits)
                        found[t] = _log_singular_values(a, T, full, bits, self.expected[t], part)
                        if found[t].error > PROVED and not last:
                            return found
                    tell(t, bits)
                return found
            except Undecided:
                growth *= 2
                if growth * max(self.expected) > 16 * bits + 2**14:
                    columns = self.Q.shape[1]
                    return {t: Found([], math.inf, columns) for t in self.expected} | found


def trusted(
    a: Arithmetic, problem: Problem, bits: int | None, most: int, tell: Callable[[float, int], None]
) -> tuple[Known, int]:
    """Singular values with errors, proved or from repetition, and the bits that they took, `most` at most."""
    now = bits or bits_of(max(problem.expected.values()))
    known: Known = {}
    while True:
        last = bits is not None or now + now // 2 > min(most, MAX_BITS)
        found = problem.solve(a, now, tell, known, last)
        if not a.proves:
            again = problem.solve(a, now + GUARD, tell, known, last)
            found = {t: _compared(f, again[t]) for t, f in found.items() if t in again}
        known = {t: f for t, f in found.items() if f.error <= PROVED}
        if last or len(known) == len(problem.expected):
            return found, now
        now += now // 2


def _compared(found: Found, other: Found) -> Found:
    """With the difference from what a higher precision gives as an estimate of the error."""
    if len(other.logs) != len(found.logs):
        return found._replace(error=math.inf)
    differences = (abs(p - q) for p, q in zip(found.logs, other.logs))
    return found._replace(error=max(found.error, 2.0 * max(differences, default=0.0)))
