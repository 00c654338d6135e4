"""The gradient beside covariant vectors during training: its definition, closed forms, and runs that go on."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import map_arrays
from lyapflow.learning.streams import stream
from tests.test_resume import SETTINGS, lost_member, same_history
from tests.test_training import TASK, model

MEASURED = SETTINGS | {"measure_vectors": 3}


def test_overlaps_are_those_of_public_functions_and_of_differences():
    start, T = model(), 30
    start = start._replace(h0=np.random.default_rng(5).standard_normal(8))
    _, history = lf.train(
        start, TASK, epochs=0, seed=3, T=T, batch=4, measure_every=1, measure_vectors=3
    )
    x, y, first = TASK.sample(stream(3, "test"), T, 4)
    before = TASK.inputs(stream(3, "vectors"), T, 1)
    with pytest.warns(lf.LyapflowWarning):
        vectors = lf.covariant_vectors(
            start.cell,
            np.concatenate([before[:, 0], x[:, 0]]),
            3,
            h0=start.h0,
            q_transient=T,
            end_transient=T - 1,
        )
    h = lf.trajectory(start.cell, before[:, 0], start.h0)[-1]
    np.testing.assert_array_equal(vectors.states, h[None])

    def loss(at):
        z = lf.trajectory(start.cell, x[:, 0], at)[first:] @ start.W_out.T + start.b_out
        return np.mean(np.logaddexp(0, z) - z * y[first:, 0])

    step = 1e-5
    gradient = [(loss(h + e) - loss(h - e)) / (2 * step) for e in step * np.eye(len(h))]
    expected = np.abs(gradient @ vectors.vectors[0]) / np.linalg.norm(gradient)
    assert history.measurement["overlaps"].shape == (1, 3)
    np.testing.assert_allclose(history.measurement["overlaps"][0], expected, rtol=1e-6)


def test_a_readout_of_one_direction_has_a_gradient_along_it():
    W = np.diag([0.9, 0.6, 0.3])
    cell = lf.LinearRNN(W, np.ones((3, 1)), np.zeros(3))
    task = lf.tasks.DelayedCopy(1)
    for unit in range(3):
        network = lf.Model(cell, np.eye(3)[[unit]], np.zeros(1), np.zeros(3))
        _, history = lf.train(
            network, task, epochs=0, seed=0, T=80, batch=2, measure_every=1, measure_vectors=3
        )
        np.testing.assert_allclose(history.measurement["overlaps"][0], np.eye(3)[unit], atol=1e-8)


@pytest.mark.parametrize(("dtype", "decay"), [(np.float32, 0.25), (np.float64, 1e-4)])
def test_gradients_that_have_vanished_keep_their_direction(dtype, decay):
    """dL/dh is about decay ** T, a number, though its square is none."""
    T = int(np.log(1e8 * np.finfo(dtype).tiny) / np.log(decay))
    cell = lf.LinearRNN(np.diag([decay, decay / 8]), np.ones((2, 1)), np.zeros(2))
    network = lf.Model(cell, np.ones((1, 2)), np.zeros(1), np.zeros(2))
    network = map_arrays(lambda a: a.astype(dtype), network)
    settings = {"epochs": 0, "seed": 0, "T": T, "batch": 2, "measure_every": 1}
    task = lf.tasks.DelayedCopy(T - 1)
    _, history = lf.train(network, task, **settings, measure_vectors=2)
    np.testing.assert_allclose(history.measurement["overlaps"][0], [1, 0], atol=1e-3)


def test_vectors_that_are_not_unique_have_no_overlap():
    cell = lf.LinearRNN(np.diag([0.9, 0.0, 0.0]), np.ones((3, 1)), np.zeros(3))
    network = lf.Model(cell, np.ones((1, 3)), np.zeros(1), np.zeros(3))
    settings = {"epochs": 0, "seed": 0, "T": 20, "batch": 2, "measure_every": 1}
    _, history = lf.train(network, lf.tasks.DelayedCopy(1), **settings, measure_vectors=2)
    assert np.isnan(history.measurement["overlaps"]).all()
    _, history = lf.train(network, lf.tasks.DelayedCopy(1), **settings, measure_vectors=1)
    assert history.measurement["overlaps"][0, 0] > 0.1


def test_nothing_else_of_a_run_changes():
    plain, history = lf.train(model(), **SETTINGS)
    trained, measured = lf.train(model(), **MEASURED)
    assert lf.digest(trained) == lf.digest(plain)
    assert history.measurement["overlaps"].shape == (3, 0)
    for name in ("loss", "accuracy", "singular_values", "exponents"):
        np.testing.assert_array_equal(measured.measurement[name], history.measurement[name])


@pytest.mark.parametrize("start", [model(), lost_member()], ids=["alone", "lost member"])
def test_stopped_and_resumed_is_uninterrupted(tmp_path, start):
    settings = MEASURED | ({} if isinstance(start, lf.Model) else {"seed": (3, 4)})
    expected, whole = lf.train(start, **settings)
    assert whole.measurement["overlaps"].shape[-1] == 3
    for stop in (4, 9):
        heard = []

        def enough(record, heard=heard, stop=stop):
            heard.append(record)
            return len(heard) >= stop

        folder = tmp_path / str(stop)
        lf.train(start, **settings, callbacks=enough, folder=folder)
        trained, history = lf.resume(folder)
        assert lf.digest(trained) == lf.digest(expected)
        same_history(history, whole)
        same_history(lf.RunFolder(folder).history(), whole)
