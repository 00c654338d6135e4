"""Singular values of a matrix whose condition number is far beyond float64, each with a bound on its relative error.

Right singular vectors V are found first, in whatever way (QR, again of the transposed factor, which separates what
grows at different rates, then one-sided Jacobi for what does not). The proof asks V alone: with ``C = T V``, the
lengths d of its columns and

    E = diag(1/d) C^T C diag(1/d) - 1,    F = V^T V - 1,

Ostrowski's theorem puts every singular value of C between ``d sqrt(1 - |E|)`` and ``d sqrt(1 + |E|)``, taken in order,
and those of T, where V is square, between theirs over ``sqrt(1 + |F|)`` and ``sqrt(1 - |F|)``. In balls this encloses
the singular values of every matrix that the balls of T hold, provided that its precision covers its condition number.

Where T is known to have rank r < m, V has r columns, and what that leaves of T, ``T - C V^T``, adds by Weyl's theorem.
"""

import math

from lyapflow.precision.arithmetic import Arithmetic, Matrix, Vector

ORTHOGONAL = 2.0**-60  # cosine of columns that Jacobi's method leaves as they are


def orthonormalised(
    a: Arithmetic, columns: list[Vector], rank: int, pivot: bool = False
) -> tuple[list[Vector], Matrix, list[int]]:
    """Gram-Schmidt: `rank` orthonormal columns Q, as many rows of R, and the order in which columns were taken.

    If pivot, the longest is next.
    """
    rest, Q = [list(column) for column in columns], []
    R = [[a.number(0.0)] * len(columns) for _ in range(rank)]
    order = list(range(len(columns)))
    for j in range(rank):
        if pivot:
            lengths = [a.middle(a.dot(c, c)) for c in rest[j:]]
            best = j + max(range(len(lengths)), key=lengths.__getitem__)
            rest[j], rest[best], order[j], order[best] = rest[best], rest[j], order[best], order[j]
            for row in R[:j]:
                row[j], row[best] = row[best], row[j]
        R[j][j] = a.middle(a.sqrt(a.dot(rest[j], rest[j])))
        q = [a.middle(v / R[j][j]) for v in rest[j]]
        Q.append(q)
        for k in range(j + 1, len(columns)):
            R[j][k] = along = a.middle(a.dot(q, rest[k]))
            rest[k] = [a.middle(v - along * w) for v, w in zip(rest[k], q)]
    return Q, R, order


def _jacobi(a: Arithmetic, columns: list[Vector]) -> None:
    """Rotate columns, in place, until each pair is orthogonal."""
    squares = [a.middle(a.dot(c, c)) for c in columns]
    rotated = True
    while rotated:
        rotated = False
        for i in range(len(columns)):
            for j in range(i + 1, len(columns)):
                u, v = columns[i], columns[j]
                along = a.middle(a.dot(u, v))
                if along * along <= ORTHOGONAL**2 * squares[i] * squares[j]:
                    continue
                rotated = True
                zeta = (squares[j] - squares[i]) / (2 * along)
                root = a.sqrt(1 + zeta * zeta)
                t = a.middle(1 / (zeta + root) if zeta >= 0 else 1 / (zeta - root))
                c = a.middle(1 / a.sqrt(1 + t * t))
                s = a.middle(c * t)
                columns[i] = [a.middle(c * p - s * q) for p, q in zip(u, v)]
                columns[j] = [a.middle(s * p + c * q) for p, q in zip(u, v)]
                squares[i], squares[j] = (a.middle(a.dot(w, w)) for w in (columns[i], columns[j]))


def _right_vectors(a: Arithmetic, T: Matrix, rank: int) -> list[Vector]:
    """Approximate right singular vectors of T (n, m), as many as its rank."""
    columns = [[a.middle(v) for v in column] for column in zip(*T)]
    _, R, order = orthonormalised(a, columns, rank, pivot=True)  # T P = Q R
    Q2, R2, _ = orthonormalised(a, R, rank)  # columns of R^T are rows of R
    _, R3, _ = orthonormalised(a, R2, rank)
    W = [list(row) for row in R3]  # columns of R3^T, whose left singular vectors are W: V = P Q2 W
    _jacobi(a, W)
    vectors = []
    for w in W:
        length = a.sqrt(a.dot(w, w))
        v = [a.number(0.0)] * len(order)
        for place, row in zip(order, zip(*Q2)):
            v[place] = a.middle(a.dot(row, w) / length)
        vectors.append(v)
    return vectors


def _norm(a: Arithmetic, A: Matrix) -> float:
    """A bound on the 2-norm: the root of the largest sums of a row and of a column."""
    moduli = [[a.bound(v) for v in row] for row in A]
    return math.sqrt(max(map(math.fsum, moduli)) * max(map(math.fsum, zip(*moduli)))) * (1 + 1e-12)


def _off_identity(a: Arithmetic, columns: list[Vector]) -> float:
    """A bound on the norm of ``C^T C - 1``."""
    gram = a.product(columns, [list(row) for row in zip(*columns)])
    return _norm(a, [[v - (i == j) for j, v in enumerate(row)] for i, row in enumerate(gram)])


def log_singular_values(a: Arithmetic, T: Matrix, rank: int) -> tuple[list[float], float]:
    """Logarithms of the `rank` largest singular values of T (n, m), n >= m, descending, and a bound on their errors.

    The others are zero: T must be known to have no higher rank. The bound is on the relative error of each singular
    value, and infinite where the precision is too low.
    """
    try:
        V = _right_vectors(a, T, rank)
        C = a.product(T, [list(row) for row in zip(*V)])
        columns = [list(column) for column in zip(*C)]
        lengths = [a.middle(a.sqrt(a.dot(c, c))) for c in ([a.middle(v) for v in column] for column in columns)]
        unit = [[v / length for v in column] for column, length in zip(columns, lengths)]
        E, F = _off_identity(a, unit), _off_identity(a, V)
        left = 0.0
        if rank < len(T[0]):
            kept = a.product(C, V)
            shortest = min(lengths)
            left = _norm(a, [[(t - u) / shortest for t, u in zip(*rows)] for rows in zip(T, kept)])
    except ZeroDivisionError:
        return [], math.inf
    if not (E < 0.5 and F < 0.5):
        return [], math.inf
    logs = sorted((a.to_float(a.log(d)) for d in lengths), reverse=True)
    rounding = max(map(math.ulp, logs))  # of a logarithm to float64
    return logs, math.expm1(max(math.log1p(E) - math.log1p(-F), math.log1p(F) - math.log1p(-E)) / 2) + left + rounding
