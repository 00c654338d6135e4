"""The check of a cell: its kernels against differences of one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow._trees import is_tree, map_arrays, named_arrays
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    checked,
    driven_tangent,
    first_array,
    has,
    input_pullback,
    sizes,
    step,
    tangent,
    tangent_pullback,
)
from lyapflow.cells.layers import Layers
from lyapflow.errors import LyapflowError
from lyapflow.testing.derivatives import (
    Differences,
    check_second_derivatives,
    compare_gradient,
    compare_input_gradient,
    in_field,
    in_inputs,
)
from lyapflow.testing.differences import derivative, directions
from lyapflow.testing.driven import check_driven_gradients, check_driven_tangent
from lyapflow.testing.findings import Findings, Report
from lyapflow.testing.kernels import WRITES, forward, places
from lyapflow.testing.outputs import Arrays, arrays, driven_outputs, outputs

# of float32 against float64, relative to the terms of a sum
ROUNDING = 100 * float(np.finfo(np.float32).eps)


def check_cell(cell: Any, h: ArrayLike | None = None, x: ArrayLike | None = None) -> Report:
    """Compare the kernels of a cell with each other, at its parameters.

    `step` is assumed to be right. `tangent`, `driven_tangent`, `jacobian` and `step_pullback` are
    compared with its differences, the pullbacks of tangents, `accumulate`, `accumulate_driven` and
    `input_pullback` with differences of `step` and of the tangents, in float64, in every parameter
    and in the inputs. A float32 cell is checked as float64 numbers, and in float32 against these.
    Kernels must not write beyond the arrays that `sizes` asks for, change what they are given, or
    leave out what they are to write.

    Parameters
    ----------
    cell : cell
        Kernels that its class lacks are skipped.
    h : array (n_state,) or (S, n_state), optional
        States to check it at, away from kinks; by default three of standard normal numbers.
    x : array (m,) or (S, m), optional
        Inputs that go with them; standard normal by default.

    Returns
    -------
    Report

    Raises
    ------
    CellError
        If kernels contradict each other; the error names kernels, entries and deviations, the worst
        first.
    LyapflowError
        If it is no cell, or several layers, or h and x do not fit it.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from lyapflow.testing import check_cell
    >>> report = check_cell(lf.TanhRNN.random(5, 2, rng=np.random.default_rng(0)))
    >>> list(report.checks)[:2]
    ['step: h_next of the same state in another row', 'step: h_next of a row alone']
    >>> max(report.checks.values()) < 1e-9
    True
    """
    if isinstance(cell, Layers):
        raise LyapflowError("check_cell is of one cell; check the layers one by one")
    cell = checked(cell, step, tangent)
    rng = np.random.default_rng(0)
    findings, size = Findings(type(cell)), sizes(cell)
    skipped = tuple(generic.__name__ for generic in WRITES if not has(cell, generic))
    with np.errstate(all="ignore"):
        _check_sizes(findings, cell, size)
        at = arrays(cell, size, h, x, rng)
        found = _check_float64(findings, as_float(cell), as_float(at), rng)
        if first_array(cell).dtype == np.float32:
            _check_float32(findings, cell, at, found, rng)
            findings.stop_at_faults()
    return Report(findings.checks, skipped)


def _check_float64(
    findings: Findings, cell: Any, at: Arrays, rng: np.random.Generator
) -> dict[str, Any]:
    """All that is compared in float64, in stages that take those before to be right; returns the `outputs`."""
    found = outputs(findings, cell, at)
    # from here on nothing guards the memory around arrays
    findings.stop_at_faults(["all derivatives"])
    _check_rows(findings, cell, at, found["h_next"])
    findings.stop_at_faults([g.__name__ for g in WRITES if g is not step and has(cell, g)])
    along = directions(at.h.shape[2:], rng)
    for s in range(len(at.h)):
        _check_first_derivatives(findings, cell, at, found, s, *along)
    others = [g.__name__ for g in (tangent_pullback, accumulate) if has(cell, g)]
    findings.stop_at_faults(others)
    found |= driven_outputs(findings, cell, at, found["record"])
    findings.stop_at_faults(others)
    for s in range(len(at.h)) if has(cell, driven_tangent) else ():
        check_driven_tangent(findings, cell, at, found, s)
    findings.stop_at_faults(others)
    for s in range(len(at.h)) if "Q_bar of tangent" in found else ():
        check_second_derivatives(findings, cell, at, found, s, *along)
    of_chunk = [generic for generic in (accumulate, input_pullback) if has(cell, generic)]
    findings.stop_at_faults([generic.__name__ for generic in of_chunk])
    with_entries = [field for field, array in named_arrays(cell) if array.size]
    in_fields = {
        field: in_field(cell, at, field, rng)
        for field in with_entries
        if "gradient of step" in found
    }
    for field, differences in in_fields.items():
        _check_gradient(findings, cell, at, found, field, differences)
    findings.stop_at_faults([input_pullback.__name__] if has(cell, input_pullback) else [])
    by_inputs = in_inputs(cell, at, rng) if at.x.size and "x_bar of step" in found else None
    for what in ("step", "tangent", "both"):
        if by_inputs is not None and f"x_bar of {what}" in found:
            compare_input_gradient(findings, found, by_inputs, "input_pullback", what)
    findings.stop_at_faults()
    if has(cell, driven_tangent) and "Q_bar of driven" in found:
        check_driven_gradients(findings, cell, at, found, along, in_fields, by_inputs)
    findings.stop_at_faults()
    return found


def _check_sizes(findings: Findings, cell: Any, size: Sizes) -> None:
    """Sizes are counts, and know every field; a cell within another has sizes of its own."""
    counts = [number for number in size if not isinstance(number, Mapping)]
    if min(counts) < 0 or size.units > size.state or size.second > size.record:
        findings.fault(
            "sizes",
            "sizes",
            f"{size} must have nothing negative, no more units than the state, nor more second numbers than a record",
        )
    if not any(map(is_tree, cell)) and set(size.shapes) != set(cell._fields):
        fields = f"{', '.join(size.shapes)} in place of {', '.join(cell._fields)}"
        findings.fault("sizes", "shapes", f"shapes must have the fields of the class, got {fields}")
    findings.stop_at_faults()


def as_float(tree: Any) -> Any:
    return map_arrays(lambda a: np.array(a, float), tree)


def _check_rows(findings: Findings, cell: Any, at: Arrays, h_next: np.ndarray) -> None:
    """A state has one next state, whatever rows it is among."""
    h, x = at.h.reshape(h_next.shape), at.x.reshape(len(h_next), at.x.shape[2])
    none = at.Q[:0]
    again = forward(cell, h[::-1].copy(), x[::-1], none)[0][::-1]
    findings.compare(
        "step",
        "h_next of the same state in another row",
        again,
        h_next,
        "h_next[{}][{}] in another row".format,
    )
    alone = [forward(cell, h[i : i + 1], x[i : i + 1], none)[0][0] for i in range(len(h))]
    findings.compare(
        "step", "h_next of a row alone", alone, h_next, "h_next[{}][{}] of a row alone".format
    )


def _check_first_derivatives(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    s: int,
    names: list[str],
    along: np.ndarray,
) -> None:
    """`tangent`, `jacobian` and `step_pullback` at state s against differences of `step`."""
    h, x, bar = at.h[s, 0], at.x[s, :1], at.h_next_bar[s, 0]
    together = np.repeat(x, len(along), axis=0)
    D, doubt = derivative(
        lambda distance: forward(cell, h + distance * along, together, at.Q[:0])[0], h
    )
    if not np.isfinite(D).all():
        findings.fault(
            "step", "step", f"is not finite around the state {h.tolist()}; give other h and x"
        )
        return

    def entry(j: int, i: int) -> str:
        return f"∂h_next[{i}]/∂h{names[j]} at state {s}"

    moved = forward(cell, h[None], x, along[None])[1][0]
    findings.compare("tangent", "D Q", moved, D, entry, doubt)
    alone = [forward(cell, h[None], x, q[None, None])[1][0, 0] for q in along]
    findings.compare("tangent", "D Q of a vector alone", alone, moved, entry)
    if "D" in found:
        findings.compare("jacobian", "D", along @ found["D"][s].T, D, entry, doubt)
    if "h_bar" in found:
        got = along @ found["h_bar"][2 * s]
        findings.compare(
            "step_pullback", "h_bar", got, D @ bar, lambda j: f"h_bar{names[j]} at state {s}", doubt
        )


def _check_gradient(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    field: str,
    differences: Differences,
) -> None:
    """What `accumulate` adds for a field, for the states, for the blocks, and for both."""
    size = sizes(cell)
    by_states = ", or what step_pullback leaves in work" if size.step_work else ""
    by_blocks = (
        ", or what tangent_pullback leaves in work" if size.step_work + size.tangent_work else ""
    )
    # where each part is right alone, and not both together, step_work was set instead of added to
    adds, what_adds = (
        ("tangent_pullback", ", for it must add to step_work")
        if size.step_work
        else ("accumulate", "")
    )
    for kernel, what, hint in (
        ("accumulate", "step", by_states),
        ("accumulate", "tangent", by_blocks),
        (adds, "both", what_adds),
    ):
        if f"gradient of {what}" in found and not (what == "both" and findings.faults):
            compare_gradient(findings, at, found, field, differences, kernel, what, hint)


KERNELS = {
    "h_next": "step",
    "Q_next": "tangent",
    "D": "jacobian",
    "h_bar": "step_pullback",
    "Q_bar of tangent": "tangent_pullback",
    "h_bar of tangent": "tangent_pullback",
    "gradient of step": "accumulate",
    "gradient of both": "accumulate",
    "x_bar of step": "input_pullback",
    "x_bar of both": "input_pullback",
    "Q_next of driven": "driven_tangent",
    "Q_bar of driven": "driven_tangent_pullback",
    "X_bar of driven": "driven_tangent_pullback",
    "h_bar of driven": "driven_tangent_pullback",
    "gradient of driven and step": "accumulate_driven",
    "x_bar of driven and step": "driven_tangent_pullback",
}


def _all_outputs(findings: Findings, cell: Any, at: Arrays) -> dict[str, Any]:
    found = outputs(findings, cell, at)
    return found | driven_outputs(findings, cell, at, found["record"])


def _check_float32(
    findings: Findings, cell: Any, at: Arrays, exact: dict[str, Any], rng: np.random.Generator
) -> None:
    """Results in float32 against those in float64, relative to themselves and to what rounded arguments change."""
    eps = float(np.finfo(np.float32).eps)
    found = _all_outputs(findings, cell, at)
    blurred = map_arrays(
        lambda a: a * (1 + eps * rng.choice([-1, 1], a.shape)), as_float((cell, at))
    )
    others = _all_outputs(Findings(type(cell)), *blurred)
    for name in KERNELS.keys() & exact.keys():
        triples = zip(
            places(name, found[name]), places(name, exact[name]), places(name, others[name])
        )
        for (place, got), (_, expected), (_, other) in triples:
            spread = np.abs(other - expected).max(initial=0.0) / eps
            findings.compare(
                KERNELS[name],
                f"float32 {place}",
                got,
                expected,
                lambda *i, place=place: f"{place}{list(i)} in float32",
                spread * ROUNDING / 10,
                ROUNDING,
            )
