"""Break one term of the code at a time: the test suite must notice each.

    python -m validation.mutations [--record FILE] [word ...]

Copies package and tests aside, applies one change, runs the numerical tests until the first failure, and prints
whether there was one: for a cell its own tests (those whose name has the cell's), for arbitrary precision, runs, networks from elsewhere and the command line
theirs, for all else those of the tanh network and of what is about no cell.
With words, only mutations whose file or text contains one of them. Each result is written to a record at once, so that a
second call goes on where the first was stopped; a mutation is run again where its file, or the test that noticed it, has
changed since. Exit code 1 if a change goes unnoticed. One takes about a minute, mostly for compiling the kernels of the copy, which
are shared between changes to files without kernels; all of them take some four hours on two cores. Without words and record, all
tests run once on unbroken code before.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parent.parent
RECORD = Path(__file__).with_suffix(".jsonl")
TESTS = "elementary views lapack products team qr cells driven flossing_gradient bptt adam schedule spectrum trajectory interval error_bars dimension rounding rank graded growth resolution tape vectors overlaps ensemble tasks training penalties penalties_in_training layers leaky closed_loop lengths continuation finite_time product_spectrum reach".split()
# tests that are about a file, and come first
NEAREST = {
    **dict.fromkeys(
        ("additive", "tanh", "relu", "linear", "lstm", "gru", "gates"),
        ("cells", "flossing_gradient", "bptt"),
    ),
    "driven": ("driven", "cells"),
    "joint": ("driven", "closed_loop"),
    "closed_loop": ("closed_loop", "driven"),
    **dict.fromkeys(("graded", "double_double", "modular"), ("graded", "growth", "rank")),
    **dict.fromkeys(
        ("growth", "rank", "resolution"),
        ("growth", "rank", "continuation", "resolution", "flossing_gradient"),
    ),
    **dict.fromkeys(
        ("error_bars", "dimension", "rounding", "spectrum", "measured"),
        ("error_bars", "dimension", "rounding", "spectrum", "lengths", "layers"),
    ),
    **dict.fromkeys(
        ("course", "until", "measured"), ("continuation", "spectrum", "layers", "rounding")
    ),
    "rows": ("rows",),
    "spectrum": ("spectrum", "resumable", "continuation"),
    "finite_time": ("finite_time",),
    **dict.fromkeys(("matrix_free", "given"), ("product_spectrum",)),
    "reach": ("reach",),
    "certificate": ("certificate",),
    "stillness": ("stillness",),
    **dict.fromkeys(
        ("flossing_loss", "pullback", "tape"), ("flossing_gradient", "tape", "resolution")
    ),
    **dict.fromkeys(
        ("qr", "panels", "cholesky_qr", "gram_schmidt", "householder", "stacks", "qr_pullback"),
        ("qr", "flossing_gradient"),
    ),
    **dict.fromkeys(
        ("team", "pool", "products", "tiles", "registers", "by_address"), ("products", "team")
    ),
    **dict.fromkeys(("training", "flossing", "descent"), ("training", "bptt")),
    **dict.fromkeys(
        ("one_step", "spectral_radius", "penalty", "term", "history"),
        ("penalties", "penalties_in_training"),
    ),
    **dict.fromkeys(("bptt", "sequences"), ("bptt",)),
    "adam": ("adam",),
    "optimizer": ("resume", "training"),
    "tasks": ("tasks",),
    "schedule": ("schedule", "spectrum", "tape"),
    "sweep": ("rank", "growth", "spectrum", "tape"),
    "ensemble": ("ensemble",),
    "interval": ("interval",),
    "stopping": ("stopping",),
    **dict.fromkeys(("triangular", "coefficients", "vectors"), ("vectors",)),
    "overlaps": ("overlaps",),
    "layers": ("layers",),
    "padding": ("lengths",),
    **dict.fromkeys(("leaky", "elman", "rate", "gru_reset_before"), ("leaky", "driven", "cells")),
    **dict.fromkeys(("jit", "cache", "outside", "blas", "forks"), ("jit",)),
    **dict.fromkeys(("compiling", "signals"), ("compiling", "signals", "jit")),
}
KERNELS = re.compile(r"\b(jit|implement|overload|intrinsic)\b")
STAMP = "def _package_stamp() -> str:\n"
TOO_LONG = 900  # seconds, for tests that a broken term keeps from ending
SWEEPS = ("grid", "recipe", "sweep", "master", "pools", "sweep_folder", "worker", "collect")
CELLS = {
    "relu": "ReluRNN",
    "linear": "LinearRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "gru_reset_before": "GRUResetBefore",
}

# file, what stands there (once), what to put instead
MUTATIONS = [
    # the step and its tangent
    ("cells/additive.py", "h_next[i, u] = cell.b[u]", "h_next[i, u] = 0.0"),
    ("cells/additive.py", "gemm(x, False, turned.V, False, 1.0, 1.0, h_next)", "pass"),
    ("cells/additive.py", "gemm(window(record, 0, len(h), 0, n), False, turned.W, False, 1.0, 1.0, h_next)", "pass"),
    ("cells/additive.py", "scaled[j, i] = slope[i] * Q[j, i]", "scaled[j, i] = Q[j, i]"),
    ("cells/additive.py", "gemm(work, False, turned.W, False, 1.0, 0.0, Q_next)", "gemm(work, False, cell.W, False, 1.0, 0.0, Q_next)"),
    ("cells/additive.py", "D[:] = cell.W * slope", "D[:] = (cell.W.T * slope).T"),
    # pullback of the step
    ("cells/additive.py", "h_bar[i, u] *= slope[u]", "pass"),
    ("cells/additive.py", "gemm(h_next_bar, False, cell.W, False, 1.0, 0.0, h_bar)", "gemm(h_next_bar, False, cell.W, True, 1.0, 0.0, h_bar)"),
    # pullback of the tangent
    ("cells/additive.py", "(Q_bar[j, i] * work[j, i])", "(Q_bar[j, i] * Q[j, i])"),
    ("cells/additive.py", "Q_bar[j, i] *= slope[i]", "pass"),
    ("cells/additive.py", "gemm(Q_next_bar, False, cell.W, False, 1.0, 0.0, Q_bar)", "gemm(Q_next_bar, False, turned.W, False, 1.0, 0.0, Q_bar)"),
    ("cells/additive.py", "h_bar[i] += bend(", "h_bar[i] -= bend("),
    ("cells/additive.py", "h_bar[i] += bend(", "h_bar[i] = bend("),
    ("cells/tanh.py", "return -(value + value)", "return -value"),
    ("cells/tanh.py", "return -(value + value)", "return 0.0"),
    ("cells/relu.py", "return 0.0", "return 1.0"),
    ("cells/relu.py", "h[i] >= 0", "h[i] > 0"),
    ("cells/relu.py", "slope[i] = 1.0 if active else 0.0", "slope[i] = 1.0"),
    ("cells/relu.py", "value[i] = h[i] if active else 0.0", "value[i] = h[i]"),
    ("cells/linear.py", "return 0.0", "return 1.0"),
    ("cells/linear.py", "slope[:] = 1.0", "slope[:] = 2.0"),
    # parameters
    ("cells/additive.py", "gemm(h_next_bar, True, value, False, 1.0, 1.0, gradient.W)", "pass"),
    ("cells/additive.py", "len(h_next_bar), 0, n)", "len(h_next_bar), n, 2 * n)"),
    ("cells/additive.py", "gemm(h_next_bar, True, as_matrix(x), False, 1.0, 1.0, gradient.V)", "pass"),
    ("cells/additive.py", "add_rows(h_next_bar, gradient.b)", "pass"),
    ("cells/additive.py", "gemm(as_matrix(Q_next_bar), True, as_matrix(tangent_work), False, 1.0, 1.0, gradient.W)", "pass"),
    # LSTM
    ("cells/lstm.py", "repeat(cell.b.reshape(4 * n), a)", "a[:] = 0.0"),
    ("cells/lstm.py", "second=7 * n", "second=8 * n"),
    ("learning/sequences.py", "copy(window(record, 0, len(record), 0, kept.shape[1]), kept)", "pass"),
    ("cells/lstm.py", "gemm(x, False, turned.V, False, 1.0, 1.0, a)", "pass"),
    ("cells/lstm.py", "alpha[0, u] = g[u] * i_slope", "alpha[0, u] = i_slope"),
    ("cells/lstm.py", "alpha[1, u] = c[u] * f_slope[u]", "alpha[1, u] = f_slope[u]"),
    ("cells/lstm.py", "alpha[2, u] = i[u] * g_slope", "alpha[2, u] = g_slope"),
    ("cells/lstm.py", "alpha[3, u] = t[u] * s_o_slope[u]", "alpha[3, u] = s_o_slope[u]"),
    ("cells/lstm.py", "i_slope_g_slope[u] = i_slope * g_slope", "i_slope_g_slope[u] = i_slope"),
    ("cells/lstm.py", "s_o_slope[u] *= rho[u]", "pass"),
    ("cells/lstm.py", "rho[u] *= o[u]", "pass"),
    ("cells/lstm.py", "q_c = f[u] * Q[j, n + u] +", "q_c = Q[j, n + u] +"),
    ("cells/lstm.py", "Q_next[j, u] = alpha[3, u] * p[3, u] + rho[u] * q_c", "Q_next[j, u] = alpha[3, u] * p[3, u]"),
    ("cells/lstm.py", "c_next_bar = h_next_bar[r, n + u] + rho[u] * h_next_bar[r, u]", "c_next_bar = h_next_bar[r, n + u]"),
    ("cells/lstm.py", "a_bar[0, u] = alpha[0, u] * c_next_bar", "a_bar[0, u] = 0.0"),
    ("cells/lstm.py", "a_bar[1, u] = alpha[1, u] * c_next_bar", "a_bar[1, u] = 0.0"),
    ("cells/lstm.py", "a_bar[2, u] = alpha[2, u] * c_next_bar", "a_bar[2, u] = 0.0"),
    ("cells/lstm.py", "a_bar[3, u] = alpha[3, u] * h_next_bar[r, u]", "a_bar[3, u] = 0.0"),
    ("cells/lstm.py", "h_bar[r, n + u] = f[u] * c_next_bar", "h_bar[r, n + u] = c_next_bar"),
    ("cells/lstm.py", "gemm(a_bar, False, as_matrix(cell.W), False, 1.0, 0.0, units_bar)", "h_bar[:, :n] = 0.0"),
    ("cells/lstm.py", "w[u] = v_c[u] + rho[u] * v[u]", "w[u] = v_c[u]"),
    ("cells/lstm.py", "v[u] * (s_o_slope[u] * p_o[u] - (t[u] + t[u]) * rho[u] * q_c_next[u])", "v[u] * s_o_slope[u] * p_o[u]"),
    ("cells/lstm.py", "(s_o_slope[u] * p_o[u] - (t", "(-(t"),
    ("cells/lstm.py", "(c_next_bar[u] + (1 - 2 * i[u]) * w[u] * p_i[u])", "c_next_bar[u]"),
    ("cells/lstm.py", "(c_next_bar[u] + (1 - 2 * i[u]) * w[u] * p_i[u])", "((1 - 2 * i[u]) * w[u] * p_i[u])"),
    ("cells/lstm.py", "second + i_slope_g_slope[u] * w[u] * p_g[u]", "second"),
    ("cells/lstm.py", "(c_next_bar[u] + (1 - 2 * f[u]) * w[u] * p_f[u])", "c_next_bar[u]"),
    ("cells/lstm.py", "(c_next_bar[u] + (1 - 2 * f[u]) * w[u] * p_f[u])", "((1 - 2 * f[u]) * w[u] * p_f[u])"),
    ("cells/lstm.py", "second + f_slope[u] * w[u] * q_c[u]", "second"),
    ("cells/lstm.py", "(c_next_bar[u] - 2 * g[u] * w[u] * p_g[u])", "c_next_bar[u]"),
    ("cells/lstm.py", "(c_next_bar[u] - 2 * g[u] * w[u] * p_g[u])", "(-2 * g[u] * w[u] * p_g[u])"),
    ("cells/lstm.py", "second + i_slope_g_slope[u] * w[u] * p_i[u]", "second"),
    ("cells/lstm.py", "alpha[3, u] * (1 - 2 * o[u]) * p_o[u] + s_o_slope[u] * q_c_next[u]", "s_o_slope[u] * q_c_next[u]"),
    ("cells/lstm.py", "alpha[3, u] * (1 - 2 * o[u]) * p_o[u] + s_o_slope[u] * q_c_next[u]", "alpha[3, u] * (1 - 2 * o[u]) * p_o[u]"),
    ("cells/lstm.py", "f[u] * c_next_bar[u] + f_slope[u] * w[u] * p_f[u]", "f_slope[u] * w[u] * p_f[u]"),
    ("cells/lstm.py", "f[u] * c_next_bar[u] + f_slope[u] * w[u] * p_f[u]", "f[u] * c_next_bar[u]"),
    ("cells/lstm.py", "p[gate, u] = alpha[gate, u] * w[u]", "p[gate, u] = alpha[0, u] * w[u]"),
    ("cells/lstm.py", "p_o[u] = alpha[3, u] * v[u]", "p_o[u] = 0.0"),
    ("cells/lstm.py", "q_c_bar[u] = f[u] * w[u]", "q_c_bar[u] = w[u]"),
    ("cells/lstm.py", "gemm(work, False, W, False, 1.0, 0.0, window(Q_bar, 0, len(Q), 0, n))", "Q_bar[:, :n] = 0.0"),
    ("cells/lstm.py", "gemm(through_second, False, W, False, 1.0, 1.0, h_bar[:n].reshape(1, n))", "pass"),
    ("cells/lstm.py", "step_work[: 4 * n] += through_second[0]", "pass"),
    ("cells/lstm.py", "a_bar[:] = 0.0", "pass"),
    ("cells/lstm.py", "gemm(a_bar, True, window(h, 0, len(h), 0, n), False, 1.0, 1.0, W_bar)", "pass"),
    ("cells/lstm.py", "gemm(a_bar, True, as_matrix(x), False, 1.0, 1.0, as_matrix(gradient.V))", "pass"),
    ("cells/lstm.py", "add_rows(a_bar, gradient.b.reshape(4 * n))", "pass"),
    ("cells/lstm.py", "gemm(as_matrix(tangent_work), True, window(Q, 0, len(Q), 0, n), False, 1.0, 1.0, W_bar)", "pass"),
    ("cells/lstm.py", "D[u, n + u] = rho[u] * f[u]", "D[u, n + u] = rho[u]"),
    ("cells/lstm.py", " + rho[u] * D[n + u, v]", ""),
    ("cells/lstm.py", "W[1] = 0.0", "pass"),
    # tangents of the input
    ("cells/driven.py", "gemm(X, False, turned_V, False, 1.0, 1.0, p)", "pass"),
    ("cells/driven.py", "gemm(p_bar, False, V, False, 1.0, 0.0, X_bar)", "X_bar[:] = 0.0"),
    ("cells/additive.py", "gemm(as_matrix(Q_next_bar), True, as_matrix(X), False, 1.0, 1.0, gradient.V)", "pass"),
    ("cells/leaky.py", "add_driven(X, turned.V, p)", "pass"),
    ("cells/gru.py", "gemm(X, False, V_new, False, 1.0, 0.0, window(work, 0, k, 3 * n, 4 * n))", "gemm(X, False, V_new, False, 1.0, 1.0, window(work, 0, k, 2 * n, 3 * n))"),
    ("cells/gru.py", "d[u] += new_slope[u] * p[3, u]", "pass"),
    ("cells/gru.py", "p[3, u] = new_slope[u] * w[u]", "p[3, u] = kappa_n[u] * w[u]"),
    ("cells/gru_reset_before.py", "add_driven(X, V_gates, gates)", "pass"),
    ("cells/gru_reset_before.py", "add_driven(X, V_new, p_new)", "pass"),
    # GRU
    ("cells/gru.py", "y[u] += cell.b_n[u]", "pass"),
    # sequences of different lengths
    ("lyapunov/padding.py", "batch[behind[: len(batch), : batch.shape[1]]] = 0", "pass"),
    ("lyapunov/problem.py", "x, plan = x[:steps], plan.of_length(steps)", "x, plan = x[:steps], self.plan"),
    ("lyapunov/problem.py", "if self.lengths is None else self.lengths\n        return steps", "if True else self.lengths\n        return steps"),
    ("lyapunov/flossing_loss.py", "else counted.sum()", "else counted.max() * batch"),
    ("lyapunov/measured.py", "bars = bars.times(np.sqrt(len(groups) / len(np.unique(groups))))", "pass"),
    ("lyapunov/measured.py", "bars = error_bars(rates, steps, nothing, nats, rounding, exchange)", "bars = error_bars(rates, steps, nothing, nats, rounding, exchange).times(0.3)"),
    ("learning/sequences.py", "if t >= ends[i]:", "if t > ends[i]:"),
    ("learning/sequences.py", "        _forget(states[t + 1], t, work.ends[p])\n", ""),
    ("learning/bptt.py", "int(np.maximum(lengths - first, 0).sum()) * y.shape[2]", "y[first:].size"),
    # cells made of cells
    ("cells/joint.py", "    _add(driving_bar, below_next_bar, first)\n", ""),
    ("cells/joint.py", "    _add(moved_bar, below_next_bar, first)\n", ""),
    ("cells/joint.py", "next_bar[first + i] += driving_bar[i] - driving_before[i]", "pass"),
    ("cells/joint.py", "h_bar[i] += bar[0, i] - before[i]", "h_bar[i] += bar[0, i]"),
    ("cells/joint.py", "return lambda cell: len(cell.below.state)", "return lambda cell: 0"),
    ("cells/joint.py", "accumulate_driven(cell.upper, moved, above_next_bar, above_work, gradient.upper)", "pass"),
    ("cells/closed_loop.py", "z[i, o] = cell.b_out[o]", "z[i, o] = 0.0"),
    ("cells/closed_loop.py", "        put(X, Z, outputs)\n", "        pass\n"),
    ("cells/closed_loop.py", "    _pull_output_back(cell, z_bar, h_bar)\n", ""),
    ("cells/closed_loop.py", "    _pull_output_back(cell, Z_bar, Q_bar)\n", ""),
    ("cells/closed_loop.py", "change[0, i] -= before[i]", "pass"),
    ("cells/closed_loop.py", "before[i] += change[0, i]", "pass"),
    ("cells/closed_loop.py", "gemm(Z_bar, True, moved, False, 1.0, 1.0, gradient.W_out)", "pass"),
    ("cells/closed_loop.py", "accumulate_driven(cell.cell, Z, Q_next_bar, within, gradient.cell)", "pass"),
    ("learning/closed_loop.py", "b=cell.b + fed @ model.b_out", "b=cell.b"),
    ("precision/cells.py", "[row[1:] for row in said] + outside", "[[0 * q for q in row[1:]] for row in said] + outside"),
    ("cells/gru.py", "e[u] = driven_n[u] + r[u] * y[u]", "e[u] = driven_n[u] + y[u]"),
    ("cells/gru.py", "kappa_r[u] = new_slope[u] * y_r_slope[u]", "kappa_r[u] = y_r_slope[u]"),
    ("cells/gru.py", "alpha_z[u] = (h[b, u] - new[u]) * z_slope[u]", "alpha_z[u] = h[b, u] * z_slope[u]"),
    ("cells/gru.py", "kappa_n[u] = new_slope[u] * r[u]", "kappa_n[u] = new_slope[u]"),
    ("cells/gru.py", "new_slope_r_slope[u] *= new_slope[u]", "pass"),
    ("cells/gru.py", "Q_next[j, u] = z[u] * Q[j, u] + alpha_z[u] * p[1, u]", "Q_next[j, u] = z[u] * Q[j, u]"),
    ("cells/gru.py", "a_bar[0, u] = kappa_r[u] * new_bar", "a_bar[0, u] = 0.0"),
    ("cells/gru.py", "a_bar[1, u] = alpha_z[u] * h_next_bar[b, u]", "a_bar[1, u] = 0.0"),
    ("cells/gru.py", "a_bar[2, u] = kappa_n[u] * new_bar", "a_bar[2, u] = 0.0"),
    ("cells/gru.py", "a_bar[3, u] = new_slope[u] * new_bar", "a_bar[3, u] = 0.0"),
    ("cells/gru.py", "h_bar[b, u] = z[u] * h_next_bar[b, u]", "h_bar[b, u] = 0.0"),
    ("cells/gru.py", " - new_slope[u] * z_slope[u] * v[u] * p_z[u]", ""),
    ("cells/gru.py", "-2 * new[u] * w[u] * d[u] - new", "-new"),
    ("cells/gru.py", "y_r_slope[u] * e_bar[u] + w[u] * second", "w[u] * second"),
    ("cells/gru.py", "kappa_r[u] * (1 - 2 * r[u]) * p_r[u] + new_slope_r_slope[u] * p_n[u]", "kappa_r[u] * (1 - 2 * r[u]) * p_r[u]"),
    ("cells/gru.py", "kappa_r[u] * (1 - 2 * r[u]) * p_r[u] + new_slope_r_slope[u] * p_n[u]", "new_slope_r_slope[u] * p_n[u]"),
    ("cells/gru.py", "z_slope[u] * (q[u] - d[u])", "z_slope[u] * q[u]"),
    ("cells/gru.py", "z_slope[u] * (q[u] - d[u]) + ", ""),
    ("cells/gru.py", " + alpha_z[u] * (1 - 2 * z[u]) * p_z[u]", ""),
    ("cells/gru.py", "r[u] * e_bar[u] + w[u] * new_slope_r_slope[u] * p_r[u]", "r[u] * e_bar[u]"),
    ("cells/gru.py", "r[u] * e_bar[u] + w[u] * new_slope_r_slope[u] * p_r[u]", "w[u] * new_slope_r_slope[u] * p_r[u]"),
    ("cells/gru.py", "step_e_bar[u] += e_bar[u]", "pass"),
    ("cells/gru.py", "h_bar[u] += z_slope[u] * v[u] * p_z[u]", "pass"),
    ("cells/gru.py", "p_r[u] = kappa_r[u] * w[u]", "p_r[u] = 0.0"),
    ("cells/gru.py", "p_z[u] = alpha_z[u] * v[u]", "p_z[u] = 0.0"),
    ("cells/gru.py", "p_n[u] = kappa_n[u] * w[u]", "p_n[u] = 0.0"),
    ("cells/gru.py", "q_bar[u] = z[u] * v[u]", "q_bar[u] = 0.0"),
    ("cells/gru.py", "gemm(through_second, False, W, False, 1.0, 1.0, h_bar.reshape(1, n))", "pass"),
    ("cells/gru.py", "step_work[: 3 * n] += through_second[0]", "pass"),
    ("cells/gru.py", "gemm(gates, True, x, False, 1.0, 1.0, window(V_bar, 0, 2 * n))", "pass"),
    ("cells/gru.py", "gemm(e_bar, True, x, False, 1.0, 1.0, window(V_bar, 2 * n, 3 * n))", "pass"),
    ("cells/gru.py", "add_rows(through_V, b_bar[: 2 * n])", "pass"),
    ("cells/gru.py", "add_rows(within, gradient.b_n)", "pass"),
    ("cells/gru.py", "add_rows(step_bar, b_bar[2 * n :])", "pass"),
    ("cells/gru.py", "D[u, u] += z[u]", "pass"),
    ("cells/gates.py", "gains = rng.random((2, gates, 1, 1))", "gains = rng.random((2, 1, 1, 1))"),
    # QR and its pullback
    ("linalg/householder.py", "if L[i, i] < 0:", "if False:"),
    ("linalg/householder.py", "L[j, i] = -L[j, i]", "pass"),
    ("linalg/householder.py", "Q[i, j] = -Q[i, j]", "pass"),
    ("linalg/householder.py", "L[j, j + 1 :] = 0.0", "pass"),
    ("linalg/cholesky_qr.py", "L[i, i + 1 : stop] = 0.0", "pass"),
    ("linalg/qr.py", "if not new > resolution * noise:", "if not new > resolution:"),
    ("linalg/qr.py", "return n * float(np.finfo(dtype).eps)", "return 1e-3 * float(np.finfo(dtype).eps)"),
    ("linalg/cholesky_qr.py", "gemm(along, False, before, False, -1.0, 1.0, P)", "pass"),
    ("linalg/cholesky_qr.py", "if lost <= DEFECT:\n            defect = max", "if True:\n            defect = max"),
    ("linalg/cholesky_qr.py", "return np.sqrt(total / len(signs))", "return 0.0"),
    ("linalg/cholesky_qr.py", "_project(together, window(Q, 0, first), window(F, first, last, 0, first))", "pass"),
    ("linalg/qr_pullback.py", "gemm(along, True, together, False, -1.0, 1.0, window(Q_bar, 0, first))", "pass"),
    ("_engine/team.py", "while load(DONE) < parts:", "while False:"),
    ("_engine/team.py", "or not swap(BUSY, 0, 1)", ""),
    ("_engine/team.py", "if swap(WORD, word, word + 1 if helps else word - MAX_PARTS):", "swap(WORD, word, word + 1 if helps else word - MAX_PARTS)\n    if True:"),
    ("_engine/team.py", "first if helps else behind - 1", "behind - 1"),
    ("_engine/team.py", "if first == behind:", "if first >= behind - 1:"),
    ("linalg/products.py", "stop = min(first + columns, C.shape[1])", "stop = C.shape[1]"),
    ("_engine/pool.py", "helper for helper in _helpers if helper.is_alive()", ""),
    ("_engine/team.py", "while rests < RESTS:", "while True:"),
    ("linalg/cholesky_qr.py", "if not amplification <= AMPLIFICATION:", "if False:"),
    ("linalg/qr.py", "if not SHORTEST < lengths[j] < LONGEST:", "if False:"),
    ("linalg/cholesky_qr.py", "gemm(L_own, False, again, False, 1.0, 1.0, along)", "pass"),
    ("linalg/cholesky_qr.py", "copy(product, L_own)", "pass"),
    ("linalg/cholesky_qr.py", "copy(product, F_own)", "pass"),
    ("linalg/qr.py", "by_householder(block, double_Q, work.L, work.reflectors)\n        solve(work.L, double_F)", "by_householder(block, double_Q, work.L, work.reflectors)"),
    ("linalg/qr.py", "by_rows(block, double_Q, work.L, work.lengths):\n            solve(work.L, double_F)", "by_rows(block, double_Q, work.L, work.lengths):\n            pass"),
    ("linalg/gram_schmidt.py", "L[i, j] += along", "L[i, j] = along"),
    ("linalg/gram_schmidt.py", "if not length > ENOUGH * lengths[i]:", "if False:"),
    ("linalg/gram_schmidt.py", "return False", "pass"),
    ("linalg/gram_schmidt.py", "L[i, :i] = 0.0", "pass"),
    ("linalg/qr.py", "_rounded(double_F, F)", "pass"),
    ("linalg/products.py", "beta = C.dtype.type(1.0)", "pass"),
    ("linalg/products.py", "edge[r, v] = C[top + r, j + v]", "edge[r, v] = 0.0"),
    ("linalg/products.py", "for r in range(i - top, rows):\n                for v in range(across):\n                    C", "for r in range(rows):\n                for v in range(across):\n                    C"),
    ("linalg/products.py", "depth - 1) if part == UPPER_FACTOR", "depth) if part == UPPER_FACTOR"),
    ("linalg/products.py", "min(depth, i + rows - start) if", "min(depth, i - start) if"),
    ("linalg/products.py", "j // few * few if", "(j // few + 1) * few if"),
    ("linalg/products.py", "p = min(q, depth - 4)", "p = q"),
    ("linalg/products.py", " and C.strides[1] == C.itemsize", ""),
    ("linalg/products.py", "if transpose_B or spread or (width % lanes != 0 and not MASKS):", "if transpose_B or spread:"),
    ("linalg/tiles.py", "code.multiply_add(betas, before, result)", "result"),
    ("linalg/tiles.py", "code.load(code.vector, right, beside, mask=mask)", "code.load(code.vector, right, beside)"),
    ("linalg/tiles.py", "before = code.load(code.vector, *place, mask=mask)", "before = code.load(code.vector, *place)"),
    ("linalg/tiles.py", "code.store(result, *place, mask=mask)", "code.store(result, *place)"),
    ("_engine/registers.py", ")) == 1:", ")) >= 1:"),
    ("_engine/registers.py", "return 32 if", "return 16 if"),
    ("linalg/products.py", "up_to = (top + rows - j + lanes - 1)", "up_to = (top + rows - j - 1)"),
    ("linalg/products.py", "if part == LOWER_FACTOR else depth", "if part >= LOWER_FACTOR else depth"),
    ("linalg/products.py", "A, B, C, m, n = B, A, C.T, n, m", "A, B, C, m, n = B, A, C, n, m"),
    ("linalg/qr_pullback.py", "Q, True, -1.0, 1.0, M,", "Q, True, 1.0, 1.0, M,"),
    ("linalg/qr_pullback.py", "gemm_part(Q_bar, False, Q, True", "gemm_part(Q, False, Q_bar, True"),
    ("linalg/qr_pullback.py", "gemm(M, False, Q, False, 1.0, 1.0, Q_bar)", "pass"),
    ("linalg/qr_pullback.py", "M[j, i] = M[i, j]", "pass"),
    ("linalg/qr_pullback.py", "-1.0,\n            1.0,\n            window(Q_bar, first, start),", "0.0,\n            1.0,\n            window(Q_bar, first, start),"),
    ("linalg/qr_pullback.py", "M[i, i] = g[i]", "pass"),
    ("linalg/stacks.py", "gemm(L, True, L_bar, False, 1.0, 0.0, M)", "gemm(L, False, L_bar, True, 1.0, 0.0, M)"),
    # time
    ("lyapunov/sweep.py", "tally.log_growth[row, i] += np.log(work.qr.L[i, i])", "tally.log_growth[row, i] += 0.5 * np.log(work.qr.L[i, i])"),
    ("lyapunov/schedule.py", "transient + before, counting + counted", "transient + before[:0], counting + counted"),
    ("lyapunov/schedule.py", "np.minimum(np.arange(longest, steps + longest, longest), steps)", "np.arange(longest, steps + 1, longest)"),
    ("lyapunov/sweep.py", "if not all_finite(h_next):", "if False:"),
    ("lyapunov/pullback.py", "if f >= 0:", "if False:"),
    ("lyapunov/pullback.py", "copy(bars.states[c], bars.states[chunk])", "pass"),
    ("lyapunov/pullback.py", "copy(bars.block, bars.blocks[c])", "pass"),
    ("lyapunov/pullback.py", "top = c\n", "pass\n"),
    ("lyapunov/pullback.py", "moves = taken if moved else 0", "moves = 0"),
    ("lyapunov/pullback.py", "np.zeros((k, size.state), dtype)", "np.ones((k, size.state), dtype)"),
    ("lyapunov/tape.py", "h0=states, block=block", "h0=states"),
    ("lyapunov/schedule.py", "number - before, -1", "number, -1"),
    ("lyapunov/interval.py", "most - longer.min() > bound", "False"),
    ("lyapunov/pullback.py", "log_R_bar[plan.uncounted :]", "log_R_bar[:]"),
    ("lyapunov/schedule.py", "min(max(self.uncounted - before, 0), after - before)", "self.uncounted"),
    ("lyapunov/flossing_loss.py", "2.0 * pull / steps", "2.0 * pull / counted"),
    ("lyapunov/flossing_loss.py", "off = exponents - self.target", "off = exponents"),
    # what is in doubt
    ("lyapunov/sweep.py", "resolution = max(resolution, float(np.sqrt(np.finfo(given.x.dtype).eps)))", "pass"),
    ("lyapunov/sweep.py", "tally.longest[0] = max(LENGTH_DECAY * tally.longest[0], longest)", "pass"),
    ("lyapunov/sweep.py", "tally.ratio[0] = min(tally.ratio[0], shortest / longest)", "pass"),
    ("lyapunov/sweep.py", "self.t -= since", "pass"),
    ("lyapunov/sweep.py", "self.tally.longest[0] **= 1 / (since + 1)", "self.tally.longest[0] = 0.0"),
    ("lyapunov/sweep.py", "tally.since[0] + 1 < every", "tally.since[0] < every"),
    ("linalg/qr.py", "noise += abs(c[i]) * max(scale, lengths[i])", "pass"),
    ("linalg/qr.py", "c[m] -= c[i] * L[i, m]", "pass"),
    ("lyapunov/growth.py", "max(DOUBT[dtype], rounding(given.size.state, dtype))", "1e-13"),
    ("lyapunov/growth.py", "self.every = self.longest = self.every // 2", "pass"),
    ("lyapunov/growth.py", "self.every, self.changed = min(2 * self.every, self.longest), self.run.t", "pass"),
    ("lyapunov/growth.py", "again = run.t + 1", "again = 0"),
    ("lyapunov/growth.py", "            elif self.given.x.dtype == np.float32:\n                raise _InDoubt if self.from_start else FromTheStart\n", ""),
    ("lyapunov/growth.py", "if growth > LOG_MAX:", "if False:"),
    ("lyapunov/growth.py", "tally.log_growth[row, i] += growth", "tally.log_growth[row, i] += 0.5 * growth"),
    ("lyapunov/growth.py", "np.log1p(error) if error < 1 else UNKNOWN", "0.0"),
    ("lyapunov/growth.py", "growth < largest - UNKNOWN", "False"),
    ("lyapunov/growth.py", "tally.row[0] += plan.factor_after[t] >= 0", "tally.row[0] += 1"),
    ("lyapunov/growth.py", "rows : run.k] = -np.inf", "rows : run.k] = 0.0"),
    ("lyapunov/growth.py", "raise _Dependent(lost)", "pass"),
    ("lyapunov/growth.py", "self.exact.keep(rows)", "pass"),
    ("lyapunov/growth.py", "sure < k and rank < Q.shape[1] and t != settled", "False"),
    ("lyapunov/growth.py", "LOST - sure if rank == sure else MAYBE_LOST", "MAYBE_LOST"),
    # graded factors
    ("linalg/graded.py", "KNOWN * left / abs(M[j, p]) + work.rounding[p]", "KNOWN * left / abs(M[j, p])"),
    ("linalg/graded.py", "max(rest, EPS * work.left[j], math.ldexp(1.0, -1000))", "math.ldexp(1.0, -1000)"),
    ("linalg/graded.py", "        rank = -rank\n", "        pass\n"),
    ("linalg/graded.py", "NOISE * work.left[j]", "EPS * work.left[j]"),
    ("linalg/graded.py", "LOST * terms", "0.0 * terms"),
    ("linalg/graded.py", "SCALE = 1000", "SCALE = 1"),
    ("linalg/graded.py", "if work.largest[i] > work.largest[p]:", "if False:"),
    ("linalg/graded.py", "if abs(A[p, c]) > abs(A[p, q]):", "if False:"),
    ("linalg/graded.py", "Q[j, c] = -Q[j, c]", "pass"),
    ("linalg/graded.py", "math.frexp(pivot * work.qr.L[j, j])", "math.frexp(pivot)"),
    ("linalg/graded.py", "product[j, c] += factor * A[m, c]", "pass"),
    ("linalg/graded.py", "M[j, m] /= pivot", "pass"),
    ("linalg/graded.py", "n * rest < NEGLIGIBLE * shortest", "True"),
    ("linalg/graded.py", "stop = min(n, 4 * stop)", "break"),
    ("linalg/double_double.py", "error = fma(a_low, b, fma(a, b_low, fma(a, b, -product)))", "error = 0.0"),
    ("linalg/double_double.py", "rest += c_low - error", "rest += c_low"),
    ("linalg/double_double.py", "second = (fma(-first, b, a) + (a_low - first * b_low)) / b", "second = 0.0"),
    # exact ranks
    ("linalg/modular.py", "row[j] = _reduce(row[j])", "pass"),
    ("linalg/modular.py", "return fma(-multiple, PRIME, high) + low", "return fma(-multiple, PRIME, high)"),
    ("linalg/modular.py", "max(math.frexp(number)[1], _SMALLEST + 53)", "math.frexp(number)[1]"),
    ("linalg/modular.py", "A[i, c] = _reduce(A[i, c])", "pass"),
    ("linalg/modular.py", "inverse = -_reciprocal(row[pivot])", "inverse = _reciprocal(row[pivot])"),
    ("lyapunov/rank.py", "if t < drive.plan.transient:", "if False:"),
    ("lyapunov/rank.py", "copy(h_next, h)", "pass"),
    ("lyapunov/rank.py", "copy(block_next, block)", "pass"),
    # what floating-point numbers carry back
    ("lyapunov/resolution.py", "float(np.linalg.norm(work.DT, 2)) * resolution(size.state, given.x.dtype)", "0.0"),
    ("lyapunov/resolution.py", "noise * (1 + float(np.abs(c).sum()))", "noise"),
    ("lyapunov/resolution.py", "max(rounding(n, dtype), KNOWN)", "rounding(n, dtype)"),
    ("lyapunov/resolution.py", "LOG_R_TOLERANCE = 2e-5", "LOG_R_TOLERANCE = 2e5"),
    ("lyapunov/resolution.py", "if not (np.isfinite(work.DT).all() and np.isfinite(moved).all()):", "if False:"),
    ("lyapunov/resolution.py", "            k = lower.rank\n", "            k = 0\n"),
    ("lyapunov/tape.py", "if given.plan.t_ons > 1:", "if False:"),
    # covariant vectors
    ("linalg/triangular.py", "gemm(new, False, along, False, -1.0, 1.0, window(B, start, k, 0, start))", "pass"),
    ("linalg/triangular.py", "range(panels(k) - 1, -1, -1)", "range(panels(k))"),
    ("lyapunov/coefficients.py", "growth[i] = -np.log(length)", "growth[i] = np.log(length)"),
    ("lyapunov/coefficients.py", "C[i, j] = moved[i, j] / length", "C[i, j] = moved[i, j]"),
    ("lyapunov/coefficients.py", "counted = before + t", "counted = before + t if before < 0 else t"),
    ("lyapunov/coefficients.py", "for of in (C, other):", "for of in (C,):"),
    ("lyapunov/coefficients.py", "if first > given.plan.transient:", "if False:"),
    ("lyapunov/coefficients.py", "outside = ((other - along @ block) ** 2).sum(axis=1)", "outside = np.zeros(k)"),
    ("lyapunov/coefficients.py", "np.triu(np.cumsum(along**2, axis=0), 1)", "np.triu(along**2, 1)"),
    ("lyapunov/vectors.py", "np.maximum(found.apart, flags_apart(given, checked.first, found.first_block))", "found.apart"),
    ("lyapunov/vectors.py", "if len(growth) < TELLING:", "if True:"),
    ("lyapunov/vectors.py", "np.where(sines < cosines, near,", "np.where(sines < 0, near,"),
    ("lyapunov/vectors.py", "compute_uv=False)[..., ::-1]", "compute_uv=False)"),
    ("learning/overlaps.py", "h0=model.h0, **transients", "**transients"),
    ("learning/overlaps.py", "model._replace(h0=found.states[0])", "model"),
    ("learning/overlaps.py", "np.abs(cosines)", "cosines"),
    ("learning/overlaps.py", "-np.frexp(np.abs(h0_bar).max())[1]", "0"),
    ("learning/overlaps.py", "y[:, :1], first, loss", "y[:, :1], 0, loss"),
    ("learning/training.py", 'stream(seed, "vectors")', 'stream(seed, "test")'),
    ("runs/checkpoint.py", "or any(getattr(one, field.name).size for one in getattr(history, kind))", "or False"),
    ("runs/settings.py", "if f.name in LATER.get(name, ())}", "if False}"),
    # error bars
    ("lyapunov/error_bars.py", "(scipy.special.stdtrit(freedom, scipy.special.ndtr(2.0)) / 2) ** 2", "1.0"),
    ("lyapunov/error_bars.py", "min(WAVES, max(2, (n_qr - 1) // 3))", "max(2, n_qr // 2)"),
    ("lyapunov/error_bars.py", "np.append(0.97,", "np.append(1e-300,"),
    ("lyapunov/error_bars.py", "np.append(0.97, np.full(len(corners), 0.03", "np.append(1.0, np.full(len(corners), 1e-300"),
    ("lyapunov/error_bars.py", "waves.shape[1] / (weight**2).sum()", "waves.shape[1] * 1.0"),
    ("lyapunov/error_bars.py", "np.sqrt(2) * np.cos", "np.cos"),
    ("lyapunov/error_bars.py", "deviation[groups == g].sum(axis=0)", "deviation[groups == g].mean(axis=0)"),
    ("lyapunov/error_bars.py", "np.where(significance < 1e-3, scatter, variance)", "variance"),
    ("lyapunov/error_bars.py", "np.where(significance < 1e-3, scatter, variance)", "scatter"),
    ("lyapunov/error_bars.py", "for means in (rates, together)", "for means in (rates, rates)"),
    ("lyapunov/error_bars.py", "(stretch.longest > n_qr / 10) | few", "few"),
    ("lyapunov/error_bars.py", "few = largest > DOMINANCE * np.minimum(stretch.above, stretch.below)", "few = largest < 0"),
    ("lyapunov/error_bars.py", "np.log2(n_qr * k) + 8", "np.log2(n_qr * k)"),
    ("lyapunov/error_bars.py", "np.maximum(bands, rounding)", "0 * np.maximum(bands, rounding)"),
    ("lyapunov/error_bars.py", "(unknown.mean(axis=0) / total) ** 2", "unknown.mean(axis=0) / total"),
    ("lyapunov/error_bars.py", "seen.setdefault(x[:, b].tobytes(), len(seen))", "b"),
    ("lyapunov/error_bars.py", "np.where(gained > by_chance, gained, 0.0).max(axis=0)", "gained.max(axis=0)"),
    ("lyapunov/error_bars.py", "gained = np.cumsum(log_R[:, :first].mean(axis=0) - rate * steps[:first, None], axis=0)", "gained = np.zeros((first, k))"),
    ("lyapunov/error_bars.py", "(states[1:] == states[0]).all(axis=2).any(axis=0)", "(states[1:] == states[0]).any(axis=2).any(axis=0)"),
    ("lyapunov/dimension.py", "2 * np.linalg.norm(np.cumsum(errors, axis=1), axis=0) + rounding", "rounding"),
    ("lyapunov/dimension.py", "np.linalg.norm(np.cumsum(errors, axis=1), axis=0) + rounding", "np.linalg.norm(np.cumsum(errors, axis=1), axis=0)"),
    ("lyapunov/dimension.py", "sums[j - 1] / fall**2", "0.0"),
    ("lyapunov/dimension.py", "weight[:] = -1 / ordered[-1]", "pass"),
    ("lyapunov/dimension.py", "deviations[:, positive].sum(axis=1)", "deviations[:, positive]"),
    ("lyapunov/course.py", "same_input(pieces[0].x)", "np.arange(len(pieces[0].h0))"),
    ("lyapunov/measured.py", " + errors * counted[:, None]", ""),
    ("lyapunov/rounding.py", "measured[:, ~of] = 0.0", "pass"),
    ("lyapunov/rounding.py", "size[1:] = size[1:].max(axis=1, keepdims=True)", "pass"),
    ("lyapunov/rounding.py", "np.where(change > SATURATED, np.inf, errors)", "errors"),
    ("lyapunov/rounding.py", "ROUNDINGS * eps / DISTURBANCE * roundings * change / span", "0.0 * change"),
    ("lyapunov/rounding.py", "min(plan.steps - plan.transient, RECENT) // 2", "min(plan.steps - plan.transient, RECENT)"),
    # ensembles
    ("ensemble.py", "if self.reasons[r] is not None:", "if False:"),
    ("learning/descent.py", "before = moments[r]", "before = moments[0]"),
    ("learning/training.py", "self._data(member, size, seed, state.epoch)", "self._data(member, size, seeds[0], state.epoch)"),
    ("learning/training.py", "cells = Members(models.join([member.cell for member in members]), models.reasons)", "cells = Members(models.join([member.cell for member in members]))"),
    # task loss
    ("learning/sequences.py", "slope / number(count)", "slope / number(outputs.size)"),
    ("learning/sequences.py", "member += (self.start + piece) * batch", "member += self.start * batch"),
    ("learning/sequences.py", "self.alive = piece", "pass"),
    ("learning/bptt.py", "np.concatenate(pieces).swapaxes(0, 1)", "np.concatenate(pieces)"),
    ("learning/sequences.py", "if start + t >= ends[i]:", "if False:"),
    ("learning/sequences.py", "first = max(start, unscored)", "first = start"),
    ("learning/sequences.py", "first = max(begin, unscored)", "first = begin"),
    ("learning/sequences.py", "if t >= unscored:", "if True:"),
    ("learning/sequences.py", "copy(work.h_bar[p], bars[end - begin])", "copy(work.h_bar[p], bars[chunk])"),
    ("learning/sequences.py", "segment = -(-segment // chunk) * chunk", "pass"),
    ("learning/sequences.py", "off * off, off + off", "off * off, off"),
    ("learning/sequences.py", "/ (one + decay) - y[t, i, j]", "/ (one + decay)"),
    ("learning/sequences.py", "(one if z >= 0 else decay)", "decay"),
    ("learning/sequences.py", "max(z, zero) - z * y[t, i, j]", "max(z, zero)"),
    ("learning/sequences.py", "outputs[t, i, j] += b_out[j]", "pass"),
    ("learning/sequences.py", "add_rows(outputs_bar, work.gradient.b_out[p])", "pass"),
    ("learning/sequences.py", "1.0,\n                    1.0,\n                    after[:, :units],", "0.0,\n                    1.0,\n                    after[:, :units],"),
    ("learning/sequences.py", "gemm(outputs_bar, True, scored, False, 1.0, 1.0, work.gradient.W_out[p])", "pass"),
    ("learning/sequences.py", "if start == 0:\n        add_rows", "if True:\n        add_rows"),
    ("learning/sequences.py", "one += array", "one[...] = array"),
    ("_engine/views.py", "shape[axis] = builder.sub(behind, first)", "pass"),
    ("_engine/views.py", "builder.mul(first, strides[axis])", "builder.mul(first, strides[0])"),
    ("_engine/views.py", "builder.mul(columns, whole.itemsize)", "cgutils.unpack_tuple(builder, whole.strides)[-2]"),
    ("_engine/by_address.py", "except KeyboardInterrupt:\n                interrupted = True", "except KeyboardInterrupt:\n                pass"),
    ("_engine/compiling.py", "if self._collects:", "if True:"),
    ("_engine/compiling.py", "gc.disable()", "pass"),
    ("_engine/compiling.py", "say, self.say = self.say, None", "say = self.say"),
    ("_engine/compiling.py", "self._spent += time.monotonic() - self._since", "pass"),
    ("runs/signals.py", "if again or compiles_here():", "if again:"),
    ("_engine/blas.py", "if count is not None:\n            library.set_num_threads(count)", "pass"),
    # Adam, elementary functions, streams
    ("learning/adam.py", "correction1 = 1.0 - beta1**step", "correction1 = 1.0"),
    ("learning/adam.py", "correction2 = 1.0 - beta2**step", "correction2 = 1.0"),
    ("learning/adam.py", "if norm > clip_norm", "if False"),
    ("learning/descent.py", "updated, moments[r] = optimizer.update(", "updated, _ = optimizer.update("),
    ("learning/optimizer.py", "if forms[0] != forms[1]:", "if False:"),
    ("linalg/elementary.py", "q * (one - quarter * q)", "q * (one - q)"),
    ("linalg/elementary.py", "r = fma(-n, ln2_low, fma(-n, ln2_high, y))", "r = _fma(-n, ln2_high, y)"),
    ("linalg/elementary.py", "1.0 / math.factorial(p)) for", "(p < 12) / math.factorial(p)) for"),
    ("learning/training.py", 'stream(seed, "data", epoch)', 'stream(seed, "data", 0)'),
    ("learning/training.py", "range(epoch, self.epochs, together)", "range(0, self.epochs, together)"),
    ("learning/training.py", "max(1, STEPS_DRAWN_AT_ONCE // (self.T * self.batch))", "STEPS_DRAWN_AT_ONCE"),
    ("learning/training.py", 'f"flossing before {training_epoch}", epoch', 'f"flossing before {training_epoch}", 0'),
    # rules that end a run
    ("learning/stopping.py", "(means >= self.goal).all()", "(means >= self.goal).any()"),
    ("learning/stopping.py", "means = means[~np.isnan(means)]", "pass"),
    ("learning/stopping.py", 'if record.kind == "training":', 'if record.kind != "flossing":'),
    ("learning/stopping.py", "for record in before:", "for record in ():"),
    # arbitrary precision
    ("precision/cells.py", "return a.tanh(v), a.sech(v) ** 2", "return a.tanh(v), a.sech(v)"),
    ("precision/cells.py", "(v, one) if a.not_negative(v)", "(v, one) if True"),
    ("precision/cells.py", "return value, value * other", "return value, value"),
    ("precision/cells.py", "c = f * memory[u] + i * g", "c = f * memory[u] + g"),
    ("precision/cells.py", "(memory[u] * f_slope, f_T[u])", "(f_slope, f_T[u])"),
    ("precision/cells.py", "(out * o_slope, o_T[u])", "(o_slope, o_T[u])"),
    ("precision/cells.py", "((h[u] - new) * z_slope, to_z[1:])", "((h[u] + new) * z_slope, to_z[1:])"),
    ("precision/cells.py", "(new_slope * inner * r_slope, to_r[1:])", "(new_slope * r_slope, to_r[1:])"),
    ("precision/arithmetic.py", "if not (x >= 0 or x < 0):", "if False:"),
    ("precision/arithmetic.py", "if exponents and max(exponents) - least > WIDEST:", "if False:"),
    ("precision/arithmetic.py", "return x.rad()", "return 0 * x"),
    ("precision/arithmetic.py", "with self.flint.ctx.workprec(bits):", "if True:"),
    ("precision/arithmetic.py", "self.context = mpmath.MPContext()", "self.context = mpmath.mp"),
    ("precision/arithmetic.py", "self.context.prec = before", "pass"),
    ("precision/arithmetic.py", "man << (exp - least) if man", "man if man"),
    ("precision/singular_values.py", "V = _right_vectors(a, T, rank, tell)", "V = _right_vectors(a, T, rank, tell)[::-1]; V[0] = [2 * v for v in V[0]]"),
    ("precision/singular_values.py", "_jacobi(directions, logs)\n", "pass\n"),
    ("precision/singular_values.py", "turned in ((long, u + slope * ratio * ratio * v)", "turned in ((long, u + slope * v)"),
    ("precision/singular_values.py", "row.update(zip(rest, share))", "pass"),
    ("precision/singular_values.py", "if not (E < 0.5 and F < 0.5 and left < 0.5):", "if False:"),
    ("precision/residues.py", 'self.known["exp", -x] = 1 / self._random("exp", x)', 'self._random("exp", x); self._random("exp", -x)'),
    ("precision/residues.py", '{("exp", Residue(0)): Residue(1)}', "{}"),
    ("precision/residues.py", "rows[r] = [(v - factor * p) % PRIME for v, p in zip(row, pivot)]", "pass"),
    ("precision/residues.py", "WIDTH = 17", "WIDTH = 15"),
    ("precision/singular_values.py", "if rank < len(T[0]):", "if False:"),
    ("precision/singular_values.py", "math.log1p(E) - math.log1p(-F)", "0.0"),
    ("precision/products.py", "if widest * a.number(2.0) ** (bits + 8) > largest:", "if False:"),
    ("precision/products.py", "if t < len(states):", "if t == 0:"),
    ("precision/products.py", "rank(same_T) if t in self.expected else len(T[0])", "len(T[0])"),
    ("precision/products.py", "h = [v if same else zero for v, same in zip(h, same_h)]", "pass"),
    ("precision/condition.py", "finite = exponents[np.isfinite(exponents)]", "finite = np.array([0.0, -20.0])"),
    ("precision/products.py", "if found[t].error > PROVED and not last:", "if False:"),
    ("precision/products.py", "found = {t: _compared(f, again[t]) for t, f in found.items() if t in again}", "pass"),
    ("precision/condition.py", "if found.error <= PROVED else [math.nan] * m", "if True else [math.nan] * m"),
    ("precision/condition.py", "default_block(size.state, columns, x.dtype).T", "np.eye(size.state)[:, :columns]"),
    ("precision/spectrum.py", "if t < transient:", "if t < 0:"),
    ("precision/spectrum.py", "if since == t_ons or t + 1 in (counting, len(x)):", "if since == t_ons or t + 1 == len(x):"),
    ("precision/spectrum.py", "if t >= counting:", "if t > counting:"),
    ("lyapunov/condition.py", "found[:m].min()", "found.min()"),
    ("lyapunov/condition.py", "gap * t if t else 0.0", "gap * t"),
    # runs that go on, and files that mean no good
    ("runs/checkpoint.py", "history.until(state.epoch, state.flossed, state.measured)", "history"),
    ("runs/checkpoint.py", "if flossing and flossed == 0:", "if False:"),
    ("runs/checkpoint.py", "if len(history.training) != epoch:", "if False:"),
    ("runs/checkpoint.py", "if any((array < 0).any() for array in arrays(state.square)):", "if False:"),
    ("runs/files.py", "if (sealed or expected is not None) and expected != digest(arrays, _text(metadata)):", "if False:"),
    ("runs/files.py", "if not stat.S_ISREG(status.st_mode):", "if False:"),
    ("runs/files.py", "if size > limit:", "if False:"),
    ("runs/files.py", "os.fsync(file.fileno())", "pass"),
    ("runs/lock.py", "if not _take(file.fileno(), folder):", "if _take(file.fileno(), folder) is None:"),
    ("runs/lock.py", "_taken.add(file)", "pass"),
    ("runs/folder.py", 'if settings["format"] != FORMAT:', "if False:"),
    ("runs/train.py", "elif layout(state.model) != layout(start):", "elif False:"),
    ("runs/signals.py", "raise KeyboardInterrupt", "pass"),
    ("runs/signals.py", "signal.signal(number, handler)", "pass"),
    ("runs/train.py", "now - last >= max(seconds, cost / CHECKPOINT_SHARE)", "now - last >= seconds"),
    # penalties
    ("lyapunov/one_step.py", "2.0 * (log_sigma[t - transient] - target)", "2.0 * log_sigma[t - transient]"),
    ("lyapunov/one_step.py", "(counted * sigma[:k])", "counted"),
    ("lyapunov/one_step.py", "tape.blocks[0] = V[:, :k].T", "tape.blocks[0] = UT[:k]"),
    ("lyapunov/one_step.py", "transient=t if t >= transient else plan.steps", "transient=plan.steps"),
    ("lyapunov/one_step.py", "if sigma[k - 1] <= edge:", "if False:"),
    ("lyapunov/one_step.py", "if k < n and sigma[k - 1] - sigma[k] <= edge:", "if False:"),
    ("lyapunov/one_step.py", 'way_out = f"ask for k <= {least}"', 'way_out = f"ask for k <= {error.rank}"'),
    ("learning/penalties/spectral_radius.py", "(mu.conjugate() / radius", "(mu / radius"),
    ("learning/penalties/spectral_radius.py", "projector.T).real", "projector).real"),
    ("learning/penalties/spectral_radius.py", "V @ np.linalg.solve(U @ V, U)", "V @ U"),
    ("learning/penalties/spectral_radius.py", ".real / multiple", ".real"),
    ("learning/penalties/spectral_radius.py", "or along < DEFECTIVE", "or False"),
    ("learning/penalties/spectral_radius.py", "(1 if mu.imag == 0 else 2)", "2"),
    ("learning/penalties/spectral_radius.py", "if not W.any():", "if False:"),
    ("learning/penalties/penalty.py", "if (g.dtype, g.shape) != (p.dtype, p.shape):", "if False:"),
    ("lyapunov/flossing_loss.py", "np.minimum(off, 0.0)", "np.maximum(off, 0.0)"),
    ("lyapunov/flossing_loss.py", "off if aims.weights is None else aims.weights * off", "off"),
    ("lyapunov/flossing_loss.py", "np.vdot(pull, off)", "np.vdot(off, off)"),
    ("learning/term.py", "g + self.weight * s", "g + s"),
    ("learning/term.py", 'stream(seed, "penalty", epoch)', 'stream(seed, "penalty", 0)'),
    ("learning/term.py", "epoch % self.every == 0", "True"),
    ("learning/training.py", "float(self.weight)", "self.weight"),
    ("learning/term.py", "model.cell, x, model.h0)", "model.cell, x, 0 * model.h0)"),
    ("learning/history.py", "if r.epoch < epoch)", "if True)"),
    ("learning/history.py", "self.stopped |= any(", "self.stopped = any("),
    ("learning/flossing.py", "object.__setattr__(self, name, None)", "pass"),
    # sweeps over settings
    ("runs/recipe.py", 'plain.pop("epochs", None)', "pass"),
    ("runs/recipe.py", "else self.clip or None", "else self.clip"),
    ("runs/grid.py", "range(int((last - first) / step + 1e-9) + 1)", "range(int((last - first) / step) + 1)"),
    ("runs/folder.py", "state._replace(measured=False)", "state"),
    ("runs/folder.py", "at = [at for at in flossing.at if at < epochs]", "at = flossing.at"),
    ("runs/worker.py", "if state is not None and any(rule.reached() for rule in rules):", "if False:"),
    ("runs/worker.py", "return error is not None", "return False"),
    ("runs/worker.py", "if os.getpid() == master:", "if False:"),
    ("runs/worker.py", "and not any(rule.reason for rule in rules)", ""),
    ("runs/master.py", "if name in self.swept.done else", "if True else"),
    ("runs/pools.py", "self.executor = self._new()", "pass"),
    ("runs/collect.py", "reached[0] + window", "reached[0]"),
    ("learning/stopping.py", "self._epochs < self.after", "self._epochs <= self.after"),
    # gradients in the input, and layers
    ("learning/sequences.py", "states_bar[i, u] += units_bar[p, t, i, u]", "pass"),
    ("learning/sequences.py", "_replace(units_bar=units_bar)", "_replace(units_bar=None)"),
    ("learning/sequences.py", "states[:, 1:, :, : sizes(", "states[:, :-1, :, : sizes("),
    ("lyapunov/flossing_loss.py", "of_layers[number],\n                x_bar,", "of_layers[number],\n                None,"),
    ("lyapunov/flossing_loss.py", "gradients.insert(0, gradient)", "gradients.append(gradient)"),
    ("lyapunov/pullback.py", "bars.states[c + 1, 0, i] += states_bar[t, i]", "pass"),
    ("lyapunov/layers.py", "shortest = min(", "shortest = max("),
    ("lyapunov/course.py", "same_input(pieces[0].x)", "same_input(pieces[-1].x)"),
    ("lyapunov/measured.py", "np.hstack(errors), state, None", "0 * np.hstack(errors), state, None"),
    ("lyapunov/measured.py", "layer=layer[order]", "layer=layer[: len(order)]"),
    ("lyapunov/course.py", "_in_common(before.groups, groups)", "groups"),
    ("lyapunov/course.py", "np.concatenate([run.tail, x])", "x"),
    ("lyapunov/course.py", "earlier=course.steps", "earlier=0"),
    ("lyapunov/growth.py", "pace = before.end.pace", "pace = Pace(given.plan.t_ons, given.plan.t_ons)"),
    ("lyapunov/growth.py", "before.unknown.copy(), before.below_rounding.copy()", "0 * before.unknown, 0 * before.below_rounding"),
    ("lyapunov/growth.py", "        if not self.from_start:  # exact arithmetic takes all steps\n            raise FromTheStart\n", ""),
    ("lyapunov/growth.py", "paths=before.paths + self.paths", "paths=self.paths"),
    ("lyapunov/growth.py", "self.left = 0 if outcome == run.k else self.left", "self.left = 0"),
    ("lyapunov/growth.py", "if run.t < self.again else self.every", "if False else self.every"),
    ("runs/spectra.py", "float.fromhex(value[\"float\"])", "0.0"),
    ("runs/resumable.py", "reached=json.dumps(past)", "reached=json.dumps(past | {\"bar\": math.nan})"),
    ("runs/resumable.py", "if not _same(problem.h0, begun.h0):", "if False:"),
    ("lyapunov/until.py", "MARGIN * (bar / self.stderr) ** 2", "MARGIN * bar / self.stderr"),
    ("lyapunov/rows.py", "for level, rows in enumerate(self.levels)", "for level, rows in enumerate(self.levels[:1])"),
    ("lyapunov/rows.py", "reversed(later)", "later"),
    ("lyapunov/spectrum.py", "Reached(run, stop, last_bar)", "Reached(run, stop, np.nan)"),
    ("lyapunov/spectrum.py", "stop, last_bar = reached.stop, reached.bar", "stop, last_bar = run.steps, reached.bar"),
    ("lyapunov/finite_time.py", "growth / steps[:, None]", "growth"),
    ("lyapunov/matrix_free.py", "np.log1p(error), UNKNOWN", "0.0 * error, 0.0"),
    ("cells/given.py", "copy(x, record)", "pass"),
    ("lyapunov/reach.py", "log_scale += np.log(largest) if largest > 0 else -np.inf", "pass"),
    ("lyapunov/reach.py", "bars = np.ascontiguousarray(probes @ M)", "bars = probes"),
    ("lyapunov/reach.py", "seen_units(given.cell, M.T).T", "M[: W_out.shape[1]]"),
    ("lyapunov/reach.py", "checked(as_one(network), step_pullback, accumulate)", "checked(network, step_pullback, accumulate)"),
    ("learning/stillness.py", "seen_units(cell, states[late])", "states[late, ..., : sizes(cell).units]"),
    ("lyapunov/reach.py", "if rounding - log_scale <= np.log(DISAGREEMENT / 10):", "if True:"),
    ("lyapunov/measured.py", "by_layer=tuple(spectrum.per(dt) for spectrum in self.by_layer)", "by_layer=self.by_layer"),
    ("lyapunov/spectrum.py", "ks = [min(k, n) for n in states]", "ks = [1 for n in states]"),
    ("learning/adam.py", 'name.rpartition(".")[2]', "name"),
    ("cells/interface.py", "low + 1e-3 * (high - low), high)", "low - 1e-3 * (high - low), high)"),
    ("cells/leaky.py", "h_bar[u] += inner[u] * through_zeta[u]", "pass"),
    ("cells/leaky.py", "gradient.leak[u] += h_next_bar", "gradient.leak[u] -= h_next_bar"),
    # an audit
    ("certificate.py", "worst = max(worst, error)", "pass"),
    ("certificate.py", "for _ in range(TRIES):", "for _ in range(1):"),
    ("certificate.py", "PLACES, TOGETHER = 12, 3", "PLACES, TOGETHER = 12, 1"),
    ("certificate.py", "PLACES, TOGETHER = 12, 3", "PLACES, TOGETHER = 1, 1"),
    ("certificate.py", "driving = own[1:, : sizes(layer).units]", "driving = driving[:, :1]"),
    ("certificate.py", "worst = max(worst, off)", "worst = 0.0"),
    ("certificate.py", "if whole != right and not unsure < ROUGH:", "if False:"),
    ("certificate.py", "error_bars(rates, spans, same_input(case.x))", "error_bars(rates, spans, np.arange(len(rates)))"),
    ("certificate.py", "np.zeros_like(a) if name", "rng.standard_normal(a.shape) if name"),
    ("certificate.py", "error = 0.0 if whole == right else abs(whole - right)", "error = 0.0"),
    ("certificate.py", "if (np.isneginf(case.spectrum.exponents) != np.isneginf(other.exponents)).any():", "if False:"),
    ("certificate.py", "for layer, number in zip(each_layer(case.cell), case.numbers)", "for layer, number in zip(each_layer(case.cell), case.numbers[::-1])"),
    ("certificate.py", "errors.append(np.where(one == other, 0.0, np.abs(one - other)).max())", "errors.append(0.0)"),
    ("certificate.py", "return _check(part, against, float(apart.max()), APART, note)", "return _check(part, against, 0.0, APART, note)"),
    ("certificate.py", "if steps < spectrum.steps_counted:", "if False:"),
    ("certificate.py", "error = max(error, float(np.abs(found - right).max()) / size)", "pass"),
    ("certificate.py", "for doubt in doubts:", "for doubt in doubts[1:]:"),
    ("certificate.py", "max(FEWEST / steps, FEWEST_ROWS / rows)", "0.0"),
    # what neighbours exchange
    ("lyapunov/error_bars.py", "rows = np.vstack([rows, exchange / total])", "pass"),
    ("lyapunov/error_bars.py", "left = np.exp(-gaps * before) * ", "left = "),
    ("lyapunov/error_bars.py", "np.minimum(1.0, varied)", "1.0"),
    ("lyapunov/error_bars.py", "np.eye(k - 1, k) - np.eye(k - 1, k, 1)", "np.eye(k - 1, k) + np.eye(k - 1, k, 1)"),
    ("lyapunov/error_bars.py", "nats = sequences * EXCHANGED", "nats = EXCHANGED"),
    ("lyapunov/error_bars.py", "total, counted = steps.sum(), steps.sum() / sequences", "total, counted = steps.sum(), steps.sum()"),
    ("lyapunov/measured.py", "exchange = np.delete(exchanged(log_growth, intervals, aligning), ends - 1, axis=0)", "exchange = exchanged(log_growth, intervals, aligning)"),
    ("lyapunov/measured.py", "given.plan.before - given.plan.transient", "given.plan.before"),
    # what users may give: arrays that they write to again, other networks, numbers of all sizes
    ("lyapunov/product.py", "like).flatten() for t in", "like).ravel() for t in"),
    ("lyapunov/product.py", "first).flatten()", "first).ravel()"),
    ("lyapunov/matrix_free.py", 'np.array(moved, float, order="F")', 'np.asarray(moved, float, order="F")'),
    ("lyapunov/matrix_free.py", "+ exponent * np.log(2)", ""),
    ("lyapunov/matrix_free.py", "(EPS * R.max() + least)", "(EPS * R.max())"),
    ("lyapunov/matrix_free.py", "_origin=None", "_origin=spectrum._origin"),
    ("lyapunov/spectrum.py", "if classes(cell) != classes(network.cell):", "if type(cell) is not type(network.cell):"),
    ("lyapunov/supply.py", "if batch not in (None, found.shape[1]):", "if False:"),
    ("lyapunov/finite_time.py", "counted = (per_row == row).sum(axis=1)", "counted = (per_row >= per_row[:, :1]).sum(axis=1)"),
    ("lyapunov/reach.py", "found.astype(np.int64) if whole else found", "found"),
    ("lyapunov/reach.py", "direction = (starts[0] - starts[1]) / (2 * size)", "pass"),
    ("lyapunov/until.py", "if bar > self.stderr else AGAIN", "if bar > self.stderr else 1.25"),
    # networks from elsewhere
    ("interop/check.py", "max(2, int(", "max(1, int("),
    ("interop/check.py", "if not (off <= tolerance).all():", "if False:"),
    ("interop/gates.py", "np.stack([*(of_inputs + of_state)[:2], of_inputs[2]])", "of_inputs + of_state"),
    ("interop/gates.py", "total[1] += np.asarray(forget_bias", "total[0] += np.asarray(forget_bias"),
    ("interop/gates.py", "        (inputs, state),\n        (rest, state),", "        (rest, state),"),
    ("interop/gates.py", "return [letters.index(gate) for gate in gates]", "return [gates.index(letter) for letter in letters]"),
    ("interop/torch_names.py", 'arrays["b_n"]])', "state[2 * n :]])"),
    ("interop/torch_names.py", r'r"(?:(?P<of>.*)\.)?', r'r"(?:(?P<of>.*))?'),
    ("interop/torch.py", "arrays |= _new_weights(cell, stack, arrays, str(path), layer, reverse)", "arrays |= _new_weights(cell, stack, arrays, str(path), 0, reverse)"),
    ("interop/mistakes.py", '_gru(*weights, when == "before", sigmoid)', '_gru(*weights, when == "after", sigmoid)'),
    ("interop/files.py", "found._replace(cell=cell) if isinstance(found, Model) else cell", "cell"),
    ("interop/files.py", "not any(map(_is_number", "not all(map(_is_number"),
]  # fmt: skip


def notices(mutation: tuple[str, str, str] | None, folders: Queue) -> str | None:
    """The first test that fails, or None; without a mutation as well.

    Of the folders one is taken for the copy: compiled kernels know where their sources were."""
    copy = folders.get()
    try:
        return _noticed_in(copy, mutation)
    finally:
        for path in (copy / "lyapflow", copy / "tests", copy / "cache"):
            shutil.rmtree(path, ignore_errors=True)
        folders.put(copy)


def _noticed_in(copy: Path, mutation: tuple[str, str, str] | None) -> str | None:
    cache = _copy_into(copy, mutation)
    environment = os.environ | {"PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(cache)}
    options = ["-x", "-n0", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *_tests_of(mutation)],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TOO_LONG,
        )
    except subprocess.TimeoutExpired:
        return "the tests do not end"
    failed = re.search(r"^(?:FAILED|ERROR) \S*tests/(\S+)", done.stdout, re.MULTILINE)
    if failed:
        return failed[1]
    if done.returncode < 0:
        return f"the tests are ended by signal {-done.returncode}"
    return "pytest is broken off" if done.returncode else None


def _copy_into(copy: Path, mutation: tuple[str, str, str] | None) -> Path:
    """Copy package and tests, with the mutation; the folder for compiled kernels."""
    for name in ("lyapflow", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", copy)
    if mutation is None:
        return copy / "cache"
    file, old, new = mutation
    path = copy / "lyapflow" / file
    broken = path.read_text().replace(old, new)
    path.write_text(broken)
    if KERNELS.search(broken) or file.startswith("_engine/"):
        return copy / "cache"
    # The kernels are those of the unbroken package, and stay; the compiler's own tests, those of
    # _engine, would notice that.
    caching = copy / "lyapflow/_engine/cache.py"
    sources = caching.read_text()
    if STAMP not in sources:
        raise SystemExit(f"{caching.name} must contain {STAMP!r}")
    caching.write_text(sources.replace(STAMP, f'{STAMP}    return "unbroken"\n'))
    return copy / "unbroken"


def _tests_of(mutation: tuple[str, str, str] | None) -> list[str]:
    """Which tests are to notice, as pytest takes them, those nearest to the file first."""
    file = mutation[0] if mutation else ""
    stem, selected = Path(file).stem, []
    if file.startswith("cli/"):
        names: Iterable[str] = ["cli"]
    elif file.startswith("interop/"):
        names = ["interop"]
    elif "precision" in file or "condition" in file:
        names = ["condition"]
    elif file.startswith("runs/"):
        swept = ("grid", "recipe", "sweep", "collect")
        others = ("overlaps", "resume", "runs", "hostile", "signals", "sweep")
        names = swept if stem in SWEEPS else others
        names = ("spectra_files", "resumable") if stem in ("spectra", "resumable") else names
    else:
        names = dict.fromkeys((*NEAREST.get(stem, ()), *TESTS))
        own = CELLS.get(stem, "LSTM or gates" if "gates" in file else "")
        if own in ("LSTM", "GRU"):
            own = f"{own} or gates"
        selected = ["-k", own or " and ".join(f"not {name}" for name in CELLS.values())]
    return [*(f"tests/test_{name}.py" for name in names), *selected]


def about(file: str, test: str | None) -> str:
    """Digest of a broken file and of the test that noticed: what a recorded result is about."""
    sources = [(ROOT / "lyapflow" / file).read_text()]
    if test and "::" in test:
        sources.append(_test_source(*test.partition("[")[0].split("::")))
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:16]


def _test_source(file: str, name: str) -> str:
    text = (ROOT / "tests" / file).read_text()
    of = (node for node in ast.walk(ast.parse(text)) if getattr(node, "name", None) == name)
    return "".join(ast.get_source_segment(text, node) or "" for node in of)


def recorded(path: Path) -> dict[tuple[str, str, str], str]:
    """The test that noticed each mutation of a record, as far as file and test are what they were."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        mutation, test, digest = json.loads(line)
        if test and digest == about(mutation[0], test):
            found[tuple(mutation)] = test
    return found


