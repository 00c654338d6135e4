"""The checks of the kernels that take the tangent of the input."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lyapflow.cells.interface import accumulate_driven, driven_tangent_pullback, has, sizes
from lyapflow.testing.derivatives import (
    Differences,
    check_second_derivatives,
    compare_gradient,
    compare_input_gradient,
)
from lyapflow.testing.differences import derivative
from lyapflow.testing.findings import Findings
from lyapflow.testing.kernels import forward
from lyapflow.testing.outputs import Arrays


def check_driven_gradients(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    along: tuple[list[str], np.ndarray],
    fields: Mapping[str, Differences],
    inputs: Differences | None,
) -> None:
    """`driven_tangent_pullback` and `accumulate_driven`, along displacements of the state.

    fields and inputs are differences in parameters and in inputs; None where there are no inputs."""
    for s in range(len(at.h)):
        check_second_derivatives(findings, cell, at, found, s, *along, driven=True)
        _check_input_tangent(findings, cell, at, found, s)
    findings.stop_at_faults([accumulate_driven.__name__] if has(cell, accumulate_driven) else [])
    _check_gradients(findings, cell, at, found, fields)
    findings.stop_at_faults()
    for what in ("driven", "driven and step"):
        if inputs is not None and f"x_bar of {what}" in found:
            kernel = driven_tangent_pullback.__name__  # for the pullback of inputs passed
            compare_input_gradient(findings, found, inputs, kernel, what)


def check_driven_tangent(
    findings: Findings, cell: Any, at: Arrays, found: dict[str, Any], s: int
) -> None:
    """D Q + E X at state s against D Q, and E against differences of `step`."""
    kernel, h, x, Q = "driven_tangent", at.h[s], at.x[s, 0], at.Q[s : s + 1]
    still = forward(cell, h[:1], x[None], Q, 0 * at.X[s : s + 1])[1][0]
    moved = found["Q_next"][s]
    findings.compare(
        kernel, "D Q", still, moved, lambda j, i: f"(D q{j})[{i}] at state {s} where X = 0"
    )
    if not x.size:
        return
    each, same = np.eye(x.size), np.repeat(h[:1], x.size, axis=0)
    E, doubt = derivative(lambda distance: forward(cell, same, x + distance * each, Q[:0])[0], x)
    got = forward(cell, h[:1], x[None], np.zeros((1, *same.shape)), each[None])[1][0]
    findings.compare(kernel, "E", got, E, lambda j, i: f"∂h_next[{i}]/∂x[{j}] at state {s}", doubt)
    expected = moved + at.X[s] @ E
    name = "D Q + E X"
    findings.compare(
        kernel,
        name,
        found["Q_next of driven"][s],
        expected,
        lambda j, i: f"({name})[{j}, {i}] at state {s}",
        doubt * np.abs(at.X[s]).sum(axis=1).max(),
    )


def _check_input_tangent(
    findings: Findings, cell: Any, at: Arrays, found: dict[str, Any], s: int
) -> None:
    """X_bar at state s against `driven_tangent`."""
    h, x, (_, _, m) = at.h[s, :1], at.x[s, :1], at.X.shape
    still = np.zeros((1, m, h.shape[1]))
    expected = at.Q_next_bar[s] @ forward(cell, h, x, still, np.eye(m)[None])[1][0].T
    kernel, got = "driven_tangent_pullback", found["X_bar of driven"][s]
    findings.compare(kernel, "X_bar", got, expected, lambda j, i: f"X_bar[{j}, {i}] at state {s}")


def _check_gradients(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    fields: Mapping[str, Differences],
) -> None:
    """What `accumulate_driven` and `accumulate` add together."""
    pullback = driven_tangent_pullback.__name__
    left = f", or what {pullback} leaves in work"
    # as for the plain tangent: step_work was set where it is wrong only behind a step
    adds = (pullback, ", for it must add to step_work")
    for field, differences in fields.items():
        for what, (kernel, hint) in (
            ("driven", (accumulate_driven.__name__, left)),
            (
                "driven and step",
                adds if sizes(cell).step_work else (accumulate_driven.__name__, ""),
            ),
        ):
            if f"gradient of {what}" in found and not (what != "driven" and findings.faults):
                compare_gradient(findings, at, found, field, differences, kernel, what, hint)
