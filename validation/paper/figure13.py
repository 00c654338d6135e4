"""Figure 13: λ₁ and λ₁₀ after training on spatial XOR, against the delay; the rule -0.2 exp(-0.03 d) fitted."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.optimize import curve_fit

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import SOLVED, Claim

GROUPS = ("spatial",)
A, B = 0.2, 0.03  # of the paper's rule


def rule(delay: np.ndarray, a: float = A, b: float = B) -> np.ndarray:
    return -a * np.exp(-b * np.asarray(delay, float))


def fitted(runs: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The rule's a and b for these networks, and their standard errors."""
    if runs["delay"].nunique() < 3:
        return np.full(2, np.nan), np.full(2, np.nan)
    found, covariance = curve_fit(rule, runs["delay"], runs[column], p0=(A, B), maxfev=10_000)
    return found, np.sqrt(np.diag(covariance))


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = tables.runs("spatial")
    flossed = runs[runs["condition"] == "twice"]
    solved = flossed[flossed["accuracy"] >= SOLVED]
    claims = []
    for index, name in (("1", "λ₁"), ("10", "λ₁₀")):
        column = f"exponent_{index}_end"
        # positive exponents are as far off as can be
        off = np.abs(np.log(np.maximum(-solved[column], 1e-9) / -rule(solved["delay"])))
        (a, b), (a_error, b_error) = fitted(solved, column)
        claims.append(
            Claim(
                f"{name} of trained, flossed networks follows {-A:g} exp({-B:g} d)",
                bool(len(solved) and off.median() <= np.log(1.5)),
                bool(len(solved) and off.median() <= np.log(3)),
                f"{len(solved)} networks, off by a factor of {np.exp(off.median()):.2f} in the median; "
                f"fitted: a = {a:.3f} ± {a_error:.3f}, b = {b:.4f} ± {b_error:.4f}",
            )
        )
    none = runs[(runs["condition"] == "none") & (runs["delay"] >= size.middle)]
    learnt = solved[solved["delay"] >= size.middle]["exponent_1_end"]
    failed = none[none["accuracy"] < SOLVED]["exponent_1_end"]
    claims.append(
        Claim(
            "networks that fail without flossing keep a λ₁ further from zero",
            bool(len(failed) and len(learnt) and failed.max() < learnt.min()),
            bool(len(failed) and len(learnt) and failed.median() < learnt.median()),
            f"medians {failed.median():.3f} and {learnt.median():.3f} at d >= {size.middle}; "
            f"extremes {listed([failed.max(), learnt.min()])}",
        )
    )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(11, 8), layout="constrained")
    runs = tables.runs("spatial")
    along = np.linspace(runs["delay"].min(), runs["delay"].max())
    for row, index, name in zip(figure.subplots(2, 2), ("1", "10"), ("λ₁", "λ₁₀")):
        for axes, condition in zip(row, ("none", "twice")):
            of = runs[runs["condition"] == condition]
            dots = axes.scatter(
                of["delay"], of[f"exponent_{index}_end"], c=of["accuracy"],
                cmap="coolwarm", vmin=0.5, vmax=1.0,
            )  # fmt: skip
            axes.plot(along, rule(along), "--", color="black", label="-0.2 exp(-0.03 d)")
            axes.set(xlabel="delay d", ylabel=f"{name} after training", title=condition)
            axes.legend(fontsize=8)
            figure.colorbar(dots, ax=axes, label="accuracy")
    return figure
