"""The checks of cells notice every kernel that is wrong, name it, and let sound cells pass."""

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies

import lyapflow as lf
from lyapflow import testing
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    accumulate_driven,
    driven_tangent,
    driven_tangent_pullback,
    implement,
    input_pullback,
    jacobian,
    sizes,
    step,
    step_pullback,
    tangent,
    tangent_pullback,
)
from lyapflow.testing import CellError, check_cell
from tests.exact_systems import HenonMap, LogisticMap, MatrixProduct


class Leaky(NamedTuple):
    """``h' = (1 - leak) h + leak tanh(W h + V x' + b)``, with the fault that `fault` has the length of."""

    W: np.ndarray  # (n, n)
    V: np.ndarray  # (n, m)
    b: np.ndarray  # (n,)
    leak: np.ndarray  # (n,)
    fault: np.ndarray  # (number of the fault, 0)


@sizes.register
def _(cell: Leaky) -> Sizes:
    n, m = cell.V.shape
    shapes = {"W": (n, n), "V": (n, m), "b": (n,), "leak": (n,), "fault": cell.fault.shape}
    second = n if len(cell.fault) == 35 else 0  # of what step_pullback reads
    return Sizes(n, n, m, 2 * n, step_work=n, tangent_work=2 * n, shapes=shapes, second=second)


@implement(step, Leaky)
def leaky_step(cell, turned, h, x, h_next, record):
    fault, n = len(cell.fault), cell.b.size
    for r in range(len(h)):
        for i in range(n):
            a = cell.b[i]
            for j in range(x.shape[1]):
                a += cell.V[i, j] * x[0 if fault == 1 else r, j]
            for j in range(n):
                a += cell.W[i, j] * h[r, j]
            value = np.tanh(a)
            record[r, i] = value
            record[r, n + i] = 1 - value * value
            if fault != 2 or i > 0:
                h_next[r, i] = (1 - cell.leak[i]) * h[r, i] + cell.leak[i] * value
    if fault == 3:
        record[len(h) - 1, 2 * n] = 1.0
    if fault == 4:
        h[0, 0] = 0.0
    if fault == 5 and h.itemsize == 4:
        h_next[0, 0] *= 1.001


@implement(tangent, Leaky)
def leaky_tangent(cell, turned, record, Q, Q_next, work):
    fault, n = len(cell.fault), cell.b.size
    for j in range(len(Q)):
        for i in range(n):
            p = 0.0
            for u in range(n):
                w = cell.W[u, i] if fault == 11 else cell.W[i, u]
                p += w * Q[0 if fault == 12 else j, u]
            kept = 1.0 if fault == 13 else 1 - cell.leak[i]
            Q_next[j, i] = kept * Q[j, i] + cell.leak[i] * record[n + i] * p
            if fault == 15 and record[0] > 0.5:  # at some states only
                Q_next[j, i] *= 1.01
    if fault == 14:
        work[len(Q) - 1, 2 * n] = 0.0


@implement(jacobian, Leaky)
def leaky_jacobian(cell, turned, h, x, D):
    fault, n = len(cell.fault), h.size
    for i in range(n):
        a = cell.b[i]
        for j in range(x.size):
            a += cell.V[i, j] * x[j]
        for j in range(n):
            a += cell.W[i, j] * h[j]
        for j in range(n):
            D[i, j] = cell.leak[i] * (1 - np.tanh(a) ** 2) * cell.W[i, j]
        if fault != 21:
            D[i, i] += 1 - cell.leak[i]


@implement(step_pullback, Leaky)
def leaky_step_pullback(cell, record, h_next_bar, h_bar, work):
    fault, n = len(cell.fault), cell.b.size
    for r in range(len(h_next_bar)):
        for i in range(n):
            work[r, i] = cell.leak[i] * record[0 if fault == 31 else r, n + i] * h_next_bar[r, i]
            h_bar[r, i] = 0.0 if fault == 32 else (1 - cell.leak[i]) * h_next_bar[r, i]
        for i in range(n):
            for j in range(n):
                h_bar[r, j] += (cell.W[j, i] if fault == 33 else cell.W[i, j]) * work[r, i]
        if fault == 34:
            work[r, 0] *= 2


