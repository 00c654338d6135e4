"""The check of a cell: its kernels against differences of one another."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow._trees import map_arrays
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    checked,
    has,
    input_pullback,
    sizes,
    step,
    tangent,
    tangent_pullback,
)
from lyapflow.testing.differences import derivative, directions
from lyapflow.testing.findings import Findings, Report
from lyapflow.testing.kernels import WRITES, forward, places
from lyapflow.testing.outputs import Arrays, arrays, outputs

# what is added to a number is known to this part of that number
EPS = float(np.finfo(float).eps)
# of float32 against float64, relative to the terms of a sum
ROUNDING = 100 * float(np.finfo(np.float32).eps)


def check_cell(cell: Any, h: ArrayLike | None = None, x: ArrayLike | None = None) -> Report:
    """Compare the kernels of a cell with each other, at its parameters.

    `step` is taken to be right. `tangent`, `jacobian` and `step_pullback` are compared with its
    differences, `tangent_pullback`, `accumulate` and `input_pullback` with differences of `step` and
    `tangent`, in float64, in every parameter and in the inputs. A float32 cell is checked as float64
    numbers, and in float32 against these. Kernels must not write beyond the arrays that `sizes` asks
    for, change what they are given, or leave out what they are to write.

    Parameters
    ----------
    cell : cell
        Kernels that its class does not have are skipped.
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
        If they do not fit together; it names kernels, entries and errors, the worst first.
    LyapflowError
        If it is no cell, or h and x do not fit it.

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
    cell = checked(cell, step, tangent)
    rng = np.random.default_rng(0)
    findings, size = Findings(type(cell)), sizes(cell)
    skipped = tuple(generic.__name__ for generic in WRITES if not has(cell, generic))
    with np.errstate(all="ignore"):
        _check_sizes(findings, cell, size)
        at = arrays(cell, size, h, x, rng)
        found = _check_float64(findings, as_float(cell), as_float(at), rng)
        if cell[0].dtype == np.float32:
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
    findings.stop_at_faults([g.__name__ for g in (tangent_pullback, accumulate) if has(cell, g)])
    for s in range(len(at.h)) if "Q_bar" in found else ():
        _check_second_derivatives(findings, cell, at, found, s, *along)
    of_chunk = [generic for generic in (accumulate, input_pullback) if has(cell, generic)]
    findings.stop_at_faults([generic.__name__ for generic in of_chunk])
    for field in cell._fields if "gradient of step" in found else ():
        _check_gradient(findings, cell, at, found, field, rng)
    findings.stop_at_faults([input_pullback.__name__] if has(cell, input_pullback) else [])
    if "x_bar of step" in found:
        _check_input_gradient(findings, cell, at, found, rng)
    findings.stop_at_faults()
    return found


def _check_sizes(findings: Findings, cell: Any, size: Sizes) -> None:
    """Sizes are counts, and know every field."""
    counts = [name for name in size._fields[:-2] if not getattr(size, name) >= 0]
    if counts or size.units > size.state:
        findings.fault(
            "sizes",
            "sizes",
            f"{size} must have no negative number, and no more units than the state",
        )
    if set(size.shapes) != set(cell._fields):
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


def _check_second_derivatives(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    s: int,
    names: list[str],
    along: np.ndarray,
) -> None:
    """`tangent_pullback` at state s against `tangent` and its differences."""
    h, x, Q, bar = at.h[s, 0], at.x[s, :1], at.Q[s], at.Q_next_bar[s]
    expected = bar @ forward(cell, h[None], x, along[None])[1][0].T
    got, kernel = found["Q_bar"][s] @ along.T, "tangent_pullback"
    findings.compare(
        kernel, "Q_bar", got, expected, lambda j, i: f"Q_bar[{j}]{names[i]} at state {s}"
    )
    together, blocks = np.repeat(x, len(along), axis=0), np.repeat(Q[None], len(along), axis=0)

    def weighed(distance: float) -> np.ndarray:
        return (forward(cell, h + distance * along, together, blocks)[1] * bar).sum(axis=(1, 2))

    expected, doubt = derivative(weighed, h)
    got = along @ (found["h_bar of tangent"][s] - at.h_bar)
    doubt += EPS * np.abs(at.h_bar).max()
    name = "what is added to h_bar"
    findings.compare(kernel, name, got, expected, lambda j: f"{name}{names[j]} at state {s}", doubt)


