"""Condition number of the long-term Jacobian, direct and predicted, before and after flossing (paper, Fig. 2).

    python -m pip install ".[precision]" && python -m validation.condition_numbers [first seed]

80 tanh units, g = 1, input of the temporal XOR task, 500 flossing epochs of 500 steps, one sequence
each. All singular values are proved by ball arithmetic.

A, B: one network, before and after flossing 15 exponents, products of up to 500 steps. A: the
condition number of the first 15 dimensions and of all, over time. B: that of the first m
dimensions, and how many of them have at most 10^5. It is σ₁/σ_m of the whole product, beside (λ₁ -
λ_m) t with exponents of the same 500 steps. C: five networks, 5, 15, 40 and 75 exponents flossed,
or none, products of 100 steps, predicted from 2000 steps.

Prints tables and writes three pictures. Exit code 1 unless

- log κ grows with time, between 50 and 500 steps, at λ₁ - λ_m to within 2 % and 0.005 nats per step
  (A: m = 15 and 80),
- κ of 15 dimensions, flossed or not, differs by a factor that doubles at least every 50 steps,
  between 100 and 500,
- flossing raises the number of dimensions with κ <= 10^5 by half at least, after 100 and after 500
  steps, and it is the predicted number to within two,
- over the networks of C direct and predicted log κ of all dimensions correlate by more than 0.9,
  and differ by a tenth in the median at most.

Ten minutes.
"""

import sys
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import lyapflow as lf

N, STEPS, EPOCHS = 80, 500, 500
FLOSSED, SEVERAL, NETWORKS = 15, (0, 5, 15, 40, 75), 5
SHORT, LONG = 100, 2000  # steps of the products of C, and of the exponents that predict them
USABLE = np.log(1e5)
DECADE = np.log(10)
TIMES = [0, *range(25, STEPS + 1, 25)]
BLUE, ORANGE = "#0072B2", "#D55E00"
XOR = lf.tasks.TemporalXOR(2)


class Conditions(NamedTuple):
    """Logarithms of σ₁/σ_m (times, N), and of what exponents (N,) predict for them."""

    direct: np.ndarray
    predicted: np.ndarray
    exponents: np.ndarray
    bits: int


def inputs(seed: int, purpose: str, steps: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *purpose.encode()])
    return XOR.inputs(rng, steps, 1, np.dtype(float))[:, 0]


def network(seed: int, k: int) -> lf.TanhRNN:
    """A random network whose first k exponents have been flossed."""
    cell = lf.TanhRNN.random(N, 1, rng=np.random.default_rng(seed))
    return (
        lf.floss(cell, lambda epoch: inputs(seed, f"epoch {epoch}", STEPS), k=k, epochs=EPOCHS)[0]
        if k
        else cell
    )


def conditions(seed: int, k: int, times: list[int], steps: int) -> Conditions:
    """Of the flossed network, under an input that it has not seen, whose exponents are those of so many steps."""
    found = lf.condition_number(network(seed, k), inputs(seed, "held out", steps), steps=times)
    if found.reason or not found.proved:
        raise SystemExit(
            f"network {seed}, {k} flossed: {found.reason or 'nothing is proved; install python-flint'}"
        )
    logs = found.log_singular_values
    gaps = found.exponents[0] - found.exponents
    return Conditions(logs[:, :1] - logs, np.outer(times, gaps), found.exponents, found.bits)


def usable(row: np.ndarray) -> int:
    """Dimensions whose condition number is 10^5 at most."""
    return int(np.sum(row <= USABLE))


