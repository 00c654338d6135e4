"""Gradients that floating-point numbers cannot carry: who is told, and what to ask for instead."""

import numpy as np
import pytest

import lyapflow as lf
from tests.gradcheck import random_cell
from tests.test_cells import each_dtype
from tests.test_rank import TOLERANCE, dead_units


@each_dtype
def test_flossing_names_the_step_and_what_remains(dtype):
    cell, _ = dead_units(6, 3, np.random.default_rng(0), dtype)
    x = np.empty((30, 0), dtype)
    for t_ons in (1, 4):
        with pytest.raises(
            lf.Diverged, match=r"lost rank at step 1 \(.*\): 3 of 5 exponents .*; ask for k <= 3"
        ) as caught:
            lf.flossing_value_and_grad(cell, x, 5, t_ons=t_ons)
        assert (caught.value.step, caught.value.rank) == (1, 3)
        assert ("use float64" in str(caught.value)) == (dtype is np.float32)
        assert np.isfinite(lf.flossing_value_and_grad(cell, x, 3, t_ons=t_ons)[0])
    with pytest.raises(
        lf.Diverged, match=r"^trajectory 0: the tangent block lost rank at step 1"
    ) as caught:
        lf.flossing_value_and_grad(cell, np.empty((30, 4, 0), dtype), 5)
    assert (caught.value.member, caught.value.rank) == (0, 3)
    with pytest.raises(
        lf.Diverged, match="flossing epoch 0: the tangent block lost rank"
    ) as caught:
        lf.floss(cell, lambda epoch: x, k=5, epochs=3)
    assert (caught.value.epoch, caught.value.step, caught.value.rank, caught.value.history) == (
        0,
        1,
        3,
        [],
    )


@each_dtype
def test_flossing_over_an_ill_conditioned_interval_is_exact(dtype):
    # done again with a QR after every step
    rng = np.random.default_rng(0)
    cell = random_cell(lf.TanhRNN, 8, 1, rng, 0.5, dtype)
    x = (0.3 * rng.standard_normal((60, 1))).astype(dtype)
    k = 5 if dtype is np.float32 else 8
    a, b = (lf.flossing_value_and_grad(cell, x, k, t_ons=t_ons, q_transient=5) for t_ons in (1, 25))
    np.testing.assert_allclose(a[2], b[2], atol=TOLERANCE[dtype])
    for p, q in zip(a[1], b[1]):
        np.testing.assert_allclose(p, q, atol=1e3 * TOLERANCE[dtype] * np.abs(p).max())


def test_a_direction_of_which_a_block_knows_too_few_digits_has_no_gradient():
    def flossing(short):
        cell = lf.LinearRNN(np.diag([1.0, short]), np.empty((2, 0)), np.zeros(2))
        return lf.flossing_value_and_grad(cell, steps=9, k=2, q_transient=1)

    assert flossing(1e-10)[0] == pytest.approx(np.log(1e-10) ** 2, rel=1e-9)
    with pytest.raises(lf.Diverged, match="1 of 2 exponents can be told from rounding"):
        flossing(3e-13)


def test_a_direction_has_the_errors_of_the_vectors_that_are_taken_away():
    def flossing(second):
        # D takes the third vector to (D q_2 - D q_1) / second + 1e-10 e_3
        D = np.array([[1.0, 1.0, 0.0], [0.0, second, 1.0], [0.0, 0.0, 1e-10]])
        cell = lf.LinearRNN(D, np.empty((3, 0)), np.zeros(3))
        return lf.flossing_value_and_grad(cell, steps=1, k=3, q0=np.eye(3))

    np.testing.assert_allclose(flossing(1.0)[2], [0.0, 0.0, np.log(1e-10)], atol=1e-9)
    with pytest.raises(lf.Diverged, match="2 of 3 exponents can be told from rounding"):
        flossing(1e-3)


def test_a_gradient_beyond_the_largest_number_has_overflowed():
    cell = lf.LinearRNN(np.full((2, 2), 1.7e308), np.empty((2, 0)), np.zeros(2))
    with pytest.raises(lf.Diverged, match="the tangent block overflowed at step 0") as caught:
        lf.flossing_value_and_grad(cell, steps=5, k=1, q0=np.full((2, 1), np.sqrt(0.5)))
    assert caught.value.step == 0


@pytest.mark.filterwarnings("ignore:growth rates stay")  # short runs are meant here
def test_flossing_names_a_k_that_works_at_once():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        cell, x = lf.TanhRNN.random(12, 1, rng=rng, g=6.0), 4 * rng.standard_normal((40, 3, 1))
        with pytest.raises(lf.Diverged, match=r"ask for k <= \d+$") as caught:
            lf.flossing_value_and_grad(cell, x, 12)
        assert str(caught.value).endswith(f"k <= {caught.value.rank}")
        assert np.isfinite(lf.flossing_value_and_grad(cell, x, caught.value.rank)[0])


@pytest.mark.filterwarnings("ignore:growth rates stay")  # short runs are meant here
@pytest.mark.parametrize("seed", [1342, 1411])
def test_gradients_that_rounding_spoils_over_many_steps_are_refused(seed):
    # no single step is beyond float64, and yet a log R is off by more than its gradient may be
    rng = np.random.default_rng(seed)
    cell, x = lf.TanhRNN.random(8, 1, rng=rng, g=14.0), 2.7 * rng.standard_normal((15, 1))
    h0 = 0.1 * rng.standard_normal(8)
    with pytest.raises(
        lf.Diverged, match="rounding errors spoil the tangent block up to step"
    ) as caught:
        lf.flossing_value_and_grad(cell, x, 3, h0=h0)
    k = caught.value.rank
    _, _, exponents = lf.flossing_value_and_grad(cell, x, k, h0=h0)
    np.testing.assert_allclose(
        exponents, lf.lyapunov_spectrum(cell, x, k, h0=h0).exponents, atol=3e-6
    )
