"""Figure 15: a QR decomposition measures how an area grows, drawn for two vectors."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

import lyapflow as lf
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim


def compute(size: Size) -> dict[str, pd.DataFrame]:
    W = np.array([[1.5, 0.8], [0.3, 1.1]])
    cell = lf.TanhRNN(W, np.zeros((2, 1)), np.zeros(2))
    stretched = lf.jacobian(cell, np.array([0.3, -0.2]), np.zeros(1))  # of the unit square
    Q, R = lf.qr(stretched)
    names = {"D": stretched, "Q": Q, "R": R}
    rows = [
        {"matrix": name, "row": i, "column": j, "value": value}
        for name, matrix in names.items()
        for (i, j), value in np.ndenumerate(matrix)
    ]
    return {"matrices": pd.DataFrame(rows)}


def matrices(tables: Tables) -> dict[str, np.ndarray]:
    table = tables.computed("figure15", "matrices")
    return {name: of["value"].to_numpy().reshape(2, 2) for name, of in table.groupby("matrix")}


def judge(tables: Tables, size: Size) -> list[Claim]:
    of = matrices(tables)
    area, product = abs(np.linalg.det(of["D"])), of["R"][0, 0] * of["R"][1, 1]
    same = bool(np.isclose(area, product, rtol=1e-3))
    text = "the parallelogram that D makes of a square has the area R₁₁ R₂₂"
    return [Claim(text, same, same, f"{area:.4f} and {product:.4f}", small=True)]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    square, stretched, rectangle = figure.subplots(1, 3)
    of = matrices(tables)
    upright = of["Q"] @ np.diag(np.diag(of["R"]))
    shapes = (
        (square, np.eye(2), "an orthonormal block"),
        (stretched, of["D"], "one step on: D Q"),
        (rectangle, upright, "the same area: Q diag R"),
    )
    for axes, (first, second), title in ((axes, block.T, title) for axes, block, title in shapes):
        corners = [np.zeros(2), first, first + second, second]
        axes.add_patch(Polygon(corners, facecolor="#E69F00", alpha=0.3))
        for vector, colour in ((first, "#0072B2"), (second, "#D55E00")):
            axes.annotate("", vector, (0, 0), arrowprops={"arrowstyle": "->", "color": colour})
        axes.set(title=title, xlim=(-0.7, 2.3), ylim=(-0.3, 1.7), aspect="equal")
    return figure
