"""The tanh network's losses in mpmath, from the equations, and derivatives of them by differences at 256 bits.

Shares no code with the package: differences with a step of 1e-25 leave 50 digits, so a wrong term
cannot hide in their error."""

import mpmath
import numpy as np

PRECISION = 256
STEP = mpmath.mpf(10) ** -25


def matrix(a):
    return mpmath.matrix(np.atleast_2d(a).tolist())


def mean_log_R(W, V, b, x, h, q, t_ons, transient, q_transient):
    """Exponents: W, V, b, q as mpmath matrices, x a list of columns, h a column."""
    total = [mpmath.mpf(0)] * q.cols
    counting = transient + q_transient
    since = 0
    for t, driven in enumerate(x):
        if t >= transient:
            D = W * mpmath.diag([mpmath.sech(v) ** 2 for v in h])
            q = D * q
            since += 1
            if since == t_ons or t + 1 in (counting, len(x)):
                q, log_R = gram_schmidt(q)
                since = 0
                if t >= counting:
                    total = [a + r for a, r in zip(total, log_R)]
        h = W * h.apply(mpmath.tanh) + (V * driven if V.cols else 0 * h) + b
    return [a / (len(x) - counting) for a in total]


def gram_schmidt(q):
    columns, log_R = [], []
    for j in range(q.cols):
        column = q[:, j]
        for other in columns:
            column = column - (other.T * column)[0] * other
        length = mpmath.norm(column)
        columns.append(column / length)
        log_R.append(mpmath.log(length))
    return mpmath.matrix([[c[i] for c in columns] for i in range(q.rows)]), log_R


def task_loss(W, V, b, W_out, b_out, h0, x, y, first, loss):
    """x[t][i] and y[t][i] are columns of sequence i."""
    total, count = mpmath.mpf(0), 0
    for i in range(len(x[0])):
        h = h0
        for t in range(len(x)):
            h = W * h.apply(mpmath.tanh) + (V * x[t][i] if V.cols else 0 * h) + b
            if t < first:
                continue
            for z, wanted in zip(W_out * h + b_out, y[t][i]):
                total += (
                    (z - wanted) ** 2
                    if loss == "mse"
                    else mpmath.log(1 + mpmath.exp(z)) - wanted * z
                )
                count += 1
    return total / count


def gradients(value, arrays):
    """Central differences of value(*mpmath matrices) in every entry of every float64 array."""
    with mpmath.workprec(PRECISION):
        exact = [
            matrix(a if a.ndim == 2 else a[:, None]) if a.size else mpmath.matrix(len(a), 0)
            for a in arrays
        ]
        result = []
        for which, a in enumerate(arrays):
            gradient = np.empty(a.size)
            for entry in range(a.size):
                index = divmod(entry, exact[which].cols)
                ends = []
                for sign in (1, -1):
                    moved = exact[which].copy()
                    moved[index] += sign * STEP
                    ends.append(value(*exact[:which], moved, *exact[which + 1 :]))
                gradient[entry] = float((ends[0] - ends[1]) / (2 * STEP))
            result.append(gradient.reshape(a.shape))
        return result
