"""Float64 trajectories, exponents and flossing gradients of every cell against high precision.

    python -m pip install ".[precision]" && python -m validation.high_precision_oracle

Small networks (n = 3 and 5, k = 1, 2 and 3, 12 to 40 steps, several t_ons and transients),
equations of `lyapflow.precision` at 500 bits, the gradient by central differences of every entry
with steps of 2^-150. An error is the largest of any entry, in units of ε = 2^-52 times the largest
entry. Prints the worst and the median per cell, and the worst row with its worst entry. Exit code 1
if an error exceeds 10^4 ε or a median 100 ε. Two minutes."""

import sys
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.interface import sizes
from lyapflow.cells.registry import CLASSES
from lyapflow.precision.arithmetic import Arithmetic, arithmetic, exact
from lyapflow.precision.cells import step
from lyapflow.precision.spectrum import exponents
from tests.gradcheck import random_cell

BITS, STEP = 500, 2.0**-150
EPSILON = 2.0**-52
WORST, MEDIAN = 1e4, 100.0
QUANTITIES = ("trajectory", "exponents", "gradient")
# steps, t_ons, transient, q_transient
SCHEDULES = [(12, 1, 0, 0), (20, 1, 3, 4), (30, 3, 0, 5), (40, 4, 2, 7)]


class Row(NamedTuple):
    """One comparison, with the entry that is farthest off."""

    error: float  # in ε
    cell: str
    quantity: str
    case: str
    entry: str
    ours: float
    true: float


def compared(
    ours: dict[str, np.ndarray], true: dict[str, np.ndarray], cell: str, quantity: str, case: str
) -> Row:
    scale = max(np.abs(array).max() for array in true.values())
    rows = []
    for name, array in true.items():
        difference = np.abs(ours[name] - array)
        index = np.unravel_index(np.argmax(difference), array.shape)
        entry = f"{name}[{', '.join(map(str, index))}]"
        values = float(ours[name][index]), float(array[index])
        rows.append(
            Row(float(difference[index] / scale / EPSILON), cell, quantity, case, entry, *values)
        )
    return max(rows)


def rounded(a: Arithmetic, numbers: Any) -> np.ndarray:
    return (
        np.array([rounded(a, v) for v in numbers])
        if isinstance(numbers, list)
        else np.float64(a.to_float(numbers))
    )


def differences(a: Arithmetic, cell: Any, loss: Any) -> dict[str, np.ndarray]:
    """Derivatives of loss(fields) with respect to every entry of every field of a cell."""
    found = {}
    for name, array in zip(cell._fields, cell):
        derivative = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = exact(a, array)
                inner = moved
                for i in index[:-1]:
                    inner = inner[i]
                inner[index[-1]] += sign * a.number(STEP)
                values.append(loss(cell_with(a, cell, name, moved)))
            derivative[index] = a.to_float((values[0] - values[1]) / (2 * a.number(STEP)))
        found[name] = derivative
    return found


def cell_with(a: Arithmetic, cell: Any, name: str, value: Any) -> Any:
    return type(cell)(
        *(value if field == name else exact(a, array) for field, array in zip(cell._fields, cell))
    )


def rows_of(
    a: Arithmetic, cell_class: Any, seed: int, n: int, k: int, schedule: tuple[int, int, int, int]
) -> list[Row]:
    rng = np.random.default_rng(seed)
    steps, t_ons, transient, q_transient = schedule
    cell = random_cell(cell_class, n, 2, rng)
    x, h = 0.3 * rng.standard_normal((steps, 2)), rng.standard_normal(sizes(cell).state)
    if cell_class is lf.ReluRNN:  # silent units would leave fewer exponents
        cell, h = cell._replace(b=1 + np.abs(cell.b)), np.abs(h)
    Q, target = lf.qr(rng.standard_normal((len(h), k)))[0], rng.standard_normal(k)
    options = {"t_ons": t_ons, "transient": transient, "q_transient": q_transient}
    try:
        _, gradient, found = lf.flossing_value_and_grad(
            cell, x, k, target=target, h0=h, q0=Q, **options
        )
    except lf.Diverged as error:  # silent units have left fewer exponents
        k = error.rank
        Q, target = Q[:, :k], target[:k]
        _, gradient, found = lf.flossing_value_and_grad(
            cell, x, k, target=target, h0=h, q0=Q, **options
        )
    case = f"seed {seed}, n = {n}, k = {k}, T = {steps}, t_ons = {t_ons}, transients {transient} and {q_transient}"
    states = lf.trajectory(cell, x, h0=h)

    def loss(fields: Any) -> Any:
        of = exponents(a, fields, x, h, Q, **options)
        return sum((value - a.number(float(wanted))) ** 2 for value, wanted in zip(of, target))

    with a.precision(BITS):
        fields = type(cell)(*(exact(a, array) for array in cell))
        true_states, state = [], exact(a, h)
        for driven in exact(a, x):
            state = step(fields, a, state, driven)
            true_states.append(state)
        true = [
            {"h": rounded(a, true_states)},
            {"λ": rounded(a, exponents(a, fields, x, h, Q, **options))},
            differences(a, cell, loss),
        ]
    ours = [{"h": states}, {"λ": found}, dict(zip(cell._fields, gradient))]
    return [compared(o, t, cell_class.__name__, q, case) for o, t, q in zip(ours, true, QUANTITIES)]


def main() -> int:
    a = arithmetic(None)
    rows = [
        row
        for cell_class in CLASSES.values()
        for seed, (n, k, schedule) in enumerate(
            (n, k, s) for n, k in ((3, 1), (3, 2), (5, 3)) for s in SCHEDULES
        )
        for row in rows_of(a, cell_class, seed, n, k, schedule)
    ]
    table = Table(
        "cell",
        *QUANTITIES,
        title=f"Errors in float64, in ε: worst (median); {len(rows) // 15} networks each",
    )
    medians = []
    for cell in CLASSES.values():
        errors = [
            [r.error for r in rows if (r.cell, r.quantity) == (cell.__name__, q)]
            for q in QUANTITIES
        ]
        table.add_row(cell.__name__, *(f"{max(e):.1f} ({np.median(e):.1f})" for e in errors))
        medians += [np.median(e) for e in errors]
    console = Console(width=110)
    console.print(table)
    for quantity in QUANTITIES:
        worst = max(r for r in rows if r.quantity == quantity)
        console.print(
            f"worst {quantity}: {worst.error:.1f} ε, {worst.cell}, {worst.case}: {worst.entry} = {worst.ours!r}, "
            f"exactly {worst.true!r}",
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    return bool(max(rows).error > WORST or max(medians) > MEDIAN)


if __name__ == "__main__":
    sys.exit(main())
