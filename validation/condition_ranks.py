"""Ranks and singular values of products of Jacobians, of every rank, against exact and 3000-bit arithmetic.

    python -m pip install ".[precision]" && python -m validation.condition_ranks [problems]

1000 random problems: all five cells, up to 6 units (gated cells 3), weights that are regular or
singular in every way we could think of (zero columns, all zero, ones, equal rows, few independent
columns of integers, delay lines, integer nilpotent matrices, layers behind layers, gates without
weights, units that are copies of each other), products of 0 to 20 steps, driven or at rest, ReLU
units that fall silent, all columns or a few; two in three with python-flint.

Linear and ReLU networks: the product in fractions, its rank by elimination, all exact. The others:
differences of the trajectory, from the equations below, with a step of 2^-1500, whose singular
values are above 2^-800 of the largest or below 2^-1200; the latter are zeros. Singular values by
mpmath at 3000 bits.

Prints shares, the worst error over its bound and the slowest problem. Exit code 1 if a rank is
wrong, a singular value is farther off than `error` says, log κ is finite where the rank is below m,
something is undecided without a reason, or more than one product in a hundred is. Four minutes."""

import sys
import time
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.interface import sizes
from lyapflow.lyapunov.problem import default_block

BITS, STEP = 3000, 1500
ZERO, SEEN = mpmath.mpf(2) ** -1200, mpmath.mpf(2) ** -800
CELLS = (lf.LinearRNN, lf.ReluRNN, lf.TanhRNN, lf.LSTM, lf.GRU)


class Problem(NamedTuple):
    """What is asked, and what kind of weights it is."""

    kind: str
    cell: Any
    x: np.ndarray
    h0: np.ndarray
    steps: list[int]
    m: int | None
    backend: str


def few_columns(rng: np.random.Generator, n: int) -> np.ndarray:
    r = int(rng.integers(1, n + 1))
    return (rng.integers(-3, 4, (n, r)) @ rng.integers(-3, 4, (r, n))) * 2.0 ** -int(
        rng.integers(0, 4)
    )


def zero_columns(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, n)) * (rng.random(n) < 0.6)


def equal_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, n))[rng.integers(0, n, n)]


def copies(rng: np.random.Generator, n: int) -> np.ndarray:
    """Units that get and give the same."""
    of = rng.integers(0, n, n)
    return rng.standard_normal((n, n))[np.ix_(of, of)]


def nilpotent(rng: np.random.Generator, n: int) -> np.ndarray:
    """Strictly triangular in a basis of integers, so that no entry need be zero."""
    S = np.eye(n) + np.tril(rng.integers(-1, 2, (n, n)), -1)
    return S @ np.triu(rng.integers(-2, 3, (n, n)), 1) @ np.round(np.linalg.inv(S))