def report(mutation: tuple[str, str, str], test: str | None) -> None:
    file, old, new = mutation
    print(
        f"{'noticed' if test else 'UNNOTICED':9s} {file}: {old}  ->  {new}   [{test}]", flush=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", nargs="*")
    parser.add_argument("--record", type=Path, metavar="FILE", default=RECORD)
    options = parser.parse_args()
    chosen = [
        m
        for m in MUTATIONS
        if not options.word or any(word in text for word in options.word for text in m)
    ]
    if not chosen:
        parser.error("no mutation contains such a word")
    for file, old, _ in chosen:
        if (count := (ROOT / "lyapflow" / file).read_text().count(old)) != 1:
            raise SystemExit(f"{file} must contain {old!r} once, it stands there {count} times")
    found: dict[tuple[str, str, str], str | None] = dict(recorded(options.record))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        folders: Queue = Queue()
        for name in ("first", "second"):
            folders.put(Path(folder) / name)
        if not found and not options.word and (test := notices(None, folders)):
            raise SystemExit(f"the tests must pass before the code is broken: {test}")
        results = {
            pool.submit(notices, mutation, folders): mutation
            for mutation in chosen
            if mutation not in found
        }
        for result in as_completed(results):
            mutation = results[result]
            found[mutation] = result.result()
            report(mutation, found[mutation])
            with options.record.open("a") as record:
                digest = about(mutation[0], found[mutation])
                record.write(json.dumps([mutation, found[mutation], digest]) + "\n")
    unnoticed = [mutation for mutation in chosen if not found[mutation]]
    for mutation in unnoticed:
        report(mutation, None)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} broken terms noticed")
    return bool(unnoticed)


if __name__ == "__main__":
    sys.exit(main())