@implement(tangent_pullback, Leaky)
def leaky_tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    fault, n = len(cell.fault), cell.b.size
    second = np.zeros(n)
    for j in range(len(Q)):
        for i in range(n):
            p = 0.0
            for u in range(n):
                p += cell.W[i, u] * Q[j, u]
            work[j, i] = cell.leak[i] * record[n + i] * Q_next_bar[j, i]
            work[j, n + i] = p
            second[i] -= 2 * record[i] * work[j, i] * p
            Q_bar[j, i] = (1 - cell.leak[i]) * Q_next_bar[j, i]
        for i in range(n):
            for u in range(n):
                Q_bar[j, u] += (-1 if fault == 41 else 1) * cell.W[i, u] * work[j, i]
        if fault == 42:
            work[j, 0] = 0.0
    if fault == 43:
        h_bar[:] = 0.0
    for i in range(n):
        for u in range(n):
            if fault != 44:
                h_bar[u] += cell.W[i, u] * second[i]
        if fault == 45:
            step_work[i] = second[i]
        elif fault != 46:
            step_work[i] += second[i]
    if fault == 47:
        Q[0, 0] = 0.0


@implement(accumulate, Leaky)
def leaky_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    fault, n = len(cell.fault), cell.b.size
    for c in range(len(h)):
        for r in range(h.shape[1]):
            for i in range(n):
                e = step_work[c, r, i]
                if fault == 51:
                    gradient.b[i] = e
                else:
                    gradient.b[i] += e
                value = record[0 if fault == 52 else c, r, i]
                gradient.leak[i] += h_next_bar[c, r, i] * (value - h[c, r, i])
                for j in range(n):
                    if fault == 53:
                        gradient.W[j, i] += e * h[c, r, j]
                    else:
                        gradient.W[i, j] += e * h[c, r, j]
                for j in range(x.shape[2]):
                    gradient.V[i, j] += 0.0 if fault == 54 else e * x[c, r, j]
    for c in range(len(Q)):
        for k in range(Q.shape[1]):
            for i in range(n):
                moved = record[c, 0, n + i] * tangent_work[c, k, n + i] - Q[c, k, i]
                gradient.leak[i] += (-1 if fault == 55 else 1) * Q_next_bar[c, k, i] * moved
                for j in range(n):
                    if fault != 56 and (fault != 57 or i + j > 0):
                        gradient.W[i, j] += tangent_work[c, k, i] * Q[c, k, j]


@implement(input_pullback, Leaky)
def leaky_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    fault = len(cell.fault)
    for c in range(len(h)):
        for r in range(h.shape[1]):
            for j in range(x.shape[2]):
                if fault != 61:
                    x_bar[c, r, j] = 0.0
                for i in range(cell.b.size):
                    e = step_work[0 if fault == 62 else c, r, i]
                    x_bar[c, r, j] += cell.V[i, 0 if fault == 63 else j] * e
    if fault == 64:
        step_work[:] = 0.0


@implement(driven_tangent, Leaky)
def leaky_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    fault, n = len(cell.fault), cell.b.size
    tangent(cell, turned, record, Q, Q_next, work)
    for j in range(len(Q)):
        for i in range(n):
            for u in range(X.shape[1]):
                moved = cell.leak[i] * record[n + i] * cell.V[i, u] * X[0 if fault == 71 else j, u]
                Q_next[j, i] += 0.0 if fault == 72 else moved
            if fault == 73:
                Q_next[j, i] += Q[j, i]
    if fault == 74:
        X[:] = 0.0


@implement(driven_tangent_pullback, Leaky)
def leaky_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    fault, n = len(cell.fault), cell.b.size
    if fault == 87:
        step_work[:] = 0.0
    tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work)
    for j in range(len(Q)):
        for u in range(X.shape[1]):
            if fault != 81:
                X_bar[j, u] = 0.0
        for i in range(n):
            p = 0.0
            for u in range(X.shape[1]):
                p += cell.V[i, u] * X[j, u]
                X_bar[j, u] += (-1 if fault == 82 else 1) * cell.V[i, u] * work[j, i]
            if fault != 83:
                work[j, n + i] += p
            second = -2 * record[i] * work[j, i] * p
            for u in range(n):
                h_bar[u] += 0.0 if fault == 84 else cell.W[i, u] * second
            if fault != 85:
                step_work[i] += second
    if fault == 86:
        Q_bar[0, 0] += 1.0


@implement(accumulate_driven, Leaky)
def leaky_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    fault = len(cell.fault)
    for c in range(len(X)):
        for k in range(X.shape[1]):
            for i in range(cell.b.size):
                for u in range(X.shape[2]):
                    moved = tangent_work[c, k, i] * X[0 if fault == 91 else c, k, u]
                    if fault == 92:
                        gradient.V[i, u] = moved
                    else:
                        gradient.V[i, u] += 0.0 if fault == 93 else moved
    if fault == 94:
        tangent_work[:] = 0.0


