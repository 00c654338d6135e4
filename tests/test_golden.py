"""The engine against reference values of 30 proved digits, docs/golden."""

import json
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.registry import CELLS, CLASSES

FOLDER = Path(__file__).parent.parent / "docs" / "golden"


def golden(name):
    """A file, its cell, and how it is measured."""
    said = json.loads((FOLDER / f"{name}.json").read_text())
    fields = {field: np.array(values) for field, values in said["parameters"].items()}
    cell, h0 = CLASSES[said["class"]](**fields), np.array(said["h0"])
    return said, cell, np.array(said["x"]), {"h0": h0, "q0": np.eye(len(h0))[:, :2]}


@pytest.mark.parametrize("name", list(CELLS))
def test_exponents_gradients_and_condition_numbers(name):
    said, cell, x, how = golden(name)
    right = np.array(said["exponents"], float)
    for t_ons in (1, 5):
        found = lf.lyapunov_spectrum(cell, x, 2, t_ons=t_ons, **how).exponents
        np.testing.assert_allclose(found, right, rtol=1e-12)
    loss, gradient, _ = lf.flossing_value_and_grad(cell, x, 2, **how)
    assert loss == pytest.approx((right**2).sum(), rel=1e-12)
    for field, array in gradient._asdict().items():
        values = np.array(said["gradient"][field], float).reshape(array.shape)
        np.testing.assert_allclose(array, values, atol=1e-11 * np.abs(values).max(), rtol=0)
    condition = lf.condition_number(cell, x, steps=[len(x)], h0=how["h0"])
    assert condition.log_kappa[0] == pytest.approx(float(said["log_condition_number"]), rel=1e-13)


def test_the_linear_network_has_a_closed_form():
    """What W^T makes of two unit vectors, in whole fractions."""
    said, cell, x, _ = golden("linear")
    W = [[Fraction(value) for value in row] for row in cell.W.tolist()]
    columns = [[Fraction(int(i == j)) for i in range(3)] for j in range(2)]
    for _ in x:
        columns = [[sum(w * v for w, v in zip(row, u)) for row in W] for u in columns]

    def dot(u, v):
        return sum(a * b for a, b in zip(u, v))

    u, v = columns
    length, area = dot(u, u), dot(u, u) * dot(v, v) - dot(u, v) ** 2
    with mpmath.workdps(40):
        first, both = (
            mpmath.log(mpmath.mpf(of.numerator) / of.denominator) / (2 * len(x))
            for of in (length, area)
        )
        for value, text in zip((first, both - first), said["exponents"]):
            assert abs(value - mpmath.mpf(text)) < mpmath.mpf(10) ** -29


def test_every_cell_has_a_file():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CELLS)
