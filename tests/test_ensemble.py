"""Ensembles: the bits of the members alone, results with a leading member axis, members that fail."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._engine import pool
from lyapflow._trees import arrays, map_arrays, named_arrays
from lyapflow.cells.interface import sizes
from lyapflow.ensemble import Ensemble
from tests.gradcheck import CELLS, random_cell
from tests.test_cells import each_dtype, each_kind

MEMBERS = 5
TASK = lf.tasks.BinaryTemporalXOR(4)


def members(cell_class, dtype=np.float64, m=2):
    cells = [
        random_cell(cell_class, 7, m, np.random.default_rng(r), 0.8, dtype) for r in range(MEMBERS)
    ]
    if cell_class is lf.ReluRNN:  # most units active, so that there are exponents
        cells = [cell._replace(b=np.abs(cell.b) + 1) for cell in cells]
    return cells


def assert_same(a, b):
    for (name, p), q in zip(named_arrays(a), arrays(b)):
        np.testing.assert_array_equal(p, q, err_msg=name)


@each_kind
@each_dtype
def test_members_get_the_bits_that_they_get_alone(cell_class, dtype):
    cells, rng = members(cell_class, dtype), np.random.default_rng(9)
    ensemble, n = lf.stack(cells), sizes(cells[0]).state

    def normal(*shape):
        return rng.standard_normal((MEMBERS, *shape)).astype(dtype)

    x, h0 = normal(30, 2), np.abs(normal(n))
    q0 = np.stack([lf.qr(q)[0] for q in normal(n, 1)])
    spectrum = lf.lyapunov_spectrum(ensemble, x, 3, h0=h0, transient=2, q_transient=3, t_ons=2)
    loss, gradient, exponents = lf.flossing_value_and_grad(ensemble, x, 1, q0=q0, h0=h0)
    states = lf.trajectory(ensemble, x, h0)
    jacobians = lf.jacobian(ensemble, h0, x[:, 0])
    assert spectrum.exponents.shape == (MEMBERS, 3)
    assert spectrum.history.shape == (MEMBERS, 13, 3)
    assert spectrum.reasons == gradient.reasons == (None,) * MEMBERS
    assert (loss.shape, exponents.shape) == ((MEMBERS,), (MEMBERS, 1))
    for r, cell in enumerate(cells):
        alone = lf.lyapunov_spectrum(cell, x[r], 3, h0=h0[r], transient=2, q_transient=3, t_ons=2)
        for name in ("exponents", "stderr", "history", "trajectories"):
            np.testing.assert_array_equal(getattr(spectrum, name)[r], getattr(alone, name))
        alone = lf.flossing_value_and_grad(cell, x[r], 1, q0=q0[r], h0=h0[r])
        assert loss[r] == alone[0]
        assert_same(gradient[r], alone[1])
        np.testing.assert_array_equal(exponents[r], alone[2])
        np.testing.assert_array_equal(states[r], lf.trajectory(cell, x[r], h0[r]))
        np.testing.assert_array_equal(jacobians[r], lf.jacobian(cell, h0[r], x[r, 0]))


@each_kind
def test_batches_of_trajectories_in_an_ensemble(cell_class):
    cells, rng = members(cell_class), np.random.default_rng(9)
    x, h0 = (
        rng.standard_normal((MEMBERS, 20, 3, 2)),
        np.abs(rng.standard_normal((MEMBERS, 3, sizes(cells[0]).state))),
    )
    spectrum = lf.lyapunov_spectrum(lf.stack(cells), x, 2, h0=h0)
    loss, gradient, _ = lf.flossing_value_and_grad(lf.stack(cells), x, 1, h0=h0)
    assert spectrum.trajectories.shape == (MEMBERS, 3, 2)
    assert spectrum.spread.shape == (MEMBERS, 2)
    for r, cell in enumerate(cells):
        alone = lf.lyapunov_spectrum(cell, x[r], 2, h0=h0[r])
        np.testing.assert_array_equal(spectrum.exponents[r], alone.exponents)
        np.testing.assert_array_equal(spectrum.spread[r], alone.spread)
        alone = lf.flossing_value_and_grad(cell, x[r], 1, h0=h0[r])
        assert loss[r] == alone[0]
        assert_same(gradient[r], alone[1])


@each_kind
def test_training_and_flossing_of_an_ensemble(cell_class):
    rng = np.random.default_rng(0)
    models = [lf.Model.random(cell, 1, rng=rng) for cell in members(cell_class, m=1)]
    seeds = [3, 1, 4, 1, 5]
    options = {
        "epochs": 4,
        "flossing": lf.Flossing(k=1, epochs=3, steps=12, q_transient=4, at=(0, 2), batch=2),
        "T": 20,
        "batch": 3,
        "measure_every": 2,
    }
    heard = []
    trained, history = lf.train(
        lf.stack(models), TASK, seed=seeds, callbacks=heard.append, **options
    )
    assert trained.reasons == (None,) * MEMBERS
    assert len(heard) == 4 + 6 + 3
    for r, start in enumerate(models):
        alone, record = lf.train(start, TASK, seed=seeds[r], **options)
        assert_same(trained[r], alone)
        for kind, names in (
            ("training", ("loss", "accuracy", "h0_gradient_norm")),
            ("flossing", ("loss", "exponents")),
            ("measurement", ("loss", "accuracy", "singular_values", "exponents")),
        ):
            for name in names:
                np.testing.assert_array_equal(
                    getattr(history, kind)[name][:, r], getattr(record, kind)[name]
                )

    x = rng.standard_normal((3, MEMBERS, 20, 1))
    cells = [model.cell for model in models]
    flossed, log = lf.floss(lf.stack(cells), lambda epoch: x[epoch], k=1, epochs=3)
    for r, cell in enumerate(cells):
        alone, record = lf.floss(cell, lambda epoch, r=r: x[epoch, r], k=1, epochs=3)
        assert_same(flossed[r], alone)
        np.testing.assert_array_equal(log["exponents"][:, r], record["exponents"])


def test_task_gradients_and_adam_of_an_ensemble():
    rng = np.random.default_rng(0)
    models = [lf.Model.random(cell, 2, rng=rng) for cell in members(lf.GRU)]
    x, y = rng.standard_normal((MEMBERS, 9, 4, 2)), rng.random((MEMBERS, 9, 4, 2))
    ensemble, optimizer = lf.stack(models), lf.Adam(1e-2, clip_norm=0.01)
    state = optimizer.init(ensemble)
    for _ in range(2):
        loss, gradient = lf.bptt_value_and_grad(ensemble, x, y, first=2)
        ensemble, state = optimizer.update(state, ensemble, gradient)
    assert loss.shape == (MEMBERS,)
    for r, alone in enumerate(models):
        moments = optimizer.init(alone)
        for _ in range(2):
            value, slope = lf.bptt_value_and_grad(alone, x[r], y[r], first=2)
            alone, moments = optimizer.update(moments, alone, slope)
        assert loss[r] == value
        assert_same(ensemble[r], alone)
        assert_same(state[r].mean, moments.mean)


def test_what_an_ensemble_shows():
    cells = members(lf.LSTM)
    ensemble = lf.stack(cells)
    assert len(ensemble) == MEMBERS
    assert_same(ensemble[2], cells[2])
    assert ensemble.W.shape == (MEMBERS, 4, 7, 7)
    np.testing.assert_array_equal(ensemble.V[3], cells[3].V)
    assert repr(ensemble) == "<Ensemble of 5 LSTM>"
    assert isinstance(ensemble[1:3], Ensemble)
    assert lf.stack(ensemble[1:3]).W.shape == (2, 4, 7, 7)
    models = lf.stack([lf.Model.random(cell, 1, rng=np.random.default_rng(0)) for cell in cells])
    assert models.W_out.shape == (MEMBERS, 1, 7)
    assert models.cell.W.shape == (MEMBERS, 4, 7, 7)
    with pytest.raises(AttributeError, match="an ensemble of LSTM has no U"):
        ensemble.U  # noqa: B018


def half_dead():
    """Members 1 and 3 cannot be flossed with k = 3: one has no such volume, one explodes."""
    cells = members(lf.LinearRNN)
    cells[1] = cells[1]._replace(W=np.diag([0.5, 0.4] + [0.0] * 5))
    cells[3] = cells[3]._replace(W=1e200 * np.eye(7))
    return cells, np.random.default_rng(0).standard_normal((MEMBERS, 20, 2))


def test_a_spectrum_goes_on_without_a_member_that_diverged():
    cells, x = half_dead()
    spectrum = lf.lyapunov_spectrum(lf.stack(cells), x, 3)
    assert spectrum.reasons[3].startswith("the state stopped being finite at step 2")
    assert [reason is None for reason in spectrum.reasons] == [True, True, True, False, True]
    for array in (spectrum.exponents, spectrum.stderr, spectrum.history, spectrum.trajectories):
        assert np.isnan(array[3]).all()
    assert np.isnan(spectrum.kaplan_yorke_dimension[3])
    assert np.isnan(spectrum.entropy_rate[3])
    assert spectrum.exponents[1, 2] == -np.inf
    np.testing.assert_array_equal(
        spectrum.exponents[4], lf.lyapunov_spectrum(cells[4], x[4], 3).exponents
    )
    assert np.isnan(lf.trajectory(lf.stack(cells), x)[3]).all()
    all_lost = lf.lyapunov_spectrum(
        lf.stack(cells[3:4]), np.repeat(x[3:4, :, None], 2, axis=2), t_ons=3
    )
    assert np.isnan(all_lost.exponents).all()
    assert all_lost.history.shape == (1, 7, 7)
    assert all_lost.trajectories.shape == (1, 2, 7)


def test_flossing_goes_on_without_members_that_diverged():
    cells, x = half_dead()
    loss, gradient, exponents = lf.flossing_value_and_grad(lf.stack(cells), x, 3)
    assert np.isnan([loss[1], loss[3], exponents[1, 0], gradient.W[3, 0, 0]]).all()
    assert "2 of 3 exponents" in gradient.reasons[1]
    optimizer = lf.Adam()
    moved, state = optimizer.update(optimizer.init(lf.stack(cells)), lf.stack(cells), gradient)
    assert moved.reasons == gradient.reasons
    assert list(state.step) == [1, 0, 1, 0, 1]
    assert_same(moved[1], cells[1])

    heard = []
    flossed, history = lf.floss(
        lf.stack(cells), lambda epoch: x, k=3, epochs=4, callbacks=heard.append
    )
    assert len(heard) == 4
    assert flossed.reasons[1].startswith("flossing epoch 0: the tangent block lost rank at step 0")
    assert ": 2 of 3 exponents" in flossed.reasons[1]
    assert flossed.reasons[3].startswith(
        "flossing epoch 0: the state stopped being finite at step 2"
    )
    assert_same(flossed[1], cells[1])
    assert np.isnan(history["loss"][:, [1, 3]]).all()
    assert np.isfinite(history["loss"][:, [0, 2, 4]]).all()
    alone, _ = lf.floss(cells[4], lambda epoch: x[4], k=3, epochs=4)
    assert_same(flossed[4], alone)
    none_left, history = lf.floss(lf.stack(cells[3:4]), lambda epoch: x[3:4], k=3, epochs=4)
    assert len(history) == 1
    assert None not in none_left.reasons


def test_training_goes_on_without_a_member_that_diverged():
    cells = members(lf.LinearRNN, m=1)
    cells[2] = cells[2]._replace(W=1e150 * np.eye(7))
    models = [lf.Model.random(cell, 1, rng=np.random.default_rng(0)) for cell in cells]
    for flossing in (None, lf.Flossing(k=2, epochs=2, steps=10, q_transient=0, at=(1,))):
        trained, history = lf.train(
            lf.stack(models),
            TASK,
            seed=range(MEMBERS),
            epochs=3,
            T=20,
            batch=2,
            flossing=flossing,
            measure_every=2,
        )
        assert [reason is None for reason in trained.reasons] == [True, True, False, True, True]
        assert trained.reasons[2].startswith("epoch 0: the state stopped being finite at step 3")
        assert_same(trained[2], models[2])
        assert np.isnan(history.training["loss"][:, 2]).all()
        assert np.isfinite(history.training["loss"][:, [0, 1, 3, 4]]).all()
        assert np.isnan(history.measurement["exponents"][:, 2]).all()
        assert np.isnan(history.measurement["singular_values"][:, 2]).all()
        alone, _ = lf.train(models[4], TASK, seed=4, epochs=3, T=20, batch=2, flossing=flossing)
        assert_same(trained[4], alone)


RUN = """
import hashlib
from tests.test_ensemble import *
from lyapflow.learning import bptt
bptt.FLOPS_WORTH_A_THREAD = 1.0
models = [lf.Model.random(cell, 1, rng=np.random.default_rng(0)) for cell in members(lf.TanhRNN, m=1)]
flossing = lf.Flossing(k=3, epochs=3, steps=12, q_transient=4, at=(0, 2), batch=3)
trained, history = lf.train(lf.stack(models), TASK, seed=range(5), epochs=4, T=20, batch=3, flossing=flossing)
alone, _ = lf.train(models[0], TASK, seed=0, epochs=4, T=20, batch=26)  # three pieces of the batch
everything = [a for model in (*trained, alone) for a in arrays(model)]
print(hashlib.sha256(b"".join(a.tobytes() for a in everything)).hexdigest())
"""


def test_the_number_of_threads_does_not_matter():
    digests = set()
    for threads in ("1", "2", "4"):
        environment = os.environ | {"NUMBA_NUM_THREADS": threads}
        digests.add(
            subprocess.run(
                [sys.executable, "-c", RUN], env=environment, capture_output=True, check=True
            ).stdout
        )
    assert len(digests) == 1


def test_a_member_with_bad_input_is_found_before_any_work(monkeypatch):
    cells, x = lf.stack(members(lf.TanhRNN)), np.zeros((MEMBERS, 9, 2))
    x[4, 3] = np.nan

    def work(*_, **__):
        raise AssertionError("there was work")

    monkeypatch.setattr("lyapflow.lyapunov.course.volume_growth", work)
    monkeypatch.setattr("lyapflow.lyapunov.trajectory.sweep", work)
    monkeypatch.setattr("lyapflow.lyapunov.flossing_loss.taped_sweep", work)
    for call in (
        lambda: lf.lyapunov_spectrum(cells, x),
        lambda: lf.flossing_value_and_grad(cells, x, 1),
        lambda: lf.trajectory(cells, x),
    ):
        with pytest.raises(lf.LyapflowError, match="member 4: x must be finite"):
            call()


def test_members_may_be_lists():
    cells, x = half_dead()
    lists = lf.stack([lf.LinearRNN(*(a.tolist() for a in cell)) for cell in cells])
    found = lf.lyapunov_spectrum(lists, x, 3)
    np.testing.assert_array_equal(
        found.exponents, lf.lyapunov_spectrum(lf.stack(cells), x, 3).exponents
    )


def test_pieces_run_in_threads_and_errors_come_in_order(monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    both = threading.Barrier(3, timeout=20)

    def piece(r):
        both.wait()  # passes only if three run at a time
        # nested: in turn
        assert pool.each(lambda s: threading.get_ident(), 4) == [threading.get_ident()] * 4
        return r**2

    assert pool.each(piece, 3) == [0, 1, 4]

    def failing(r):
        time.sleep(0.2 / (r + 1))
        if r:
            raise ValueError(r)

    with pytest.raises(ValueError, match="1"):  # though piece 2 fails sooner
        pool.each(failing, 3)


def test_pieces_end_when_their_caller_is_interrupted(monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 2)
    started = time.monotonic()

    def piece(r):
        if r == 0:
            raise KeyboardInterrupt
        while time.monotonic() - started < 30:
            pool.check_interrupt()

    with pytest.raises(KeyboardInterrupt):
        pool.each(piece, 20)
    assert time.monotonic() - started < 10


def test_stacks_of_every_class_are_saved_and_loaded(tmp_path):
    for cell_class in CELLS:
        cells = lf.stack(members(cell_class))
        models = lf.stack(
            [lf.Model.random(cell, 1, rng=np.random.default_rng(0)) for cell in cells]
        )
        for ensemble in (cells, models, map_arrays(np.float32, cells[0]), cells[1], models[1]):
            lf.save(tmp_path / "file", ensemble)
            loaded = lf.load(tmp_path / "file")
            assert type(loaded) is type(ensemble)
            for a, b in (
                zip(loaded, ensemble) if isinstance(ensemble, Ensemble) else [(loaded, ensemble)]
            ):
                assert type(a) is type(b)
                assert_same(a, b)


def test_flossing_all_exponents_of_an_ensemble_with_a_lost_member():
    """k=None is n_state, for the members that are lost as well."""
    good = lf.TanhRNN.random(3, 1, rng=np.random.default_rng(0))
    lost = lf.LinearRNN(1e200 * np.eye(3), np.ones((3, 1)), np.zeros(3))
    both = lf.stack([lf.LinearRNN(0.5 * good.W, good.V, good.b), lost])
    _, history = lf.floss(both, lambda epoch: np.ones((2, 10, 1)), k=None, epochs=2)
    assert history["exponents"].shape == (2, 2, 3)
    assert np.isfinite(history["exponents"][:, 0]).all()
    assert np.isnan(history["exponents"][:, 1]).all()


def test_the_number_of_threads_can_be_set(monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 4)
    seen = []
    for count in (1, 3, None):
        lf.set_threads(count)
        seen.append(pool.threads())
    assert seen == [1, 3, 4]
    for nonsense in (0, 1.5, "2", True):
        with pytest.raises(lf.LyapflowError, match="count must be an integer at least 1"):
            lf.set_threads(nonsense)
    assert pool.threads() == 4


def test_a_slurm_task_has_its_own_number_of_processors(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    lf.set_threads(None)
    usual = pool.threads()
    for said, count in [("1", 1), ("100000", usual), ("many", usual), ("", usual)]:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", said)
        assert pool.threads() == count
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(usual))
    assert pool.threads() == usual


def test_one_thread_for_stacks_too():
    A = np.random.default_rng(0).standard_normal((6, 5, 4))
    expected = lf.qr(A)
    lf.set_threads(1)
    try:
        found = lf.qr(A)
    finally:
        lf.set_threads(None)
    for mine, other in zip(found, expected):
        np.testing.assert_array_equal(mine, other)
