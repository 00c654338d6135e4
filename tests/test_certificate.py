"""Audits: sound spectra pass, and each thing that may be wrong is named."""

import dataclasses
import json
from typing import NamedTuple

import numpy as np
import pytest

import lyapflow as lf
from lyapflow import certificate
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Sizes, implement, sizes, step, tangent
from lyapflow.precision.cells import move as precise_move
from tests.exact_systems import DelayedHenonMap, HenonMap
from tests.test_testing import leaky

RNG = np.random.default_rng(0)
QUIET = lf.Model.random(
    lf.TanhRNN.random(8, 3, rng=np.random.default_rng(2)), 1, rng=np.random.default_rng(3)
)
X = np.random.default_rng(1).standard_normal((1500, 2))
TIMES = {"transient": 100, "q_transient": 100}
SOUND = {
    "tanh": lf.TanhRNN.random(10, 2, rng=RNG),
    "relu": lf.ReluRNN.random(10, 2, rng=RNG),
    "chaotic": lf.TanhRNN.random(20, 2, rng=RNG, g=4.0),
    "lstm": lf.LSTM.random(6, 2, rng=RNG),
    "layers": lf.layers(lf.TanhRNN.random(5, 2, rng=RNG), lf.GRU.random(4, 5, rng=RNG)),
    "float32": lf.TanhRNN.random(10, 2, rng=RNG, dtype=np.float32),
    "loop": lf.closed_loop(QUIET._replace(W_out=QUIET.W_out / 10), external=2),
    "outside": leaky(),
}


def verdicts(found):
    return {check.part: check.verdict for check in found.checks}


@pytest.mark.parametrize("name", list(SOUND))
def test_sound_spectra_pass(name):
    cell = SOUND[name]
    x = X.astype(np.float32) if name == "float32" else X
    found = lf.audit(cell, x, 3, **TIMES)
    assert found.passed, found
    assert found.spectrum == lf.lyapunov_spectrum(cell, x, 3, **TIMES)
    left_out = {part for part, verdict in verdicts(found).items() if verdict == "not checked"}
    assert left_out == {
        "outside": {"replay", "float32"},
        "float32": set(),
    }.get(name, {"float32"})
    json.loads(found.to_json())


def test_layers_in_float32_with_a_number_of_exponents_for_each():
    network, x = map_arrays(np.float32, SOUND["layers"]), X.astype(np.float32)
    found = lf.audit(network, x, (3, 1), **TIMES)
    assert found.passed, found
    assert found.spectrum == lf.lyapunov_spectrum(network, x, (3, 1), **TIMES)


@pytest.mark.parametrize("faulty", [0, 1])
@pytest.mark.parametrize("fault", [11, 61])
def test_a_wrong_term_of_one_of_several_layers_is_named(fault, faulty):
    """Of its tangent, or of what its input gets, which only the layer below notices."""
    cells = [leaky(n=2), leaky(n=2)]
    cells[faulty] = leaky(fault, n=2)
    failed = {check.part: check.note for check in lf.audit(lf.layers(*cells), X[:600], 2).failed}
    assert f"layer {faulty}: {'tangent' if fault == 11 else 'input_pullback'}" in failed["kernels"]


def test_unaligned_blocks_of_layers_are_named():
    slow = lf.LinearRNN(np.diag([0.9, 0.899, 0.5]), np.zeros((3, 2)), np.zeros(3))
    network = lf.layers(slow, lf.LinearRNN(np.diag([0.1, 0.01]), np.ones((2, 3)), np.zeros(2)))
    found = lf.audit(network, X[:150], (1, 2))
    assert "starting block" in {check.part for check in found.failed}, found


def test_autonomous_systems_batches_and_models():
    henon = HenonMap(np.array([1.4]), np.array([0.3]))
    found = lf.audit(henon, steps=3000, h0=np.array([0.1, 0.1]), transient=100)
    assert found.passed, found
    x = np.random.default_rng(1).standard_normal((400, 3, 2))
    model = lf.Model.random(SOUND["tanh"], 1, rng=np.random.default_rng(0))._replace(h0=np.ones(10))
    found = lf.audit(model, x, 3, **TIMES)
    assert found.passed, found
    assert found.spectrum == lf.lyapunov_spectrum(model.cell, x, 3, h0=np.ones(10), **TIMES)