def _check_gradient(
    findings: Findings,
    cell: Any,
    at: Arrays,
    found: dict[str, Any],
    field: str,
    rng: np.random.Generator,
) -> None:
    """What `accumulate` adds for a field, against differences of `step` and `tangent`.

    For the states of both sequences, for the blocks, and for the first sequence with the blocks.
    """
    value = getattr(cell, field)
    if not value.size:
        return
    names, along = directions(value.shape, rng)

    def weighed(distance: float) -> np.ndarray:
        moved = (cell._replace(**{field: value + distance * one}) for one in along)
        return np.array([_weighed(each, at, at.x) for each in moved]).reshape(len(along), 3)

    parts, doubt = derivative(weighed, value)
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
    for kernel, what, weights, hint in (
        ("accumulate", "step", (1, 1, 0), by_states),
        ("accumulate", "tangent", (0, 0, 1), by_blocks),
        (adds, "both", (1, 0, 1), what_adds),
    ):
        if f"gradient of {what}" not in found or (what == "both" and findings.faults):
            continue
        added = getattr(found[f"gradient of {what}"], field) - getattr(at.gradient, field)
        got = [(one * added).sum() for one in along]
        lost = EPS * max(np.abs(one * getattr(at.gradient, field)).sum() for one in along)
        name = f"gradient of {what}, {field}"
        entries = [f"{name}{place}{hint}" for place in names]
        findings.compare(kernel, name, got, parts @ weights, entries.__getitem__, doubt + lost)


def _check_input_gradient(
    findings: Findings, cell: Any, at: Arrays, found: dict[str, Any], rng: np.random.Generator
) -> None:
    """The same of what `input_pullback` sets."""
    if not at.x.size:
        return
    names, along = directions(at.x.shape, rng)

    def weighed(distance: float) -> np.ndarray:
        return np.array([_weighed(cell, at, at.x + distance * one) for one in along])

    parts, doubt = derivative(weighed, at.x)
    for what, weights in (("step", (1, 1, 0)), ("tangent", (0, 0, 1)), ("both", (1, 0, 1))):
        if (name := f"x_bar of {what}") not in found:
            continue
        # but for the step alone, of the sequence that has a block
        x_bar = found[name]
        got = [(one[:, : x_bar.shape[1]] * x_bar).sum() for one in along]
        entries = [f"{name}{place}" for place in names]
        findings.compare("input_pullback", name, got, parts @ weights, entries.__getitem__, doubt)


def _weighed(cell: Any, at: Arrays, x: np.ndarray) -> list[float]:
    """The next states of each sequence times their cotangents, and the moved blocks times theirs."""
    steps, _, n = at.Q.shape
    h, rows = (a.swapaxes(0, 1).reshape(2 * steps, a.shape[2]) for a in (at.h, x))
    h_next, Q_next = forward(cell, h, rows, at.Q)
    by_sequence = h_next.reshape(2, steps, n) * at.h_next_bar.swapaxes(0, 1)
    return [*by_sequence.sum(axis=(1, 2)), (Q_next * at.Q_next_bar).sum()]


KERNELS = {
    "h_next": "step",
    "Q_next": "tangent",
    "D": "jacobian",
    "h_bar": "step_pullback",
    "Q_bar": "tangent_pullback",
    "h_bar of tangent": "tangent_pullback",
    "gradient of step": "accumulate",
    "gradient of both": "accumulate",
    "x_bar of step": "input_pullback",
    "x_bar of both": "input_pullback",
}


def _check_float32(
    findings: Findings, cell: Any, at: Arrays, exact: dict[str, Any], rng: np.random.Generator
) -> None:
    """Results in float32 against those in float64, relative to themselves and to what rounded arguments change."""
    eps = float(np.finfo(np.float32).eps)
    found = outputs(findings, cell, at)
    blurred = map_arrays(
        lambda a: a * (1 + eps * rng.choice([-1, 1], a.shape)), as_float((cell, at))
    )
    others = outputs(Findings(type(cell)), *blurred)
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
