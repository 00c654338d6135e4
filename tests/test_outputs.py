"""What Models say, against their losses and by hand."""

import numpy as np
import pytest

import lyapflow as lf
from tests.test_cells import each_dtype

CASES = {
    "tanh": lambda rng, dtype: lf.TanhRNN.random(5, 2, rng=rng, dtype=dtype),
    "lstm": lambda rng, dtype: lf.LSTM.random(5, 2, rng=rng, dtype=dtype),
    "layers": lambda rng, dtype: lf.layers(
        lf.LSTM.random(5, 2, rng=rng, dtype=dtype), lf.TanhRNN.random(4, 5, rng=rng, dtype=dtype)
    ),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@each_dtype
def test_outputs_are_what_losses_see(make, dtype):
    rng = np.random.default_rng(0)
    model = lf.Model.random(make(rng, dtype), 3, rng=rng)
    h0 = rng.standard_normal(model.h0.shape).astype(dtype)
    model = model._replace(b_out=np.ones(3, dtype), h0=h0)
    x = rng.standard_normal((12, 4, 2)).astype(dtype)
    y = rng.standard_normal((12, 4, 3)).astype(dtype)
    said = lf.outputs(model, x)
    assert (said.shape, said.dtype) == (y.shape, dtype)
    loss, _ = lf.bptt_value_and_grad(model, x, y, loss="mse")
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    assert np.mean((said.astype(float) - y) ** 2) == pytest.approx(loss, rel=tolerance)
    np.testing.assert_allclose(lf.outputs(model, x[:, 1]), said[:, 1], rtol=100 * tolerance)


def test_states_may_be_given_and_members_come_one_by_one():
    rng = np.random.default_rng(0)
    models = [lf.Model.random(lf.ElmanRNN.random(3, 0, rng=rng), 1, rng=rng) for _ in range(2)]
    h0 = rng.standard_normal((5, 3))
    said = lf.outputs(models[0], steps=4, h0=h0)
    states = lf.trajectory(models[0].cell, steps=4, h0=h0)
    np.testing.assert_allclose(said, states @ models[0].W_out.T, atol=1e-14)
    both = lf.outputs(lf.stack(models), steps=4, h0=np.stack([h0, h0]))
    np.testing.assert_array_equal(both[0], said)
    np.testing.assert_array_equal(both[1], lf.outputs(models[1], steps=4, h0=h0))


def test_bad_input():
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(3, 1, rng=rng), 1, rng=rng)
    with pytest.raises(lf.LyapflowError, match=r"model must be a lyapflow.Model, got TanhRNN"):
        lf.outputs(model.cell, np.zeros((4, 1)))
    with pytest.raises(lf.LyapflowError, match=r"x must have shape \(T, 1\), got \(4, 2\)"):
        lf.outputs(model, np.zeros((4, 2)))
    with pytest.raises(lf.LyapflowError, match=r"h0 must have shape \(3,\), got \(2,\)"):
        lf.outputs(model, np.zeros((4, 1)), np.zeros(2))
    with pytest.warns(lf.LyapflowWarning, match="time first"):
        lf.outputs(model, np.zeros((2, 7, 1)))
    grown = model._replace(cell=lf.LinearRNN(np.diag([1e300] * 3), np.ones((3, 1)), np.zeros(3)))
    with pytest.raises(lf.Diverged, match="the state stopped being finite"):
        lf.outputs(grown, np.ones((9, 1)))
    loud = model._replace(W_out=np.full((1, 3), 1e308), h0=np.ones(3))
    silent = loud._replace(cell=lf.LinearRNN(np.zeros((3, 3)), np.ones((3, 1)), np.zeros(3)))
    with pytest.raises(lf.Diverged, match="an output stopped being finite at step 1") as caught:
        lf.outputs(silent, np.array([[0.0], [1.0], [1.0]]))
    assert caught.value.step == 1