def slope(found: Conditions, m: int) -> tuple[float, float, bool]:
    """Nats per step at which log κ of m dimensions grows, what the exponents say, and whether they agree."""
    late = np.array(TIMES) >= 50
    grown = np.polyfit(np.array(TIMES)[late], found.direct[late, m - 1], 1)[0]
    gap = found.exponents[0] - found.exponents[m - 1]
    return grown, gap, abs(grown - gap) <= 0.02 * gap + 0.005


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with ProcessPoolExecutor(2) as pool:
        one: dict[str, Future[Conditions]] = {
            name: pool.submit(conditions, seed, k, TIMES, STEPS)
            for name, k in (("before", 0), ("after", FLOSSED))
        }
        every = {
            (k, s): pool.submit(conditions, s, k, [SHORT], LONG)
            for k in SEVERAL[::-1]
            for s in range(seed, seed + NETWORKS)
        }
        for number, future in enumerate(as_completed([*one.values(), *every.values()]), 1):
            future.result()
            print(f"{number} of {len(one) + len(every)} networks", flush=True)
    before, after = (future.result() for future in one.values())
    many = {key: future.result() for key, future in every.items()}

    holds = {}
    console = Console(width=110)
    table = Table(
        "steps", *(f"{what}, m = {m}" for m in (FLOSSED, N) for what in ("before", "after")), "factor, m = 15",
        title=f"A: log₁₀ κ, direct (predicted); network {seed}, {before.bits} and {after.bits} bits",
    )  # fmt: skip
    for row, t in enumerate(TIMES):
        values = [
            f"{found.direct[row, m - 1] / DECADE:.2f} ({found.predicted[row, m - 1] / DECADE:.2f})"
            for m in (FLOSSED, N)
            for found in (before, after)
        ]
        factor = (before.direct[row, FLOSSED - 1] - after.direct[row, FLOSSED - 1]) / DECADE
        table.add_row(str(t), *values, f"10^{factor:.2f}")
    console.print(table)
    table = Table(
        "network", "m", "slope of log κ", "λ₁ - λ_m", title="Nats per step, from 50 steps on"
    )
    for name, found in (("before", before), ("after", after)):
        for m in (FLOSSED, N):
            grown, gap, agrees = slope(found, m)
            holds[f"slope {name}, m = {m}"] = agrees
            table.add_row(name, str(m), f"{grown:.4f}", f"{gap:.4f}")
    console.print(table)
    factor = before.direct[:, FLOSSED - 1] - after.direct[:, FLOSSED - 1]
    every_50 = factor[TIMES.index(100) :: 2]
    holds["κ is reduced by a growing factor"] = bool(
        factor[TIMES.index(100)] > 0 and np.all(np.diff(every_50) > np.log(2))
    )
    table = Table(
        "steps", "before", "after", title="B: dimensions with κ <= 10^5, direct (predicted)"
    )
    for t in (100, 500):
        row = TIMES.index(t)
        numbers = [
            (usable(found.direct[row]), usable(found.predicted[row])) for found in (before, after)
        ]
        table.add_row(str(t), *(f"{direct} ({predicted})" for direct, predicted in numbers))
        holds[f"more dimensions after {t} steps"] = numbers[1][0] >= 1.5 * numbers[0][0]
        holds[f"as many as predicted after {t} steps"] = all(
            abs(direct - wanted) <= 2 for direct, wanted in numbers
        )
    console.print(table)

    table = Table(
        "k flossed", "log κ direct", "predicted", "deviation, median", "worst",
        title=f"C: {NETWORKS} networks each, {SHORT} steps, all dimensions; medians",
    )  # fmt: skip
    pairs = {
        k: np.array(
            [(f.direct[0, -1], f.predicted[0, -1]) for (of, _), f in many.items() if of == k]
        )
        for k in SEVERAL
    }
    for k, pair in pairs.items():
        deviation = pair[:, 0] / pair[:, 1] - 1
        table.add_row(
            str(k), *(f"{v:.1f}" for v in np.median(pair, axis=0)), f"{np.median(deviation):+.1%}",
            f"{deviation[np.argmax(np.abs(deviation))]:+.1%}",
        )  # fmt: skip
    console.print(table)
    direct, predicted = np.concatenate(list(pairs.values())).T
    correlation = float(np.corrcoef(direct, predicted)[0, 1])
    console.print(f"correlation of direct and predicted log κ over all networks: {correlation:.3f}")
    holds["networks differ as predicted"] = correlation > 0.9
    holds["deviation of a tenth"] = bool(np.median(np.abs(direct / predicted - 1)) <= 0.1)

    pictures = {
        "time": over_time(before, after),
        "dimensions": over_dimensions(before, after),
        "networks": compared(many),
    }
    for name, figure in pictures.items():
        figure.savefig(f"lyapflow-condition-{name}.png", dpi=130)
    for claim, held in holds.items():
        console.print(f"{'holds' if held else 'DOES NOT HOLD'}: {claim}")
    return not all(holds.values())


def over_time(before: Conditions, after: Conditions) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, m in zip(figure.subplots(1, 2), (FLOSSED, N)):
        for found, colour, name in (
            (before, BLUE, "before flossing"),
            (after, ORANGE, f"{FLOSSED} exponents flossed"),
        ):
            axes.plot(
                TIMES,
                found.direct[:, m - 1] / DECADE,
                "o-",
                markersize=3,
                alpha=0.6,
                color=colour,
                label=name,
            )
            axes.plot(
                TIMES,
                found.predicted[:, m - 1] / DECADE,
                "--",
                color=colour,
                label="(λ₁ - λₘ) (t - τ)",
            )
        axes.set(
            xlabel="t - τ  (steps)",
            ylabel="log₁₀ κ",
            title=f"First {m} dimensions" if m < N else "All dimensions",
        )
        axes.legend(fontsize=8)
    return figure


def over_dimensions(before: Conditions, after: Conditions) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    m = np.arange(1, N + 1)
    for axes, t in zip(figure.subplots(1, 2), (100, 500)):
        row = TIMES.index(t)
        for found, colour, name in (
            (before, BLUE, "before flossing"),
            (after, ORANGE, f"{FLOSSED} exponents flossed"),
        ):
            axes.plot(m, found.direct[row] / DECADE, ".", color=colour, label=name)
            axes.plot(
                m,
                found.predicted[row] / DECADE,
                "--",
                linewidth=1,
                color=colour,
                label="from exponents",
            )
        axes.axhline(USABLE / DECADE, color="grey", linestyle=":")
        axes.set(xlabel="dimensions m", ylabel="log₁₀ κ", title=f"t - τ = {t}", ylim=(-0.5, 25))
        axes.legend(fontsize=8)
    return figure


def compared(many: dict[tuple[int, int], Conditions]) -> Figure:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    colours = dict(zip(SEVERAL, ("#000000", "#56B4E9", "#0072B2", "#009E73", "#D55E00")))
    for axes, m in zip(figure.subplots(1, 2), (40, N)):
        points = []
        for (k, _), found in many.items():
            points.append((found.predicted[0, m - 1] / DECADE, found.direct[0, m - 1] / DECADE))
            axes.plot(*points[-1], "o", markersize=5, alpha=0.8, color=colours[k])
        ends = [np.min(points), np.max(points)]
        axes.plot(ends, ends, "--", color="grey", linewidth=1)
        axes.set(
            xlabel=f"(λ₁ - λₘ) (t - τ) / ln 10,  λ of {LONG} steps", ylabel="log₁₀ κ, direct",
            title=f"First {m} dimensions" if m < N else "All dimensions",
        )  # fmt: skip
        for k, colour in colours.items():
            axes.plot([], [], "o", color=colour, label=f"{k} flossed" if k else "none flossed")
        axes.legend(fontsize=8)
    figure.suptitle(f"t - τ = {SHORT}")
    return figure


if __name__ == "__main__":
    sys.exit(main())
