"""tanh and sech² against mpmath."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lyapflow.linalg.elementary import tanh_sech2

LARGEST = {np.float64: 354.8, np.float32: 44.3}  # sech² is a normal number up to here
TINY = {np.float64: 1e-307, np.float32: 1e-37}


def errors(x):
    """Errors of tanh and of sech², in units in the last place of the exact value."""
    t, s = np.empty_like(x), np.empty_like(x)
    tanh_sech2(x, t, s)
    with mpmath.workprec(160):
        exact = [mpmath.mpf(float(v)) for v in x]
        ulps = [
            abs(mpmath.mpf(float(found)) - value) / float(np.spacing(x.dtype.type(abs(value))))
            for found, value in [
                *zip(t, map(mpmath.tanh, exact)),
                *zip(s, (mpmath.sech(v) ** 2 for v in exact)),
            ]
        ]
    return float(max(ulps[: x.size])), float(max(ulps[x.size :]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_relative_error_below_four_ulp(dtype):
    rng = np.random.default_rng(0)
    largest = LARGEST[dtype]
    x = np.concatenate(
        [
            rng.uniform(-largest, largest, 2000),
            rng.standard_normal(2000),
            np.copysign(
                10 ** rng.uniform(np.log10(TINY[dtype]), 1, 2000), rng.standard_normal(2000)
            ),
            # where the range reduction switches
            np.arange(1, 2 * largest / np.log(2)) * np.log(2) / 4,
            [largest, -largest],
        ]
    ).astype(dtype)
    assert max(errors(x)) < 4


def test_a_dense_sweep_in_float32():
    # four million points against float64, whose own error is 1e-9 of these units
    x = np.linspace(1e-3, LARGEST[np.float32], 4_000_000, dtype=np.float32)
    t, s = np.empty_like(x), np.empty_like(x)
    tanh_sech2(x, t, s)
    decay = np.exp(-2 * x.astype(float))
    for found, exact in ((t, np.tanh(x.astype(float))), (s, 4 * decay / (1 + decay) ** 2)):
        assert (np.abs(found - exact) / np.spacing(exact.astype(np.float32))).max() < 4


@given(st.floats(-354.8, 354.8))
@example(19.0)
@example(354.8)
def test_relative_error_anywhere(x):
    if abs(x) > TINY[np.float64]:
        assert max(errors(np.array([x]))) < 4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ends_of_the_range(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, 1e30, np.nan], dtype)
    t, s = np.empty_like(x), np.empty_like(x)
    tanh_sech2(x, t, s)
    np.testing.assert_array_equal(t, np.array([0, -0.0, 1, -1, 1, np.nan], dtype))
    assert np.signbit(t[1])
    assert s[0] == s[1] == 1
    assert not s[2:5].any()
    assert np.isnan(s[5])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_tail_of_a_vector_has_the_bits_of_its_body(dtype):
    x = np.random.default_rng(0).standard_normal(67).astype(dtype)
    t, s = np.empty_like(x), np.empty_like(x)
    tanh_sech2(x, t, s)
    for i in range(x.size):
        ti, si = np.empty_like(x[:1]), np.empty_like(x[:1])
        tanh_sech2(x[i : i + 1], ti, si)
        assert ti[0] == t[i]
        assert si[0] == s[i]
