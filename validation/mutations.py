"""Break one term of the code at a time: the test suite must notice each.

    python -m validation.mutations [word ...]

Copies package and tests aside, applies one change, runs the numerical tests until the first failure, and prints
whether there was one. With words, only mutations whose file or text contains one of them. Exit code 1 if a change
goes unnoticed. About ten minutes on two cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ["elementary", "lapack", "qr", "cells", "flossing_gradient", "bptt", "adam", "spectrum", "tasks", "training"]

# file, what stands there (once), what to put instead
MUTATIONS = [
    # the step and its tangent
    ("cells/tanh.py", "h_next[i] = cell.b", "h_next[i] = 0.0"),
    ("cells/tanh.py", "gemm(x, False, cell.V, True, 1.0, 1.0, h_next)", "pass"),
    ("cells/tanh.py", "gemm(record[:, :n], False, cell.W, True, 1.0, 1.0, h_next)", "pass"),
    ("cells/tanh.py", "scaled[j, i] = slope[i] * Q[j, i]", "scaled[j, i] = Q[j, i]"),
    ("cells/tanh.py", "gemm(work, False, cell.W, True, 1.0, 0.0, Q_next)", "gemm(work, False, cell.W, False, 1.0, 0.0, Q_next)"),
    ("cells/tanh.py", "D[:] = cell.W * slope", "D[:] = (cell.W.T * slope).T"),
    # pullback of the step
    ("cells/tanh.py", "h_bar *= record[:, cell.b.size :]", "pass"),
    ("cells/tanh.py", "gemm(h_next_bar, False, cell.W, False, 1.0, 0.0, h_bar)", "gemm(h_next_bar, False, cell.W, True, 1.0, 0.0, h_bar)"),
    # pullback of the tangent
    ("cells/tanh.py", "h_bar[i] -= (tanh[i] + tanh[i])", "h_bar[i] += (tanh[i] + tanh[i])"),
    ("cells/tanh.py", "h_bar[i] -= (tanh[i] + tanh[i])", "h_bar[i] -= tanh[i]"),
    ("cells/tanh.py", "h_bar[i] -= (tanh[i] + tanh[i])", "h_bar[i] -= 0.0"),
    ("cells/tanh.py", "h_bar[i] -= (tanh[i] + tanh[i])", "h_bar[i] = -(tanh[i] + tanh[i])"),
    ("cells/tanh.py", "(Q_bar[j, i] * work[j, i])", "(Q_bar[j, i] * Q[j, i])"),
    ("cells/tanh.py", "Q_bar[j, i] *= slope[i]", "pass"),
    ("cells/tanh.py", "gemm(Q_next_bar, False, cell.W, False, 1.0, 0.0, Q_bar)", "gemm(Q_next_bar, False, cell.W, True, 1.0, 0.0, Q_bar)"),
    # parameters
    ("cells/tanh.py", "gemm(h_next_bar, True, record.reshape(states, 2 * n)[:, :n], False, 1.0, 1.0, gradient.W)", "pass"),
    ("cells/tanh.py", "record.reshape(states, 2 * n)[:, :n]", "record.reshape(states, 2 * n)[:, n:]"),
    ("cells/tanh.py", "gemm(h_next_bar, True, x.reshape(states, m), False, 1.0, 1.0, gradient.V)", "pass"),
    ("cells/tanh.py", "gradient.b[:] += h_next_bar[i]", "pass"),
    ("cells/tanh.py", "gemm(Q_next_bar.reshape(vectors, n), True, tangent_work.reshape(vectors, n), False, 1.0, 1.0, gradient.W)", "pass"),
    # QR and its pullback
    ("linalg/qr.py", "if L[i, i] < 0:", "if False:"),
    ("linalg/qr.py", "L[j, i] = -L[j, i]", "pass"),
    ("linalg/qr.py", "block[i, j] = -block[i, j]", "pass"),
    ("linalg/qr.py", "L[j, j + 1 :] = 0.0", "pass"),
    ("linalg/qr.py", "* np.finfo(block.dtype).eps * largest", "* np.finfo(block.dtype).eps"),
    ("linalg/qr_pullback.py", "gemm(Q_bar, False, Q, True, -1.0, 1.0, M)", "pass"),
    ("linalg/qr_pullback.py", "gemm(Q_bar, False, Q, True, -1.0, 1.0, M)", "gemm(Q_bar, False, Q, True, 1.0, 1.0, M)"),
    ("linalg/qr_pullback.py", "gemm(Q_bar, False, Q, True, -1.0, 1.0, M)", "gemm(Q, False, Q_bar, True, -1.0, 1.0, M)"),
    ("linalg/qr_pullback.py", "M[j, i] = M[i, j]", "M[i, j] = M[j, i]"),
    ("linalg/qr_pullback.py", "M[j, i] = M[i, j]", "pass"),
    ("linalg/qr_pullback.py", "gemm(M, False, Q, False, 1.0, 1.0, Q_bar)", "pass"),
    ("linalg/qr_pullback.py", "solve_lower_transposed(L, Q_bar)", "pass"),
    ("linalg/qr_pullback.py", "M[i, i] = g[i]", "pass"),
    ("linalg/qr_pullback.py", "gemm(L, True, L_bar, False, 1.0, 0.0, M)", "gemm(L, False, L_bar, True, 1.0, 0.0, M)"),
    # time
    ("lyapunov/forward.py", "log_R[f, i] = np.log(L[i, i])", "log_R[f, i] = 0.5 * np.log(L[i, i])"),
    ("lyapunov/forward.py", "transient + before, counting + counted", "transient + before[:0], counting + counted"),
    ("lyapunov/forward.py", "np.minimum(np.arange(t_ons, length + t_ons, t_ons), length)", "np.arange(t_ons, length + 1, t_ons)"),
    ("lyapunov/forward.py", "if not all_finite(h_next):", "if False:"),
    ("lyapunov/pullback.py", "bars.states[c + 1] += states_bar[t - first]", "pass"),
    ("lyapunov/pullback.py", "if f >= 0:", "if False:"),
    ("lyapunov/pullback.py", "bars.states[chunk] = bars.states[c]", "pass"),
    ("lyapunov/pullback.py", "bars.blocks[chunk] = bars.blocks[c]", "pass"),
    ("lyapunov/pullback.py", "moves = taken if moved else 0", "moves = 0"),
    ("lyapunov/pullback.py", "bars.blocks[chunk] = 0.0", "bars.blocks[chunk] = 1.0"),
    ("lyapunov/spectrum.py", "log_R_bar[plan.uncounted :] = 2.0 * off / (counted * batch)", "log_R_bar[:] = 2.0 * off / (counted * batch)"),
    ("lyapunov/spectrum.py", "2.0 * off / (counted * batch)", "2.0 * off / counted"),
    ("lyapunov/spectrum.py", "off = exponents - wanted", "off = exponents"),
    ("lyapunov/spectrum.py", "/ (total * (batches - 1))", "/ (total * batches * 2)"),
    ("lyapunov/spectrum.py", "min(BATCHES, int(np.sqrt(n_qr)))", "n_qr"),
    # task loss
    ("learning/bptt.py", "outputs_bar /= values.size", "outputs_bar /= len(values)"),
    ("learning/bptt.py", "return off**2, 2 * off", "return off**2, off"),
    ("learning/bptt.py", "/ (1 + decay) - y", "/ (1 + decay)"),
    ("learning/bptt.py", "np.where(z >= 0, 1, decay)", "decay"),
    ("learning/bptt.py", "np.maximum(z, 0) - z * y", "np.maximum(z, 0)"),
    ("learning/bptt.py", "np.matmul(outputs_bar, model.W_out, out=states_bar[:, :, : size.units])", "pass"),
    ("learning/bptt.py", "W_out_bar, rows.sum(axis=0)", "0 * W_out_bar, rows.sum(axis=0)"),
    ("learning/bptt.py", "rows.sum(axis=0), h0_bar", "0 * model.b_out, h0_bar"),
    ("learning/bptt.py", "h0_bar.sum(axis=0)", "h0_bar[0]"),
    # Adam, elementary functions, streams
    ("learning/adam.py", "correction1 = 1.0 - beta1**step", "correction1 = 1.0"),
    ("learning/adam.py", "correction2 = 1.0 - beta2**step", "correction2 = 1.0"),
    ("learning/adam.py", "if norm > clip_norm", "if False"),
    ("learning/flossing.py", "flossed, state = optimizer.update(", "flossed, _ = optimizer.update("),
    ("linalg/elementary.py", "q * (one - quarter * q)", "q * (one - q)"),
    ("linalg/elementary.py", "r = (y - n * ln2_high) - n * ln2_low", "r = y - n * ln2_high"),
    ("linalg/elementary.py", "1.0 / math.factorial(power) for", "(power < 12) / math.factorial(power) for"),
    ("learning/training.py", 'stream(seed, "data", epoch)', 'stream(seed, "data", 0)'),
    ("learning/training.py", 'f"flossing before {training_epoch}", epoch', 'f"flossing before {training_epoch}", 0'),
]  # fmt: skip


def notices(mutation: tuple[str, str, str] | None) -> str | None:
    """The first test that fails, or None; without a mutation as well."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("lyapflow", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", copy)
        if mutation is not None:
            file, old, new = mutation
            path = copy / "lyapflow" / file
            source = path.read_text()
            if source.count(old) != 1:
                raise SystemExit(f"{file} must contain {old!r} once, it stands there {source.count(old)} times")
            path.write_text(source.replace(old, new))
        environment = os.environ | {"PYTHONPATH": folder, "NUMBA_CACHE_DIR": str(copy / "cache")}
        words = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
        words += [f"tests/test_{name}.py" for name in TESTS]
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    failed = re.search(r"^(?:FAILED|ERROR) \S*tests/(\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else None if done.returncode == 0 else "the suite does not start"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="*")
    words = parser.parse_args().word
    chosen = [m for m in MUTATIONS if not words or any(word in text for word in words for text in m)]
    if not chosen:
        parser.error("no mutation contains such a word")
    if test := notices(None):
        raise SystemExit(f"the tests must pass before the code is broken: {test}")
    with ThreadPoolExecutor(2) as pool:
        found = []
        for mutation, test in zip(chosen, pool.map(notices, chosen)):
            found.append(test)
            file, old, new = mutation
            print(f"{'noticed' if test else 'UNNOTICED':9s} {file}: {old}  ->  {new}   [{test}]", flush=True)
    print(f"{sum(map(bool, found))} of {len(found)} broken terms noticed")
    return not all(found)


if __name__ == "__main__":
    sys.exit(main())
