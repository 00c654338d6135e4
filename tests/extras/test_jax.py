"""The flossing loss within JAX."""

import jax
import numpy as np
import pytest

import lyapflow as lf
from lyapflow.jax import flossing_loss

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
NETWORK = lf.layers(lf.GRU.random(4, 3, rng=RNG), lf.LSTM.random(3, 4, rng=RNG))
X = RNG.standard_normal((20, 2, 3))


def loss(cell, x):
    return flossing_loss(cell, x, 2, target=[0.0, 0.1, 0.2, 0.3], q_transient=3)[0]


def test_gradients_are_the_librarys():
    wanted = lf.flossing_value_and_grad(
        NETWORK, X, 2, target=np.array([0.0, 0.1, 0.2, 0.3]), q_transient=3, input_gradient=True
    )
    for compiled in (loss, jax.jit(loss)):
        value, (of_cell, of_x) = jax.value_and_grad(compiled, argnums=(0, 1))(NETWORK, X)
        assert float(value) == pytest.approx(wanted[0], rel=1e-14)
        for one, other in zip(jax.tree.leaves(of_cell), jax.tree.leaves(wanted[1])):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)
        np.testing.assert_allclose(of_x, wanted[3], rtol=0, atol=1e-14)
    _, exponents = flossing_loss(NETWORK, X, 2, q_transient=3)
    np.testing.assert_array_equal(exponents, wanted[2])


def test_float32_under_vmap():
    cell = lf.ElmanRNN.random(5, 3, rng=RNG, dtype=np.float32)
    many = RNG.standard_normal((3, 12, 3)).astype(np.float32)
    found = jax.vmap(lambda x: flossing_loss(cell, x, 2)[0])(many)
    assert found.dtype == np.float32
    for value, x in zip(found, many):
        assert float(value) == pytest.approx(lf.flossing_value_and_grad(cell, x, 2)[0])


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"k": "a"}, "k must be an integer"),
        ({"target": "a"}, "target must be a finite number"),
        ({"target": [[0.0, 0.0]]}, "target must be a finite number"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(lf.LyapflowError, match=words):
        flossing_loss(NETWORK, X, **{"k": 2} | settings)


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="do not support JVP"):
        jax.hessian(lambda x: loss(NETWORK, x))(X[:8])
    with pytest.raises(Exception, match="x must have shape"):
        loss(NETWORK, X[:, :, :2])
