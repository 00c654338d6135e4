"""The warning that flossing has left units which a readout cannot learn from."""

import warnings

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.learning.stillness import keeps_still

TASK = lf.tasks.BinaryTemporalXOR(4)
SAID = "nearly all 12 of this LSTM keep still, saturated"


def network(cell_class, units, seed=0):
    rng = np.random.default_rng(seed)
    return lf.Model.random(cell_class.random(units, 1, rng=rng), 1, rng=rng)


def flossing(k, **changes):
    return lf.Flossing(**{"k": k, "epochs": 300, "optimizer": lf.Adam(3e-3), "at": (0,)} | changes)


def bits(epoch):
    return TASK.inputs(np.random.default_rng([0, epoch]), 55, 1)[:, 0]


def test_as_many_exponents_as_units_saturate_an_lstm():
    cell = network(lf.LSTM, 12).cell
    with pytest.warns(lf.LyapflowWarning, match=f"^flossing should leave .*{SAID}") as caught:
        flossed, history = lf.floss(
            cell, bits, k=12, epochs=300, optimizer=lf.Adam(3e-3), q_transient=16
        )
    assert [warning.filename for warning in caught] == [__file__]
    assert np.abs(history[-1].exponents).max() < 0.05  # and yet
    h, c = np.split(lf.trajectory(flossed, bits(300)), 2, axis=1)
    assert np.median(np.abs(c[30:])) > 5
    assert np.median(h[30:].std(axis=0)) < 0.02


def test_training_warns_once_of_all_episodes():
    schedule = flossing(12, at=(0, 1, 2))
    with pytest.warns(lf.LyapflowWarning, match=f"^epoch 0: .*{SAID}") as caught:
        lf.train(network(lf.LSTM, 12), TASK, epochs=3, seed=0, T=20, flossing=schedule)
    assert len(caught) == 1


def test_members_of_an_ensemble_are_named():
    models = [network(lf.LSTM, 12, seed) for seed in range(2)]
    with pytest.warns(lf.LyapflowWarning, match=f"^members 0, 1: epoch 0: .*{SAID}") as caught:
        lf.train(
            lf.stack(models), TASK, epochs=2, seed=(0, 1), T=20, flossing=flossing(12, at=(0, 1))
        )
    assert len(caught) == 1


def test_a_gru_whose_gates_let_nothing_in():
    with pytest.warns(lf.LyapflowWarning, match="nearly all 12 of this GRU keep still"):
        lf.floss(
            network(lf.GRU, 12).cell,
            bits,
            k=12,
            epochs=300,
            optimizer=lf.Adam(3e-3),
            q_transient=16,
        )


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.LSTM, lf.GRU, lf.ReluRNN])
def test_recommended_settings_do_not_warn(cell_class):
    # the tanh network of README and demo
    model = network(cell_class, 80 if cell_class is lf.TanhRNN else 40)
    lf.train(model, TASK, epochs=1, seed=0, T=20, **lf.recommended(model.cell, floss=True))


def test_units_that_keep_still_for_another_reason():
    """No warning: exponents that are off their targets, inputs that keep still, a state that does not stay finite."""
    # c grows by 1 a step
    cell, x = lf.LSTM(np.zeros((4, 3, 3)), np.zeros((4, 3, 1)), np.full((4, 3), 20.0)), bits(0)
    assert keeps_still(cell, x, None, np.zeros(3))
    assert not keeps_still(cell, x, None, np.full(3, 0.2))
    assert not keeps_still(cell, np.full_like(x, 0.3), None, np.zeros(3))
    assert not keeps_still(
        cell._replace(V=np.empty((4, 3, 0))), np.empty((50, 0)), None, np.zeros(3)
    )
    # of layers a readout sees those of the top one
    below = lf.LinearRNN.random(3, 1, rng=np.random.default_rng(0))
    above = lf.TanhRNN(np.zeros((3, 3)), np.zeros((3, 3)), np.full(3, 20.0))
    assert keeps_still(lf.layers(below, above), x, None, np.zeros(6))
    exploding = lf.LinearRNN(np.diag([1e10]), np.ones((1, 1)), np.ones(1))
    assert not keeps_still(exploding, x, None, np.zeros(1))


def test_flossing_that_ends_early_or_has_no_epoch_needs_no_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lf.floss(network(lf.LSTM, 12).cell, bits, k=12, epochs=0)
        lf.floss(network(lf.LSTM, 12).cell, bits, k=12, epochs=5, callbacks=lambda record: True)