def leaky(fault=0, n=4, dtype=np.float64):
    rng = np.random.default_rng(5)
    W, V, b = rng.standard_normal((n, n)), rng.standard_normal((n, 2)), rng.standard_normal(n)
    return Leaky(
        *(a.astype(dtype) for a in (W, V, b, rng.uniform(0.2, 0.9, n), np.empty((fault, 0))))
    )


def test_a_sound_cell_passes():
    report = check_cell(leaky())
    assert report.skipped == ()
    assert max(report.checks.values()) < 1e-9
    for check in ("tangent: D Q", "jacobian: D", "step_pullback: h_bar", "tangent_pullback: Q_bar"):
        assert check in report.checks
    for field in ("W", "V", "b", "leak"):
        assert f"accumulate: gradient of step, {field}" in report.checks
    for part in ("step", "tangent", "both"):
        assert f"input_pullback: x_bar of {part}" in report.checks
    for check in ("driven_tangent: D Q", "driven_tangent: E", "driven_tangent: D Q + E X"):
        assert check in report.checks
    for check in ("Q_bar", "X_bar", "what is added to h_bar", "x_bar of driven and step"):
        assert f"driven_tangent_pullback: {check}" in report.checks
    assert "accumulate_driven: gradient of driven, V" in report.checks


@pytest.mark.parametrize(
    ("fault", "kernel", "what"),
    [
        (1, "step", "h_next["),
        (2, "step", "h_next[0, 0] is not written"),
        (3, "step", "writes beyond record, whose shape is (6, 8)"),
        (4, "step", "changes h, which it is only to read"),
        (11, "tangent", "∂h_next["),
        (12, "tangent", "∂h_next["),
        (13, "tangent", "∂h_next["),
        (14, "tangent", "writes beyond work"),
        (21, "jacobian", "∂h_next["),
        (31, "step_pullback", "h_bar["),
        (32, "step_pullback", "h_bar["),
        (33, "step_pullback", "h_bar["),
        (34, "accumulate", "gradient of step, W[0, "),
        (41, "tangent_pullback", "Q_bar["),
        (42, "accumulate", "gradient of tangent, W[0, "),
        (43, "tangent_pullback", "what is added to h_bar["),
        (44, "tangent_pullback", "what is added to h_bar["),
        (45, "tangent_pullback", "gradient of both, "),
        (46, "accumulate", "gradient of tangent, "),
        (47, "tangent_pullback", "changes Q, which it is only to read"),
        (51, "accumulate", "gradient of step, b["),
        (52, "accumulate", "gradient of step, leak["),
        (53, "accumulate", "gradient of step, W["),
        (54, "accumulate", "gradient of step, V["),
        (55, "accumulate", "gradient of tangent, leak["),
        (56, "accumulate", "gradient of tangent, W["),
        (61, "input_pullback", "x_bar[0, 0, 0] is not written, or not finite"),
        (62, "input_pullback", "x_bar of step["),
        (63, "input_pullback", "x_bar of tangent["),
        (64, "input_pullback", "changes step_work, which it is only to read"),
        (71, "driven_tangent", "∂h_next["),
        (72, "driven_tangent", "(D Q + E X)["),
        (73, "driven_tangent", "where X = 0: expected"),
        (74, "driven_tangent", "changes X, which it is only to read"),
        (81, "driven_tangent_pullback", "X_bar[0, 0] is not written, or not finite"),
        (82, "driven_tangent_pullback", "X_bar["),
        (83, "accumulate_driven", "gradient of driven, leak["),
        (84, "driven_tangent_pullback", "what is added to h_bar["),
        (85, "accumulate_driven", "gradient of driven, W["),
        (86, "driven_tangent_pullback", "Q_bar["),
        (87, "driven_tangent_pullback", "gradient of driven and step, "),
        (91, "accumulate_driven", "gradient of driven, V["),
        (92, "accumulate_driven", "gradient of driven, V["),
        (93, "accumulate_driven", "gradient of driven, V["),
        (94, "accumulate_driven", "changes tangent_work, which it is only to read"),
    ],
)
def test_every_fault_is_noticed_and_its_kernel_named(fault, kernel, what):
    with pytest.raises(CellError) as found:
        check_cell(leaky(fault))
    first, worst, *others = str(found.value).splitlines()
    assert first == "the kernels of Leaky do not fit together, the worst first:"
    assert worst.startswith(f"  {kernel}: ") and what in str(found.value)
    assert all(line.startswith((f"  {kernel}: ", "  not checked")) for line in others), found.value


