"""Figure 2: condition number of the long-term Jacobian, direct and predicted, before and after flossing.

Input of the temporal XOR task, g = 1, 500 flossing epochs of 500 steps, one sequence each. All
singular values are proved by ball arithmetic.

A, B: one network, before and after flossing 15 exponents, products of up to 500 steps: σ₁/σ_m of
the whole product, beside (λ₁ - λ_m) t with exponents of the same steps. C: networks with 0, 5, 15,
40 and 75 exponents flossed, products of 100 steps, predicted from 2000 steps."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lyapflow as lf
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

USABLE, DECADE = np.log(1e5), np.log(10)
XOR = lf.tasks.TemporalXOR(2)
BLUE, ORANGE = "#0072B2", "#D55E00"


class Plan(NamedTuple):
    """What the sizes differ in.

    Attributes
    ----------
    flossed : int
        Exponents flossed in A and B.
    several : tuple of int
        And in C.
    networks : int
        Of C, each number of exponents.
    steps, epochs : int
        Of a flossing epoch, and of the longest product; of the flossing.
    every : int
        Steps from one product to the next.
    short, long : int
        Steps of the products of C, and of the exponents that predict them.
    """

    units: int
    flossed: int
    several: tuple[int, ...]
    networks: int
    steps: int
    epochs: int
    every: int
    short: int
    long: int


def plan(size: Size) -> Plan:
    if size.units == 80:
        return Plan(80, 15, (0, 5, 15, 40, 75), 5, 500, 500, 25, 100, 2000)
    return Plan(8, 3, (0, 3), 2, 80, 20, 20, 40, 200)


def inputs(seed: int, purpose: str, steps: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *purpose.encode()])
    return XOR.inputs(rng, steps, 1, np.dtype(float))[:, 0]


def network(of: Plan, seed: int, k: int) -> lf.TanhRNN:
    """A random network whose first k exponents have been flossed."""
    cell = lf.TanhRNN.random(of.units, 1, rng=np.random.default_rng(seed))
    if k == 0:
        return cell

    def x(epoch: int) -> np.ndarray:
        return inputs(seed, f"epoch {epoch}", of.steps)

    return lf.floss(cell, x, k=k, epochs=of.epochs)[0]


def conditions(of: Plan, seed: int, k: int, times: list[int], steps: int) -> pd.DataFrame:
    """log κ of the flossed network, under an input that it has not seen, whose exponents are those of so many steps."""
    x = inputs(seed, "held out", steps)
    found = lf.condition_number(network(of, seed, k), x, steps=times)
    if found.reason or not found.proved:
        reason = found.reason or "nothing is proved; install python-flint"
        raise SystemExit(f"network {seed}, {k} flossed: {reason}")
    logs = found.log_singular_values
    predicted = np.outer(times, found.exponents[0] - found.exponents)
    t, m = np.meshgrid(times, np.arange(1, of.units + 1), indexing="ij")
    columns = {"t": t, "m": m, "direct": logs[:, :1] - logs, "predicted": predicted}
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    return table.assign(network=seed, k=k, bits=found.bits)


def compute(size: Size) -> dict[str, pd.DataFrame]:
    of = plan(size)
    times = [0, *range(of.every, of.steps + 1, of.every)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        one = [pool.submit(conditions, of, 0, k, times, of.steps) for k in (0, of.flossed)]
        many = [
            pool.submit(conditions, of, seed, k, [of.short], of.long)
            for k in of.several[::-1]
            for seed in range(of.networks)
        ]
        tables = {"one": one, "many": many}
        return {
            name: pd.concat([future.result() for future in futures], ignore_index=True)
            for name, futures in tables.items()
        }


def slope(found: pd.DataFrame, m: int, late: int) -> tuple[float, float]:
    """Nats per step at which log κ of m dimensions grows, and what the exponents say."""
    row = found[(found["m"] == m) & (found["t"] >= late)]
    grown = np.polyfit(row["t"], row["direct"], 1)[0]
    return float(grown), float(row["predicted"].iloc[-1] / row["t"].iloc[-1])


def judge(tables: Tables, size: Size) -> list[Claim]:
    of = plan(size)
    one, many = (tables.computed("figure2", name) for name in ("one", "many"))
    before, after = (one[one["k"] == k] for k in (0, of.flossed))
    pairs = [
        slope(found, m, of.steps // 10) for found in (before, after) for m in (of.flossed, of.units)
    ]
    agree = [abs(grown - gap) <= 0.02 * gap + 0.005 for grown, gap in pairs]
    logs = [found[found["m"] == of.flossed].set_index("t")["direct"] for found in (before, after)]
    factor = (logs[0] - logs[1]).loc[of.short :: 2]
    usable = {
        (name, t, column): int((found[found["t"] == t][column] <= USABLE).sum())
        for name, found in (("before", before), ("after", after))
        for t in (of.short, of.steps)
        for column in ("direct", "predicted")
    }
    more = [
        usable["after", t, "direct"] / usable["before", t, "direct"] for t in (of.short, of.steps)
    ]
    off = [abs(usable[n, t, "direct"] - usable[n, t, "predicted"]) for n, t, _ in usable]
    whole = many[many["m"] == of.units]
    correlation = float(np.corrcoef(whole["direct"], whole["predicted"])[0, 1])
    deviation = float((whole["direct"] / whole["predicted"] - 1).abs().median())
    return [
        Claim(
            "A: log κ grows over time as the exponents say",
            all(agree),
            sum(agree) >= len(agree) / 2,
            "nats per step, direct (predicted): "
            + ", ".join(f"{g:.4f} ({p:.4f})" for g, p in pairs),
        ),
        Claim(
            f"A: flossing lowers κ of {of.flossed} dimensions by a factor that grows exponentially",
            bool(factor.iloc[0] > 0 and (np.diff(factor) > np.log(2)).all()),
            bool(factor.iloc[-1] > factor.iloc[0]),
            f"10^{factor.iloc[0] / DECADE:.1f} after {of.short} steps, "
            f"10^{factor.iloc[-1] / DECADE:.1f} after {of.steps}",
        ),
        Claim(
            "B: flossing raises the number of dimensions with κ <= 10^5, as predicted",
            min(more) >= 1.5 and max(off) <= 2,
            min(more) > 1,
            "dimensions, direct (predicted): "
            + ", ".join(
                f"{name} at {t}: {usable[name, t, 'direct']} ({usable[name, t, 'predicted']})"
                for name in ("before", "after")
                for t in (of.short, of.steps)
            ),
        ),
        Claim(
            "C: direct and predicted κ lie on the diagonal, differences between networks included",
            correlation > 0.9 and deviation <= 0.1,
            correlation > 0.8,
            f"correlation {correlation:.3f}, median deviation {deviation:.1%}, {len(whole)} networks",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    of = plan(size)
    one, many = (tables.computed("figure2", name) for name in ("one", "many"))
    figure = Figure(figsize=(15, 4.4), layout="constrained")
    over_time, over_dimensions, networks = figure.subplots(1, 3)
    for k, colour, name in ((0, BLUE, "before"), (of.flossed, ORANGE, f"{of.flossed} flossed")):
        found = one[one["k"] == k]
        rows = (
            (over_time, found[found["m"] == of.flossed], "t"),
            (over_dimensions, found[found["t"] == of.short], "m"),
        )
        for axes, row, along in rows:
            axes.plot(
                row[along], row["direct"] / DECADE, "o", ms=3, alpha=0.6, color=colour, label=name
            )
            axes.plot(row[along], row["predicted"] / DECADE, "--", color=colour, label="from λ")
            axes.legend(fontsize=8)
    over_dimensions.axhline(USABLE / DECADE, color="grey", linestyle=":")
    over_time.set(
        xlabel="t - τ  (steps)", ylabel="log₁₀ κ", title=f"A: first {of.flossed} dimensions"
    )
    over_dimensions.set(xlabel="dimensions m", title=f"B: t - τ = {of.short}", ylim=(-0.5, 25))
    whole = many[many["m"] == of.units]
    for k, row in whole.groupby("k"):
        networks.plot(row["predicted"] / DECADE, row["direct"] / DECADE, "o", label=f"k = {k}")
    networks.axline((0, 0), slope=1, linestyle="--", color="grey", linewidth=1)
    ends = np.array([whole["predicted"].min() * 0.9, whole["predicted"].max() * 1.1]) / DECADE
    networks.set(xlim=ends, ylim=ends, xlabel="(λ₁ - λₘ)(t - τ) / ln 10", ylabel="log₁₀ κ, direct")
    networks.set_title(f"C: all dimensions, t - τ = {of.short}")
    networks.legend(fontsize=8)
    return figure
