"""Reference values for authors of other implementations: docs/golden, a file for each kind of network.

    python -m validation.golden [--check]

Small networks whose numbers are short binary fractions, so that every program can have them exactly.
Of each: Lyapunov exponents over all steps, the gradient of the flossing loss Σ λ_i², and the logarithm
of the condition number of the long-term Jacobian, each to 30 digits, proved by ball arithmetic:
exponents from Gram determinants of the vectors that all Jacobians make of q0 (no QR is needed),
condition numbers from eigenvalues. A gradient is the central difference with a step of 2^-300, itself
proved; its distance from the derivative is of the order of 2^-600. mpmath, which shares no code with
FLINT, must give the same digits; files are written only then. With --check nothing is written, and the
files must hold what is found. One minute."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lyapflow as lf
from lyapflow.cells.registry import CELLS
from lyapflow.precision.arithmetic import arithmetic, exact
from lyapflow.precision.cells import move

FOLDER = Path(__file__).parent.parent / "docs" / "golden"
UNITS, INPUTS, STEPS, K, DIGITS = 3, 2, 12, 2, 30
BITS, STEP = 1500, 300  # of gradients: precision, and the step 2^-STEP of differences


def fractions(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Multiples of 1/64; 0 has no sign."""
    return np.round(64 * scale * rng.standard_normal(shape)) / 64 + 0.0


def network(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """The cell of that name on the command line, its inputs and its initial state."""
    rng = np.random.default_rng(sorted(CELLS).index(name))
    like = CELLS[name].random(UNITS, INPUTS, rng=rng)
    fields = {field: fractions(rng, array.shape, 0.75) for field, array in like._asdict().items()}
    if "leak" in fields:
        fields["leak"] = np.array([0.25, 0.5, 0.75])
    if "relu" in name:
        # so that no unit is silent, which would make the condition number infinite
        fields |= {"W": fields["W"] / 8, "V": fields["V"] / 8, "b": np.abs(fields["b"]) + 2}
    cell = type(like)(**fields)
    n = lf.trajectory(cell, np.zeros((1, INPUTS))).shape[1]
    start = fractions(rng, (n,), 0.5)
    return cell, fractions(rng, (STEPS, INPUTS), 1.0), np.abs(start) if "relu" in name else start


def text(a: Any, value: Any) -> str:
    """A number with so many digits; of a ball, those that are proved."""
    if a.proves:
        if not float(a.radius(value)) < 10.0 ** -(DIGITS + 5) * max(1.0, abs(a.to_float(value))):
            raise ArithmeticError(f"{value} has fewer than {DIGITS} proved digits")
        return str(value.mid().str(DIGITS, radius=False))
    import mpmath

    return str(mpmath.nstr(value, DIGITS, strip_zeros=False))


def moved(a: Any, fields: Any, x: np.ndarray, h0: np.ndarray, columns: np.ndarray) -> list[Any]:
    """What the Jacobians of all steps make of some columns (n, m), as rows of them."""
    state, T = exact(a, h0), exact(a, columns)
    for driven in exact(a, x):
        state, T = move(fields, a, state, driven, T)
    return [list(column) for column in zip(*T)]


def spectrum(a: Any, fields: Any, x: np.ndarray, h0: np.ndarray) -> list[Any]:
    """Two exponents, from the lengths and the area of what becomes of two unit vectors."""
    u, v = moved(a, fields, x, h0, np.eye(len(h0))[:, :K])
    length, area = a.dot(u, u), a.dot(u, u) * a.dot(v, v) - a.dot(u, v) * a.dot(u, v)
    twice = a.number(2.0 * len(x))
    return [a.log(length) / twice, (a.log(area) - a.log(length)) / twice]


def log_condition(a: Any, fields: Any, x: np.ndarray, h0: np.ndarray) -> Any:
    """ln σ_1 - ln σ_n of the product of all Jacobians."""
    rows = moved(a, fields, x, h0, np.eye(len(h0)))
    if a.proves:
        flint = a.flint
        M = flint.arb_mat(rows)
        squares = [value.real for value in flint.acb_mat(M * M.transpose()).eig()]
        squares.sort(key=a.to_float)
        return a.log(squares[-1] / squares[0]) / a.number(2.0)
    import mpmath

    with mpmath.workprec(BITS):
        sigma = mpmath.svd_r(mpmath.matrix(rows), compute_uv=False)
        return mpmath.log(max(sigma) / min(sigma))


def numbers(a: Any, name: str) -> dict[str, Any]:
    """What an arithmetic finds for a network."""
    cell, x, h0 = network(name)
    with a.precision(BITS):
        fields = type(cell)(*(exact(a, array) for array in cell))
        found = spectrum(a, fields, x, h0)
        step = a.number(2.0**-STEP)
        gradient = {}
        for field, array in cell._asdict().items():
            entries = []
            for at in np.ndindex(array.shape):
                ends = []
                for sign in (1.0, -1.0):
                    other = exact(a, array)
                    place = other
                    for i in at[:-1]:
                        place = place[i]
                    place[at[-1]] = place[at[-1]] + step * a.number(sign)
                    rates = spectrum(a, fields._replace(**{field: other}), x, h0)
                    ends.append(sum((rate * rate for rate in rates), a.number(0.0)))
                entries.append((ends[0] - ends[1]) / (step * a.number(2.0)))
            gradient[field] = [text(a, entry) for entry in entries]
        return {
            "exponents": [text(a, rate) for rate in found],
            "gradient": gradient,
            "log_condition_number": text(a, log_condition(a, fields, x, h0)),
        }


def described(name: str) -> dict[str, Any]:
    """The file of a network."""
    balls, floats = arithmetic("flint"), arithmetic("mpmath")
    proved, other = numbers(balls, name), numbers(floats, name)
    if not agree(proved, other):
        raise ArithmeticError(f"{name}: two arithmetics disagree: {proved} and {other}")
    cell, x, h0 = network(name)
    return {
        "class": type(cell).__name__,
        "parameters": {field: array.tolist() for field, array in cell._asdict().items()},
        "x": x.tolist(),
        "h0": h0.tolist(),
        "q0": f"the first {K} columns of the identity",
        "t_ons": 1,
        **proved,
    }


def agree(one: Any, other: Any) -> bool:
    """Whether two trees of numbers are the same to all but the last digit."""
    if isinstance(one, dict):
        return all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return all(map(agree, one, other))
    import mpmath

    with mpmath.workdps(DIGITS + 5):
        a, b = mpmath.mpf(one), mpmath.mpf(other)
        return bool(abs(a - b) <= mpmath.mpf(10) ** -(DIGITS - 2) * max(1, abs(a)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    good = True
    for name in CELLS:
        path = FOLDER / f"{name}.json"
        lines = [
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in described(name).items()
        ]
        found = "{\n" + ",\n".join(lines) + "\n}\n"
        if check:
            good &= path.read_text() == found
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(found)
        print(name, "ok" if good else "differs", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