@pytest.mark.parametrize(
    ("fault", "named", "kernel"),
    [
        (11, "kernels", "tangent"),
        (15, "kernels", "tangent"),  # at every third state or so
        (21, "kernels", "jacobian"),
        (31, "kernels", "step_pullback"),  # of several states at once
        (43, "kernels", "tangent_pullback"),
    ],
)
def test_a_wrong_term_of_a_cell_of_ones_own_is_named(fault, named, kernel):
    found = lf.audit(leaky(fault), X[:600], 2, **TIMES)
    failed = {check.part: check.note for check in found.failed}
    assert named in failed and kernel in failed[named]
    if fault == 43:  # a second derivative
        assert "flossing gradient" in failed


def test_a_run_that_begins_on_a_kink_passes():
    """All units of a ReLU network are at their kink in the state 0."""
    found = lf.audit(SOUND["relu"], X, 3)
    assert found.passed, found


def test_a_wrong_sum_of_exponents_is_named():
    """Of a cell whose tangent is not its Jacobian."""
    assert "sum of all exponents" in {
        check.part for check in lf.audit(leaky(13), X[:600], 2, **TIMES).failed
    }


class Halving(NamedTuple):
    """``h' = h / 2 + x``, of which arbitrary precision is told another equation, with the kernels it must have."""

    h: np.ndarray  # (n,), says how many


@sizes.register
def _(cell: Halving) -> Sizes:
    n = len(cell.h)
    return Sizes(n, n, n, record=0, step_work=0, tangent_work=0, shapes={"h": (n,)})


@implement(step, Halving)
def halving_step(cell, turned, h, x, h_next, record):
    h_next[:] = h / 2 + x


@implement(tangent, Halving)
def halving_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = Q / 2


@precise_move.register
def _(cell: Halving, a, h, x, T, X=None):
    factor = a.number(0.5 + 1e-6)
    state = [factor * value + driven for value, driven in zip(h, x)]
    return state, [[factor * value for value in row] for row in T]


def test_sums_of_exponents_that_float64_cannot_tell_are_left_out():
    rng = np.random.default_rng(3)
    W = rng.standard_normal((24, 2)) @ rng.standard_normal((2, 24)) / 16
    cell = lf.TanhRNN(W, rng.standard_normal((24, 2)), np.zeros(24))
    found = lf.audit(cell, X[:600], 1, **TIMES)
    assert found.passed and verdicts(found)["sum of all exponents"] == "not checked", found


def test_gradients_through_strong_chaos_are_checked_by_smaller_differences():
    """Twenty steps make 10^12 of a change, so that differences of 10^-6 would be of another loss."""
    cell = lf.TanhRNN.random(40, 2, rng=np.random.default_rng(0), g=10.0)
    found = lf.audit(cell, X, 3, **TIMES)
    assert found.passed and verdicts(found)["flossing gradient"] == "agrees", found


def test_trajectories_that_share_their_input_count_once():
    x = np.repeat(X[:, None], 16, axis=1)
    h0 = np.random.default_rng(1).standard_normal((16, 10))
    for seed in range(4):
        one = np.random.default_rng(seed).permutation(len(x))
        found = lf.audit(SOUND["tanh"], x[one], 3, h0=h0, **TIMES)
        assert verdicts(found)["halves of the run"] == "agrees", found


def test_a_step_that_is_not_its_equation_is_named():
    found = lf.audit(Halving(np.ones(2)), np.zeros((200, 2)), h0=np.ones(2))
    assert [check.part for check in found.failed] == ["replay"], found
    assert found.failed[0].error == pytest.approx(2e-6, rel=1e-3)


@pytest.mark.parametrize("upper", [0, 1])
def test_layers_of_ones_own_need_no_more_than_their_exponents_do(upper):
    """What moves with the input of a layer is of the Jacobian of the whole, which a sum of exponents does not need."""
    cells = [Halving(np.ones(2)), lf.TanhRNN.random(2, 2, rng=np.random.default_rng(0))]
    network = lf.layers(*(cells[::-1] if upper else cells))
    assert {check.part for check in lf.audit(network, X[:300], 2).failed} == {"replay"}
    if upper:
        with pytest.raises(lf.LyapflowError, match="layer 1: this needs driven_tangent of Halving"):
            lf.gradient_reach(network, X, [1])
    else:
        found = lf.gradient_reach(network, X, [1], times=1)
        D = lf.jacobian(network, lf.trajectory(network, X)[-2], X[-1])
        assert found.log_norms[0, 0] == pytest.approx(np.log(np.linalg.norm(D, 2)))
        assert found.log_parameters is None


