"""Every exponent that exists, and -inf only where it is true: random networks against 3000-bit arithmetic.

    python -m validation.finite_exponents [--networks 300] [--losses 200]

The oracle multiplies the same float64 Jacobians (`lyapflow.jacobian` at the float64 states) with
3000 bits and orthonormalises the block by Gram-Schmidt after every step; a vector whose new
direction is shorter than 2^-1500 is lost.

- *networks*: all cells, gains 0.5 to 20, inputs of standard deviation 0.3 to 10 (stationary, quiet
  then loud, single pulses), k from 1 to n, t_ons = 1, 2, 3, 5, 10 and "auto". None loses anything
  but by gates and slopes that are 0.
- *losses*: sparse ReLU networks, silent units, delay lines of up to 100 steps, nilpotent chains,
  shut gates.

Criteria, written before the runs: -inf in the right places in all of them; every finite exponent
right to 1e-6 or within two of its standard errors, or a warning that rounding errors outgrow the
directions; for k = n without a loss the sum of the exponents right to 1e-9; no exponent of a plain
loop over ``numpy.linalg.qr`` better by more than 1e-9. Exit code 1 if one is missed. Needs
python-flint; two minutes."""

import argparse
import sys
import warnings

import flint
import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.interface import sizes
from lyapflow.cells.registry import CLASSES
from lyapflow.lyapunov.problem import default_block

BITS = 3000
T_ONS = (1, 2, 3, 5, 10, "auto")


