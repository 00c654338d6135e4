"""Singular values of a matrix whose condition number is far beyond float64, each with a bound on its relative error.

Right singular vectors V are found first, in whatever way. The proof asks V alone: with ``C = T V``,
the lengths d of its columns and

    E = diag(1/d) C^T C diag(1/d) - 1,    F = V^T V - 1,

Ostrowski's theorem puts every singular value of C between ``d sqrt(1 - |E|)`` and ``d sqrt(1 +
|E|)``, taken in order, and those of T, where V is square, between theirs over ``sqrt(1 + |F|)`` and
``sqrt(1 - |F|)``. In balls this encloses the singular values of every matrix that the balls of T
hold, provided that its precision covers its condition number.

Where T is known to have rank r < m, V has r columns, and what that leaves of T, ``T - C V^T``, adds
by Weyl's theorem.

The way to V: ``T P = Q R`` with a pivoting P, and ``R^T = Q2 R2``, separate what grows at different
rates. Jacobi's one-sided method does the rest in float64: it turns the rows of R2, each as a
direction and the logarithm of its length, into orthogonal directions U. They are left singular
vectors of ``R2^T`` to some 14 digits, too few for the shortest, which the share of the others would
drown. But ``R2 U = Q3 R3``, the longest first, makes each share as small as the column that it is
in, and V = P Q2 Q3."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lyapflow.precision.arithmetic import Arithmetic, Matrix, Undecided, Vector, exact

ORTHOGONAL = 2.0**-45  # cosine of directions that Jacobi's method leaves as they are
SWEEPS = 30  # that Jacobi's method may take; ten are usual
BLOCK = 16  # columns that are taken away from the others together, by a product

Tell = Callable[[float], None]


def _transposed(A: Matrix) -> Matrix:
    return [list(column) for column in zip(*A)]


def orthonormalised(
    a: Arithmetic, columns: list[Vector], rank: int, pivot: bool = False
) -> tuple[list[Vector], Matrix, list[int]]:
    """Gram-Schmidt: `rank` orthonormal columns Q, as many rows of R, and the order in which columns were taken.

    If pivot, the next column is at least half as long as the longest. Raises Undecided where
    nothing is left."""
    Q: list[Vector] = []
    order: list[int] = []
    R: list[dict[int, Any]] = []
    rest = dict(enumerate(columns))
    while len(Q) < rank:
        new: list[Vector] = []
        panel, enough = _panel(a, rest, pivot)
        while panel and len(Q) + len(new) < rank:
            squares = {
                k: a.middle(a.dot(panel[k], panel[k]))
                for k in (panel if pivot else list(panel)[:1])
            }
            k = max(squares, key=squares.__getitem__)
            if new and squares[k] < enough:
                break
            if not squares[k] > 0:
                raise Undecided
            length = a.middle(a.sqrt(squares[k]))
            q = [a.middle(v / length) for v in panel.pop(k)]
            R.append({k: length})
            for j, column in panel.items():
                R[-1][j] = along = a.middle(a.dot(q, column))
                panel[j] = [a.middle(v - along * w) for v, w in zip(column, q)]
            order.append(k)
            new.append(q)
        if rest:
            shares = a.product(new, _transposed(list(rest.values())))
            shares = [[a.middle(v) for v in row] for row in shares]
            taken = a.product(_transposed(shares), new)
            for row, share in zip(R[len(Q) :], shares):
                row.update(zip(rest, share))
            rest = {
                k: [a.middle(v - w) for v, w in zip(c, t)] for (k, c), t in zip(rest.items(), taken)
            }
        rest = panel | rest
        Q += new
    order += rest
    return Q, [[row.get(k, a.number(0.0)) for k in order] for row in R], order


def _panel(a: Arithmetic, rest: dict[int, Vector], pivot: bool) -> tuple[dict[int, Vector], Any]:
    """The next BLOCK columns, taken out of rest, and the square of the length that is enough for a pivot."""
    chosen, enough = list(rest), 0
    if pivot:
        squares = {k: a.middle(a.dot(c, c)) for k, c in rest.items()}
        chosen.sort(key=squares.__getitem__, reverse=True)
        enough = squares[chosen[BLOCK]] / 4 if len(chosen) > BLOCK else 0
    return {k: rest.pop(k) for k in chosen[:BLOCK]}, enough


def _jacobi(directions: np.ndarray, logs: np.ndarray) -> None:
    """Rotate rows, in place, until each pair is orthogonal: unit vectors times the exponentials of logs."""
    for _ in range(SWEEPS):
        rotated = False
        for i in range(len(logs)):
            for j in range(i + 1, len(logs)):
                cosine = directions[i] @ directions[j]
                if abs(cosine) <= ORTHOGONAL:
                    continue
                rotated = True
                long, short = (i, j) if logs[i] >= logs[j] else (j, i)
                u, v = directions[long], directions[short]
                ratio = math.exp(logs[short] - logs[long])
                gap = 1 - ratio * ratio
                # tangent of the angle over the ratio
                slope = 2 * cosine / (gap + math.hypot(gap, 2 * ratio * cosine))
                for at, turned in ((long, u + slope * ratio * ratio * v), (short, v - slope * u)):
                    length = math.sqrt(turned @ turned)
                    if length == 0:
                        raise Undecided
                    directions[at] = turned / length
                    logs[at] += math.log(length) - math.log1p((slope * ratio) ** 2) / 2
        if not rotated:
            break


def _right_vectors(a: Arithmetic, T: Matrix, rank: int, tell: Tell) -> list[Vector]:
    """Approximate right singular vectors of T (n, m), as many as its rank."""
    columns = [[a.middle(v) for v in column] for column in zip(*T)]
    _, R, order = orthonormalised(a, columns, rank, pivot=True)  # T P = Q R
    tell(0.3)
    Q2, R2, _ = orthonormalised(a, R, rank)  # columns of R^T are rows of R
    tell(0.5)
    lengths = [a.sqrt(a.dot(row, row)) for row in R2]
    logs = np.array([a.to_float(a.log(length)) for length in lengths])
    directions = np.array(
        [[a.to_float(v / length) for v in row] for row, length in zip(R2, lengths)]
    )
    _jacobi(directions, logs)
    tell(0.6)
    longest_first = directions[np.argsort(-logs, kind="stable")]
    powers = [
        [a.middle(v) for v in row] for row in a.product(exact(a, longest_first), _transposed(R2))
    ]
    Q3, _, _ = orthonormalised(a, powers, rank)
    tell(0.8)
    vectors = []
    for v in a.product(Q3, Q2):
        placed = [a.number(0.0)] * len(order)
        for place, entry in zip(order, v):
            placed[place] = a.middle(entry)
        vectors.append(placed)
    return vectors


def _norm(a: Arithmetic, A: Matrix) -> float:
    """A bound on the 2-norm: the root of the largest sums of a row and of a column."""
    moduli = [[a.bound(v) for v in row] for row in A]
    return math.sqrt(max(map(math.fsum, moduli)) * max(map(math.fsum, zip(*moduli)))) * (1 + 1e-12)


def _off_identity(a: Arithmetic, columns: list[Vector]) -> float:
    """A bound on the norm of ``C^T C - 1``."""
    gram = a.product(columns, _transposed(columns))
    return _norm(a, [[v - (i == j) for j, v in enumerate(row)] for i, row in enumerate(gram)])


def log_singular_values(
    a: Arithmetic, T: Matrix, rank: int, tell: Tell = lambda share: None
) -> tuple[list[float], float]:
    """Logarithms of the `rank` largest singular values of T (n, m), n >= m, descending, and a bound on their errors.

    The others are zero: T must be known to have no higher rank. The bound is on the relative error
    of each singular value, and infinite where the precision is too low. tell(share) hears how much
    of the work is done."""
    try:
        V = _right_vectors(a, T, rank, tell)
        C = a.product(T, _transposed(V))
        columns = _transposed(C)
        lengths = [
            a.middle(a.sqrt(a.dot(c, c)))
            for c in ([a.middle(v) for v in column] for column in columns)
        ]
        unit = [[v / length for v in column] for column, length in zip(columns, lengths)]
        E, F = _off_identity(a, unit), _off_identity(a, V)
        left = 0.0
        if rank < len(T[0]):
            kept = a.product(C, V)
            shortest = min(lengths)
            left = _norm(a, [[(t - u) / shortest for t, u in zip(*rows)] for rows in zip(T, kept)])
    except (Undecided, ZeroDivisionError):
        return [], math.inf
    if not (E < 0.5 and F < 0.5 and left < 0.5):
        return [], math.inf
    logs = sorted((a.to_float(a.log(d)) for d in lengths), reverse=True)
    rounding = max(map(math.ulp, logs))  # of a logarithm to float64
    return logs, math.expm1(
        max(math.log1p(E) - math.log1p(-F), math.log1p(F) - math.log1p(-E)) / 2
    ) + left + rounding