def test_intervals_that_lose_digits_are_named(monkeypatch):
    def rough(*arguments, t_ons=1, **others):
        found = lf.lyapunov_spectrum(*arguments, t_ons=t_ons, **others)
        return dataclasses.replace(found, exponents=found.exponents + (1e-7 if t_ons == 5 else 0.0))

    monkeypatch.setattr(certificate, "lyapunov_spectrum", rough)
    found = lf.audit(SOUND["tanh"], X[:300], 3, **TIMES)
    assert [check.part for check in found.failed] == ["intervals"], found


def test_directions_that_only_one_block_loses_are_named(monkeypatch):
    def keeping(*arguments, q0=None, **others):
        found = lf.lyapunov_spectrum(*arguments, q0=q0, **others)
        return dataclasses.replace(found, exponents=np.maximum(found.exponents, -40.0))

    monkeypatch.setattr(certificate, "lyapunov_spectrum", keeping)
    cell = lf.LinearRNN(np.diag([0.9, 0.5, 0.0]), np.zeros((3, 2)), np.zeros(3))
    found = lf.audit(cell, X[:300], 3, **TIMES)
    assert "starting block" in {check.part for check in found.failed}, found


def test_an_unaligned_block_is_named():
    cell = lf.LinearRNN(np.diag([0.9, 0.899, 0.5]), np.zeros((3, 2)), np.zeros(3))
    found = lf.audit(cell, X[:150], 1)
    assert "starting block" in {check.part for check in found.failed}
    assert "longer q_transient" in repr(found)


def test_a_run_that_is_too_short_is_named():
    found = lf.audit(SOUND["tanh"], X[:20], 3)
    assert "length" in {check.part for check in found.failed}
    slow = np.repeat(np.random.default_rng(0).standard_normal((4, 2)), 100, axis=0)
    found = lf.audit(SOUND["tanh"], 3 * slow, 3)
    assert "length" in {check.part for check in found.failed}, found
    found = lf.audit(SOUND["tanh"], X[:60], 3, t_ons=20)  # three QRs have no bars
    assert "length" in {check.part for check in found.failed}, found
    assert lf.audit(SOUND["tanh"], X, 3, t_ons=60, **TIMES).passed


def test_chaos_in_float32_is_named():
    cell = lf.TanhRNN(*(a.astype(np.float32) for a in SOUND["chaotic"]))
    found = lf.audit(cell, X.astype(np.float32), 3, **TIMES)
    assert [check.part for check in found.failed] == ["float32"]
    assert "chaos leaves no digit" in found.failed[0].note


def test_a_delay_line_is_named():
    cell = DelayedHenonMap(np.array([1.4]), np.array([0.3]), np.zeros(100))
    found = lf.audit(cell, k=2, steps=2100, transient=100)
    assert "rounding" in {check.part for check in found.failed}
    assert lf.audit(cell, k=1, steps=2100, transient=100).passed


def test_what_an_audit_says():
    found = lf.audit(SOUND["tanh"], X[:20], 3)
    lines = repr(found).splitlines()
    assert lines[0] == "Audit of TanhRNN, 10 states, float64, 20 steps: FAILED"
    assert len(lines) == 1 + len(found.checks)
    said = json.loads(found.to_json())
    assert said["passed"] is False and len(said["exponents"]) == 3
    assert [check["part"] for check in said["checks"]] == [check.part for check in found.checks]
    with pytest.raises(lf.LyapflowError, match="again and again; give x as an array"):
        lf.audit(SOUND["tanh"], lambda start, stop: X[start:stop], 3, steps=20)
    with pytest.raises(lf.LyapflowError, match="an audit is of one network"):
        lf.audit(lf.stack([SOUND["tanh"]]), X[None], 3)
