"""Figure 14: Figure 4 with orthogonal initial weights."""

from matplotlib.figure import Figure

from validation.paper import figure4
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("orthogonal-binary", "orthogonal-spatial")


def judge(tables: Tables, size: Size) -> list[Claim]:
    claims = figure4.judge(tables, size, GROUPS)
    for orthogonal, gaussian in zip(GROUPS, figure4.GROUPS):
        means = {
            group: tables.runs(group).groupby("condition")["accuracy"].mean()
            for group in (orthogonal, gaussian)
        }
        better = means[orthogonal] - means[gaussian]
        claims.append(
            Claim(
                f"{gaussian} XOR: orthogonal networks are slightly better than Gaussian ones",
                bool((better > 0).all()),
                bool(better.mean() > 0),
                "difference of the mean accuracy over all delays: "
                + ", ".join(f"{name} {value:+.3f}" for name, value in better.items()),
            )
        )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    return figure4.draw(tables, size, GROUPS)
