"""Adam against its textbook formula."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays, map_arrays


def cell(rng, dtype=np.float64):
    return map_arrays(
        lambda a: rng.standard_normal(a.shape).astype(dtype), lf.TanhRNN.random(4, 2, rng=rng)
    )


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_textbook_formula(clip_norm, dtype):
    rng = np.random.default_rng(0)
    adam = lf.Adam(0.01, beta1=0.8, beta2=0.95, eps=1e-4, clip_norm=clip_norm)
    params = cell(rng, dtype)
    state = adam.init(params)
    expected = [a.astype(float) for a in params]
    m, v = [0 * a for a in expected], [0 * a for a in expected]
    for step in range(1, 6):
        grads = cell(rng, dtype)
        kept = [a.copy() for a in params]
        fresh, state = adam.update(state, params, grads)
        for a, b in zip(params, kept):
            np.testing.assert_array_equal(a, b)  # the old parameters stay
        params = fresh
        for i, g in enumerate(a.astype(float) for a in grads):
            length = np.linalg.norm(g)
            g = g * min(1.0, (clip_norm or np.inf) / length)
            m[i] = 0.8 * m[i] + 0.2 * g
            v[i] = 0.95 * v[i] + 0.05 * g**2
            expected[i] -= (
                0.01 * (m[i] / (1 - 0.8**step)) / (np.sqrt(v[i] / (1 - 0.95**step)) + 1e-4)
            )
    assert state.step == 5
    for a, b in zip(params, expected):
        assert a.dtype == dtype
        np.testing.assert_allclose(
            a, b, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps
        )


def test_models_are_trees_too():
    rng = np.random.default_rng(0)
    model = lf.Model.random(cell(rng), 2, rng=rng)
    adam = lf.Adam(0.1)
    grads = map_arrays(np.ones_like, model)
    moved, _ = adam.update(adam.init(model), model, grads)
    assert isinstance(moved, lf.Model)
    assert isinstance(moved.cell, lf.TanhRNN)
    for a, b in zip(arrays(moved), arrays(model)):
        np.testing.assert_allclose(a, b - 0.1, atol=1e-7)  # a first step has the length of the rate


def test_gradients_must_be_like_the_parameters():
    rng = np.random.default_rng(0)
    params, adam = cell(rng), lf.Adam()
    with pytest.raises(lf.LyapflowError, match="a gradient must be like its parameter"):
        adam.update(adam.init(params), params, params._replace(W=np.zeros((3, 3))))


def test_the_state_must_be_that_of_the_parameters():
    adam, rng = lf.Adam(), np.random.default_rng(0)
    small, large = lf.TanhRNN.random(2, 1, rng=rng), lf.TanhRNN.random(200, 1, rng=rng)
    with pytest.raises(lf.LyapflowError, match="a state must be like its parameter"):
        adam.update(adam.init(small), large, large)
    with pytest.raises(
        lf.LyapflowError, match=r"a state must be like its parameter, float32.*got float64"
    ):
        adam.update(adam.init(small), *[map_arrays(lambda a: a.astype(np.float32), small)] * 2)


@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e200), (np.float32, 1e30)])
def test_gradients_whose_square_overflows(dtype, size):
    params = lf.TanhRNN.random(3, 1, rng=np.random.default_rng(0), dtype=dtype)
    huge = map_arrays(lambda a: np.full_like(a, size), params)
    clipped = lf.Adam(0.1, clip_norm=1.0)
    moved, _ = clipped.update(clipped.init(params), params, huge)
    np.testing.assert_allclose(moved.W, params.W - 0.1, atol=1e-6)
    free = lf.Adam(0.1)
    with pytest.raises(lf.Diverged, match="set clip_norm"):
        free.update(free.init(params), params, huge)
    with pytest.raises(lf.Diverged, match="stopped being finite"):
        clipped.update(clipped.init(params), params, map_arrays(lambda a: a * np.nan, params))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -1},
        {"lr": np.nan},
        {"lr": "fast"},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"eps": 0},
        {"clip_norm": 0},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(lf.LyapflowError, match=next(iter(settings))):
        lf.Adam(**settings)