def test_a_record_without_what_the_pullback_of_the_step_reads_is_noticed():
    with pytest.raises(CellError, match=r"step_pullback: h_bar\[\d, 0\] is not written, or"):
        check_cell(leaky(35))


@pytest.mark.parametrize("n", [7, 9, 11, 13])
def test_one_wrong_entry_of_a_large_array_is_noticed_whether_it_is_displaced_alone_or_not(n):
    check_cell(leaky(n=n))
    with pytest.raises(
        CellError,
        match=r"accumulate: gradient of tangent, W(\[0, 0\]| along a random direction), or",
    ):
        check_cell(leaky(57, n=n))


def test_float32():
    checks = check_cell(leaky(dtype=np.float32)).checks
    assert checks["step: float32 h_next"] < 1e-6 and checks["step: float32 h_next"] > 0
    check_cell(leaky(5))
    with pytest.raises(CellError, match=r"step: h_next\[0, 0\] in float32: expected"):
        check_cell(leaky(5, dtype=np.float32))


class RateNetwork(NamedTuple):
    """``h' = (1 - leak) h + leak W tanh(h)``, with a tangent in which the leak is forgotten."""

    W: np.ndarray  # (n, n)
    leak: np.ndarray  # (n,)


@sizes.register
def _(cell: RateNetwork) -> Sizes:
    n = cell.leak.size
    return Sizes(n, n, 0, record=n, step_work=0, tangent_work=0, shapes={"W": (n, n), "leak": (n,)})


@implement(step, RateNetwork)
def rate_step(cell, turned, h, x, h_next, record):
    for r in range(len(h)):
        for i in range(cell.leak.size):
            record[r, i] = 1 - np.tanh(h[r, i]) ** 2
            h_next[r, i] = (1 - cell.leak[i]) * h[r, i]
            for j in range(cell.leak.size):
                h_next[r, i] += cell.leak[i] * cell.W[i, j] * np.tanh(h[r, j])


@implement(tangent, RateNetwork)
def rate_tangent(cell, turned, record, Q, Q_next, work):
    for k in range(len(Q)):
        for i in range(cell.leak.size):
            Q_next[k, i] = 0.0
            for j in range(cell.leak.size):
                Q_next[k, i] += cell.W[i, j] * record[j] * Q[k, j]


def test_a_forgotten_leak_is_named_with_its_entry():
    W, leak = np.array([[0.0, 2.0], [1.0, 0.0]]), np.array([0.5, 1.0])
    with pytest.raises(CellError) as found:
        check_cell(RateNetwork(W, leak), h=np.array([0.0, 0.5]))
    # the first row of D is 0.5 and sech²(0.5), and with the leak forgotten 0 and 2 sech²(0.5)
    said = "tangent: ∂h_next[0]/∂h[1] at state 0: expected 0.78644773, got 1.5728955 (relative error 7.9e-01)"
    assert said in str(found.value)


def test_kernels_that_a_class_lacks_are_skipped():
    report = check_cell(LogisticMap(np.array([4.0])))
    pullbacks = "step_pullback", "tangent_pullback", "accumulate", "input_pullback"
    driven = "driven_tangent", "driven_tangent_pullback", "accumulate_driven"
    assert report.skipped == ("jacobian", *pullbacks, *driven)
    assert {name.partition(":")[0] for name in report.checks} == {"step", "tangent"}
    with pytest.raises(
        CellError, match=r"tangent: .*∂h_next\[0\]/∂h\[0\] at state 0: expected 0, got"
    ):
        check_cell(MatrixProduct(np.ones(2)))  # whose step is none of its state


def test_states_and_inputs_are_those_given():
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    for h in (np.array([0.3, 0.1]), np.array([[0.3, 0.1]]), np.ones((5, 2))):
        check_cell(cell, h=h)
    check_cell(leaky(), x=np.ones(2))
    check_cell(lf.TanhRNN.random(3, 0, rng=np.random.default_rng(0)))  # no inputs: V has no entries
    check_cell(leaky(), h=np.ones((2, 4)), x=np.ones((2, 2)))
    with pytest.raises(lf.LyapflowError, match=r"h must have shape \(2,\), got \(3,\)"):
        check_cell(cell, h=np.ones(3))
    with pytest.raises(
        lf.LyapflowError, match=r"h and x must have as many rows, got h with 2 beside 3"
    ):
        check_cell(leaky(), h=np.ones((2, 4)), x=np.ones((3, 2)))
    with pytest.raises(lf.LyapflowError, match="a cell must be one of lyapflow's"):
        check_cell(3)
    with pytest.raises(lf.LyapflowError, match=r"pass its .cell"):
        check_cell(lf.Model.random(leaky(), 1, rng=np.random.default_rng(0)))