def oracle(cell, x, h0, k):
    """Exponents of the default block, -inf where a vector comes to depend on those before it."""
    n = len(h0)
    states = np.vstack([h0, lf.trajectory(cell, x, h0)])
    flint.ctx.prec = BITS
    shortest = flint.arb(2) ** (-BITS // 2)
    start = default_block(n, k, np.dtype(float)).tolist()
    jacobians = [
        flint.arb_mat(lf.jacobian(cell, h, driven).T.tolist()) for h, driven in zip(states, x)
    ]
    kept = list(range(k))
    while True:  # again without the vectors that others come after
        block = [flint.arb_mat([start[j]]) for j in kept]
        growth, again = np.zeros(len(kept)), False
        for DT in jacobians:
            moved, lost = [], []
            for j, vector in enumerate(block):
                new = vector * DT
                for _ in range(2):
                    for q in moved:
                        new = (new - (new * q.transpose())[0, 0] * q).mid()
                length = (new * new.transpose())[0, 0].sqrt().mid()
                if length < shortest:
                    lost.append(j)
                    continue
                growth[j] += float(length.log().mid())
                moved.append((new / length).mid())
            if lost and lost[0] < len(moved):
                kept, again = [i for j, i in enumerate(kept) if j not in lost], True
                break
            growth[len(moved) :] = -np.inf
            block = moved
        if not again:
            return np.append(growth, np.full(k - len(kept), -np.inf)) / len(x)


def plain(cell, x, h0, k):
    """The same in the plainest way."""
    states, Q = (
        np.vstack([h0, lf.trajectory(cell, x, h0)]),
        default_block(len(h0), k, np.dtype(float)).T,
    )
    total = np.zeros(k)
    for h, driven in zip(states, x):
        Q, R = np.linalg.qr(lf.jacobian(cell, h, driven) @ Q)
        with np.errstate(divide="ignore"):
            total += np.log(np.abs(np.diagonal(R)))
    return total / len(x)


def drive(rng, steps):
    """Input (steps, 1) of one of three kinds."""
    size = float(np.exp(rng.uniform(np.log(0.3), np.log(10))))
    x = size * rng.standard_normal((steps, 1))
    match rng.integers(3):
        case 1:
            x[: steps // 2] *= 1e-3
        case 2:
            x *= 0.01
            x[rng.integers(steps, size=3)] = 10 * size
    return x


def network(seed):
    rng = np.random.default_rng([1, seed])
    cell_class = list(CLASSES.values())[seed % len(CLASSES)]
    n = int(rng.integers(2, 5 if cell_class is lf.LSTM else 9))
    gain = float(np.exp(rng.uniform(np.log(0.5), np.log(20))))
    cell = cell_class.random(n, 1, rng=rng, g=gain)
    if cell_class is lf.ReluRNN:  # never silent
        cell = cell._replace(W=np.abs(cell.W), V=np.abs(cell.V))
    x = drive(rng, 60)
    if cell_class in (lf.ReluRNN, lf.LinearRNN):  # whose states must not overflow
        cell, x = cell._replace(W=cell.W / max(1.0, gain / 2)), np.abs(x)
    n_state = sizes(cell).state
    k = int(rng.integers(1, n_state + 1)) if rng.random() < 0.5 else n_state
    return cell, x, 0.1 * np.abs(rng.standard_normal(n_state)), k


def sparse_relu(rng):
    n = int(rng.integers(3, 8))
    W = rng.standard_normal((n, n)) / np.sqrt(n) * (rng.random((n, n)) < 0.4)
    return lf.ReluRNN(W, 0.5 * rng.standard_normal((n, 1)), 0.7 * rng.standard_normal(n)), n


def silent_units(rng):
    n, active = 7, int(rng.integers(1, 7))
    W = 0.5 * rng.standard_normal((n, n))
    b = np.where(np.arange(n) < active, 30.0, -300.0)
    return lf.ReluRNN(W, np.zeros((n, 1)), b), n


def delay_line(rng):
    """A network of a few units whose first one is remembered for up to 100 steps."""
    core, taps = 3, int(rng.integers(2, 100))
    n = core + taps
    W = np.zeros((n, n))
    W[:core, :core] = rng.standard_normal((core, core))
    W[core:, core - 1 : -1] = np.eye(taps)
    if rng.random() < 0.5:
        W[0, -1] = 0.1  # fed back: then nothing is lost
    V = np.zeros((n, 1))
    V[:core] = 1.0
    return lf.TanhRNN(W, V, np.zeros(n)), int(rng.integers(1, 7))


def nilpotent_chain(rng):
    n = int(rng.integers(3, 9))
    W = np.diag(rng.uniform(0.5, 2, n - 1), -1)
    W[0, 0] = rng.choice([0.0, 0.7])
    P = np.eye(n)[rng.permutation(n)]
    return lf.LinearRNN(P @ W @ P.T, np.zeros((n, 1)), np.zeros(n)), n


def shut_gates(rng):
    n = 3
    if rng.random() < 0.5:
        cell = lf.LSTM.random(n, 1, rng=rng)
        cell.b[1] = np.where(rng.random(n) < 0.5, -800.0, 1.0)  # forget
        cell.b[3] = np.where(rng.random(n) < 0.5, -800.0, 1.0)  # output
        return cell, 2 * n
    cell = lf.GRU.random(n, 1, rng=rng, g=2.0)
    cell.b[1] = np.where(rng.random(n) < 0.5, -800.0, 1.0)
    cell.b[2] = np.where(rng.random(n) < 0.5, 800.0, 0.0)
    return cell, n


def loss(seed):
    rng = np.random.default_rng([2, seed])
    make = (sparse_relu, silent_units, delay_line, nilpotent_chain, shut_gates)[seed % 5]
    cell, k = make(rng)
    steps = 120 if make is delay_line else 30
    return cell, rng.standard_normal((steps, 1)), 0.5 * rng.standard_normal(sizes(cell).state), k


def judge(make, seeds, console):
    """Counts, and the seeds that fell short."""
    columns = (
        "runs",
        "-inf right",
        "right to 1e-6",
        "or within the bar",
        "or warned",
        "sum rule",
        "with k = n",
    )
    counts = dict.fromkeys(columns, 0)
    short, worse_than_plain = [], []
    for seed in range(seeds):
        cell, x, h0, k = make(seed)
        try:
            exact = oracle(cell, x, h0, k)
        except lf.Diverged:
            continue
        finite = np.isfinite(exact)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            simple = plain(cell, x, h0, k)
        for t_ons in T_ONS:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", lf.LyapflowWarning)
                found = lf.lyapunov_spectrum(cell, x, k, h0=h0, t_ons=t_ons)
            warned = any("rounding errors outgrow" in str(warning.message) for warning in said)
            counts["runs"] += 1
            places = bool((np.isfinite(found.exponents) == finite).all())
            error = np.abs(found.exponents[finite] - exact[finite])
            close, within = (
                bool((error <= 1e-6).all()),
                bool((error <= np.fmax(1e-6, 2 * found.stderr[finite])).all()),
            )
            counts["-inf right"] += places
            counts["right to 1e-6"] += places and close
            counts["or within the bar"] += places and within
            counts["or warned"] += places and (within or warned)
            good = places and (within or warned)
            if finite.all() and k == len(h0):
                counts["with k = n"] += 1
                summed = bool(
                    abs(found.exponents.sum() - exact.sum()) < 1e-9 * max(1, abs(exact.sum()))
                )
                counts["sum rule"] += summed
                good &= summed
            if (
                places
                and t_ons == 1
                and (error > np.abs(simple[finite] - exact[finite]) + 1e-9).any()
            ):
                worse_than_plain.append(seed)
            if not good or not close:
                short.append(
                    (seed, type(cell).__name__, k, t_ons, error, found.stderr[finite], warned)
                )
    table = Table(*counts, title=make.__name__)
    table.add_row(*map(str, counts.values()))
    console.print(table)
    for seed, name, k, t_ons, error, stderr, warned in short:
        console.print(
            f"seed {seed}, {name}, k = {k}, t_ons = {t_ons}{', warned' * warned}: errors {error}, bars {stderr}"
        )
    console.print(f"plain QR is better: seeds {worse_than_plain}")
    missed = counts["runs"] - counts["or warned"] + counts["with k = n"] - counts["sum rule"]
    return missed == 0 and not worse_than_plain


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--losses", type=int, default=200)
    given = parser.parse_args()
    console = Console(width=160)
    right = [judge(network, given.networks, console), judge(loss, given.losses, console)]
    return not all(right)


if __name__ == "__main__":
    sys.exit(main())