def layers(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.tril(rng.standard_normal((n, n)), -int(rng.integers(1, 3)))


KINDS = {
    "regular": lambda rng, n: rng.standard_normal((n, n)),
    "orthogonal": lambda rng, n: lf.qr(rng.standard_normal((n, n)))[0],
    "integers": lambda rng, n: rng.integers(-2, 3, (n, n)).astype(float),
    "zero": lambda rng, n: np.zeros((n, n)),
    "ones": lambda rng, n: np.ones((n, n)),
    "zero columns": zero_columns,
    "equal rows": equal_rows,
    "copies": copies,
    "few columns": few_columns,
    "delay line": lambda rng, n: np.diag(np.ones(n - 1), -1),
    "nilpotent": nilpotent,
    "layers": layers,
}


def problem(number: int) -> Problem:
    rng = np.random.default_rng([7, number])
    cell_class, kind = CELLS[number % len(CELLS)], list(KINDS)[number // len(CELLS) % len(KINDS)]
    gates = {lf.LSTM: 4, lf.GRU: 3}.get(cell_class)
    n = int(rng.integers(1, 4 if gates else 7))
    m = int(rng.integers(0, 2))
    W = np.array([KINDS[kind](rng, n) for _ in range(gates or 1)]) * 0.5 ** int(rng.integers(0, 3))
    V, b = rng.standard_normal((gates or 1, n, m)), rng.standard_normal((gates or 1, n))
    if gates and rng.random() < 0.3:
        W[rng.random(gates) < 0.5] = 0.0
    if rng.random() < 0.3:  # at rest, unless driven
        b *= 0.0
    if cell_class is lf.ReluRNN:
        b += rng.normal() * 2
    if kind == "copies":
        V, b = V[:, :1].repeat(n, 1), b[:, :1].repeat(n, 1)
    within = [np.full(n, rng.standard_normal())] if cell_class is lf.GRU else []
    cell = cell_class(W, V, b, *within) if gates else cell_class(W[0], V[0], b[0])
    size = sizes(cell).state
    h0 = np.zeros(size) if rng.random() < 0.4 else rng.standard_normal(size)
    if kind == "copies":
        h0[:] = h0[0]
    last = int(rng.integers(1, 21))
    steps = sorted({int(rng.integers(0, last + 1)), min(1, last), last})
    columns = int(rng.integers(1, size + 1)) if rng.random() < 0.3 else None
    return Problem(
        kind,
        cell,
        rng.standard_normal((last, m)),
        h0,
        steps,
        columns,
        "mpmath" if number % 3 == 0 else "flint",
    )


def exact_products(given: Problem) -> dict[int, list[list[Fraction]]]:
    """T_t Q of a linear or ReLU network."""

    def fractions(array: np.ndarray) -> Any:
        return [fractions(part) for part in array] if array.ndim else Fraction(float(array))

    W, V, b = map(fractions, given.cell)
    h, T, found = fractions(given.h0), fractions(start(given)), {}
    for t in range(len(given.x) + 1):
        found[t] = T
        if t < len(given.x):
            active = [v >= 0 or isinstance(given.cell, lf.LinearRNN) for v in h]
            value = [v if on else Fraction(0) for v, on in zip(h, active)]
            slopes = [row if on else [Fraction(0)] * len(row) for row, on in zip(T, active)]
            drive = fractions(given.x[t])
            h = [dot(w, value) + dot(v, drive) + c for w, v, c in zip(W, V, b)]
            T = [[dot(w, column) for column in zip(*slopes)] for w in W]
    return {t: found[t] for t in given.steps}


def dot(u: Any, v: Any) -> Any:
    return sum(a * b for a, b in zip(u, v))


def start(given: Problem) -> np.ndarray:
    size = len(given.h0)
    return np.eye(size) if given.m is None else default_block(size, given.m, np.dtype(float)).T


def exact_rank(A: list[list[Fraction]]) -> int:
    rows, found = [list(row) for row in A], 0
    for column in range(len(A[0])):
        pivot = next((r for r in range(found, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        for r in range(found + 1, len(rows)):
            factor = rows[r][column] / rows[found][column]
            rows[r] = [v - factor * p for v, p in zip(rows[r], rows[found])]
        found += 1
    return found


def sigmoid(v: Any) -> Any:
    return 1 / (1 + mpmath.exp(-v))


def follow(cell: Any, h: list[Any], x: list[Any]) -> list[Any]:
    """The next state, from the equations of the cells' docstrings."""

    def affine(W: Any, V: Any, b: Any, h: list[Any]) -> list[Any]:
        return [dot(w, h) + dot(v, x) + c for w, v, c in zip(W, V, b)]

    if isinstance(cell, lf.TanhRNN):
        return affine(cell.W, cell.V, cell.b, [mpmath.tanh(v) for v in h])
    if isinstance(cell, lf.LSTM):
        n = len(h) // 2
        i, f, g, o = (affine(W, V, b, h[:n]) for W, V, b in zip(cell.W, cell.V, cell.b))
        c = [sigmoid(f[u]) * h[n + u] + sigmoid(i[u]) * mpmath.tanh(g[u]) for u in range(n)]
        return [sigmoid(o[u]) * mpmath.tanh(c[u]) for u in range(n)] + c
    r, z = (affine(W, V, b, h) for W, V, b in list(zip(cell.W, cell.V, cell.b))[:2])
    driven = affine(0 * cell.W[2], cell.V[2], cell.b[2], h)
    n = [
        mpmath.tanh(e + sigmoid(gate) * (dot(w, h) + c))
        for e, gate, w, c in zip(driven, r, cell.W[2], cell.b_n)
    ]
    return [(1 - sigmoid(gate)) * new + sigmoid(gate) * old for gate, new, old in zip(z, n, h)]


def differences(given: Problem) -> dict[int, mpmath.matrix]:
    """T_t Q by differences of whole trajectories."""
    exactly = np.vectorize(mpmath.mpf, otypes=[object])
    cell = type(given.cell)(
        *(exactly(array) if array.size else array.astype(object) for array in given.cell)
    )
    small = mpmath.mpf(2) ** -STEP

    def states(h: list[Any]) -> list[list[Any]]:
        found = [h]
        for x in given.x:
            found.append(follow(cell, found[-1], [mpmath.mpf(float(v)) for v in x]))
        return found

    h0 = [mpmath.mpf(float(v)) for v in given.h0]
    here = states(h0)
    columns = []
    for direction in start(given).T:
        columns.append(states([v + small * mpmath.mpf(float(q)) for v, q in zip(h0, direction)]))
    return {
        t: mpmath.matrix(
            [[(column[t][i] - here[t][i]) / small for column in columns] for i in range(len(h0))]
        )
        for t in given.steps
    }


def truth(given: Problem) -> dict[int, tuple[list[Any], int]]:
    """Singular values, descending, and the rank, after each number of steps."""
    found = {}
    if isinstance(given.cell, (lf.LinearRNN, lf.ReluRNN)):
        products = exact_products(given)
        for t, T in products.items():
            numbers = mpmath.matrix(
                [[mpmath.mpf(v.numerator) / v.denominator for v in row] for row in T]
            )
            found[t] = sorted(mpmath.svd(numbers, compute_uv=False), reverse=True), exact_rank(T)
        return found
    for t, T in differences(given).items():
        sigma = sorted(mpmath.svd(T, compute_uv=False), reverse=True)
        rank = sum(s > ZERO for s in sigma)
        if any(ZERO < s < SEEN for s in sigma):
            raise SystemExit(f"the oracle does not see the rank: {given}")
        found[t] = sigma, rank
    return found


class Outcome(NamedTuple):
    """What a problem came to."""

    wrong: list[str]
    cases: int
    undecided: int
    deficient: int
    worst: float  # error over its bound
    seconds: float


def outcome(given: Problem) -> Outcome:
    begin = time.monotonic()
    found = lf.condition_number(
        given.cell, given.x, steps=given.steps, h0=given.h0, m=given.m, backend=given.backend
    )
    seconds = time.monotonic() - begin
    wrong, undecided, deficient, worst = [], 0, 0, 0.0
    with mpmath.workprec(BITS):
        exactly = truth(given)
        for row, t in enumerate(given.steps):
            sigma, rank = exactly[t]
            logs, error = found.log_singular_values[row], found.error[row]
            deficient += rank < len(logs)
            if found.rank[row] < rank:
                wrong.append(f"step {t}: rank {found.rank[row]} for {rank}")
            if np.isnan(logs).any():
                undecided += 1
                if not found.reason or np.isfinite(found.log_kappa[row]):
                    wrong.append(f"step {t}: undecided without a reason")
                continue
            if found.rank[row] != rank or np.isinf(found.log_kappa[row]) != (rank < len(logs)):
                wrong.append(
                    f"step {t}: rank {found.rank[row]}, log κ {found.log_kappa[row]} for rank {rank}"
                )
                continue
            for log, s in zip(logs[:rank], sigma):
                off = float(abs(mpmath.expm1(mpmath.mpf(float(log)) - mpmath.log(s))))
                worst = max(worst, off / error if error else np.inf * off if off else 0.0)
                if off > error:
                    wrong.append(f"step {t}: {off:.1e} off, bound {error:.1e}")
    return Outcome(wrong, len(given.steps), undecided, deficient, worst, seconds)


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    console = Console(width=110)
    results = []
    for i in range(number):
        given = problem(i)
        results.append((given, outcome(given)))
        for text in results[-1][1].wrong:
            console.print(
                f"WRONG: problem {i}, {type(given.cell).__name__}, {given.kind}, {given.backend}: {text}"
            )
        if (i + 1) % 100 == 0:
            console.print(f"{i + 1} of {number} problems")
    table = Table(
        "weights",
        "products",
        "rank below m",
        "undecided",
        "wrong",
        "worst error / bound",
        "slowest",
    )
    for kind in (*KINDS, "all"):
        of = [found for given, found in results if kind in (given.kind, "all")]
        if of:
            table.add_row(
                kind, str(sum(f.cases for f in of)), str(sum(f.deficient for f in of)),
                str(sum(f.undecided for f in of)), str(sum(len(f.wrong) for f in of)),
                f"{max(f.worst for f in of):.2g}", f"{max(f.seconds for f in of):.1f} s",
            )  # fmt: skip
    console.print(table)
    undecided, cases = (
        sum(getattr(found, name) for _, found in results) for name in ("undecided", "cases")
    )
    return any(found.wrong for _, found in results) or undecided > cases / 100


if __name__ == "__main__":
    sys.exit(main())