class Root(NamedTuple):
    """``h' = √h``."""

    units: np.ndarray  # (units,)


@sizes.register
def _(cell: Root) -> Sizes:
    shapes = {} if cell.units[0] == 0 else {"units": (len(cell.units),)}
    return Sizes(1, len(cell.units), 0, record=1, step_work=0, tangent_work=0, shapes=shapes)


@implement(step, Root)
def root_step(cell, turned, h, x, h_next, record):
    for r in range(len(h)):
        h_next[r, 0] = np.sqrt(h[r, 0])
        record[r, 0] = 0.5 / max(h_next[r, 0], 1e-9)


@implement(tangent, Root)
def root_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 0] = record[0] * Q[j, 0]


def test_states_beyond_the_domain_and_wrong_sizes():
    assert max(check_cell(Root(np.ones(1)), h=np.array([[0.5], [0.001]])).checks.values()) < 1e-9
    with pytest.raises(CellError, match=r"step: h_next\[0, 0\] is not written, or not finite"):
        check_cell(Root(np.ones(1)), h=np.array([-1.0]))
    with pytest.raises(
        CellError, match=r"step: is not finite around the state \[0.0\]; give other h and x"
    ):
        check_cell(Root(np.ones(1)), h=np.array([0.0]))
    with pytest.raises(CellError, match=r"sizes: .*no more units than the state"):
        check_cell(Root(np.ones(2)))
    with pytest.raises(
        CellError, match="sizes: shapes must have the fields of the class, got  in place of units"
    ):
        check_cell(Root(np.zeros(1)))


LOADED = "import sys, lyapflow; print({'hypothesis', 'lyapflow.testing'} & set(sys.modules))"
WITHOUT = """
import sys
sys.modules["hypothesis"] = None
import lyapflow
from lyapflow import testing
testing.check_cell
try:
    testing.cells(lyapflow.TanhRNN)
except lyapflow.LyapflowError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("code", "said"), [(LOADED, "set()"), (WITHOUT, "pip install 'lyapflow[test]'")]
)
def test_the_package_takes_no_more_than_it_needs(code, said):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert said in done.stdout


def with_its_arrays(cell):
    arrays = (
        testing.inputs(cell, 5),
        testing.inputs(cell, 5, 2),
        testing.states(cell),
        testing.states(cell, 4),
    )
    return strategies.tuples(strategies.just(cell), *arrays)


@settings(max_examples=20)
@given(
    testing.cells(lf.LSTM, dtype=np.float32, units=3, inputs=1, gains=[2.0]).flatmap(
        with_its_arrays
    )
)
def test_strategies(drawn):
    cell, x, batch, h, several = drawn
    n, m = cell.b.shape[1], cell.V.shape[2]
    assert 1 <= n <= 3 and 0 <= m <= 1
    assert (
        x.shape == (5, m)
        and batch.shape == (5, 2, m)
        and h.shape == (2 * n,)
        and several.shape == (4, 2 * n)
    )
    assert all(a.dtype == np.float32 and (a != 0).all() for a in (*cell, *drawn[1:]))
    assert lf.trajectory(cell, batch, several[:2]).shape == (5, 2, 2 * n)


@given(
    testing.cells(
        HenonMap,
        make=lambda n, m, rng, g: HenonMap(rng.uniform(1, 1.4, 1), np.array([g])),
        gains=[0.3],
    )
)
def test_strategies_of_outside_cells(cell):
    assert 1 <= cell.a[0] <= 1.4 and cell.b[0] == 0.3


def test_a_strategy_needs_a_way_to_make_a_cell():
    with pytest.raises(lf.LyapflowError, match=r"HenonMap has no random.*give make="):
        testing.cells(HenonMap)


@pytest.mark.parametrize("scale", [1e-8, 1e-14])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cells_that_add_little_to_what_is_there_are_sound(scale, seed):
    """What they add is known to rounding errors of the sum only."""
    rng = np.random.default_rng(seed)
    check_cell(lf.TanhRNN(*(scale * rng.standard_normal(s) for s in ((5, 5), (5, 2), (5,)))))
