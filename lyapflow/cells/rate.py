"""The leaky rate network ``h' = (1 - α) h + α (W tanh(h) + V x' + b)``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow.cells.additive import random_weights
from lyapflow.cells.leaky import given_leak, leaky
from lyapflow.cells.linear import linear_activation, linear_bend
from lyapflow.cells.tanh import tanh_activation, tanh_bend


@leaky(inner=(tanh_activation, tanh_bend), outer=(linear_activation, linear_bend))
class RateRNN(NamedTuple):
    """Parameters of the rate network ``h' = (1 - leak) h + leak (W tanh(h) + V x' + b)``.

    Euler's method with the step dt for ``τ dh/dt = -h + W tanh(h) + V x + b``, where leak = dt/τ.

    Attributes
    ----------
    W : array (n, n)
        Recurrent weights.
    V : array (n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (n,)
        Bias.
    leak : array (n,)
        dt/τ of each unit, in (0, 1]; with 1 the network is a `TanhRNN`.

    Notes
    -----
    Exponents are nats per step; `Spectrum.per` gives them per unit of time. Sompolinsky, Crisanti
    and Sommers (1988).

    Examples
    --------
    Time constants of 5 to 20 ms in steps of 1 ms; exponents per millisecond:

    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> cell = lf.RateRNN.random(20, 0, rng=rng, g=3.0, leak=1.0 / rng.uniform(5, 20, 20))
    >>> h0 = rng.standard_normal(20)
    >>> lf.lyapunov_spectrum(cell, k=2, steps=2000, h0=h0, transient=500).per(1.0).exponents.shape
    (2,)
    """

    W: np.ndarray
    V: np.ndarray
    b: np.ndarray
    leak: np.ndarray

    @classmethod
    def random(
        cls,
        n: int,
        m: int,
        *,
        rng: np.random.Generator,
        g: float = 1.0,
        leak: ArrayLike = 0.1,
        weights: str = "gaussian",
        dtype: Any = np.float64,
    ) -> RateRNN:
        r"""A random network: V_ij ~ N(0, 1), b = 0, and W by ``weights``.

        Parameters
        ----------
        n : int
            Number of units.
        m : int
            Number of inputs.
        rng : numpy.random.Generator
        g : float
            Gain. Without input very large networks are chaotic above 1; of those with 100 units
            many still settle on a fixed point or a cycle at 2 or 3.
        leak : float or array (n,)
            dt/τ.
        weights : {"gaussian", "orthogonal"}
            ``W_ij ~ N(0, g²/n)``, or g times a Haar-distributed orthogonal matrix.
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        RateRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        W, V, b = random_weights(n, m, rng, g, dtype, weights)
        return cls(W, V, b, given_leak(leak, len(b), b.dtype))
