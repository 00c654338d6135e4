"""The networks of other libraries, with a leak: ``a' = (1 - α) a + α φ(W a + V x' + b)``, φ = tanh or ReLU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.additive import random_weights
from lyapflow.cells.leaky import given_leak, leaky
from lyapflow.cells.linear import linear_activation, linear_bend
from lyapflow.cells.relu import relu_activation, relu_bend
from lyapflow.cells.tanh import tanh_activation, tanh_bend


@leaky(inner=(linear_activation, linear_bend), outer=(tanh_activation, tanh_bend))
class ElmanRNN(NamedTuple):
    """Parameters of the network ``a' = (1 - leak) a + leak tanh(W a + V x' + b)``.

    Attributes
    ----------
    W : array (n, n)
        Recurrent weights.
    V : array (n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (n,)
        Bias.
    leak : array (n,)
        In (0, 1]; all 1 for a plain network.

    Notes
    -----
    Elman (1990); with a leak, the reservoir of an echo state network (Jaeger et al. 2007). The state
    is the activity a, which is what a readout sees. For a `torch.nn.RNN` of one layer, all arrays by
    ``.detach().numpy()``, and its `torch.nn.Linear` makes a `Model` of it::

        W, V = weight_hh_l0, weight_ih_l0
        b = bias_ih_l0 + bias_hh_l0
        leak = np.ones_like(b)

    Examples
    --------
    The network of PyTorch's ``nn.RNN``, with the sum of its two biases:

    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> W, V, b = rng.standard_normal((3, 3)), rng.standard_normal((3, 2)), np.zeros(3)
    >>> lf.trajectory(lf.ElmanRNN(W, V, b, np.ones(3)), rng.standard_normal((5, 2))).shape
    (5, 3)
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
        leak: ArrayLike = 1.0,
        weights: str = "gaussian",
        dtype: Any = np.float64,
    ) -> ElmanRNN:
        r"""A random network: V_ij ~ N(0, 1), b = 0, and W by ``weights``.

        Parameters
        ----------
        n : int
            Number of units.
        m : int
            Number of inputs.
        rng : numpy.random.Generator
        g : float
            Gain.
        leak : float or array (n,)
        weights : {"gaussian", "orthogonal"}
            ``W_ij ~ N(0, g²/n)``, or g times a Haar-distributed orthogonal matrix.
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        ElmanRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        W, V, b = random_weights(n, m, rng, g, dtype, weights)
        return cls(W, V, b, given_leak(leak, len(b), b.dtype))


@leaky(inner=(linear_activation, linear_bend), outer=(relu_activation, relu_bend))
class ElmanReluRNN(NamedTuple):
    """Parameters of the network ``a' = (1 - leak) a + leak max(W a + V x' + b, 0)``.

    Attributes
    ----------
    W : array (n, n)
        Recurrent weights.
    V : array (n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (n,)
        Bias.
    leak : array (n,)
        In (0, 1]; all 1 for a plain network.

    Notes
    -----
    The slope at 0 is 1, as that of `ReluRNN`. For a `torch.nn.RNN` with ``nonlinearity="relu"`` see
    `ElmanRNN`.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.ElmanReluRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1), np.ones(1))
    >>> lf.trajectory(cell, np.ones((3, 1)))[:, 0].tolist()
    [1.0, 1.5, 1.75]
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
        mean: float = -0.1,
        leak: ArrayLike = 1.0,
        dtype: Any = np.float64,
    ) -> ElmanReluRNN:
        r"""A random network: ``W_ij ~ N(mean/n, g²/n)``, V_ij ~ N(0, 1), b = 0.

        Parameters
        ----------
        n : int
            Number of units.
        m : int
            Number of inputs.
        rng : numpy.random.Generator
        g : float
            Gain.
        mean : float
            n times the mean of the recurrent weights, which keeps activity from growing where it is
            negative.
        leak : float or array (n,)
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        ElmanReluRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        mean = _checks.number("mean", mean, -1e6, 1e6)
        W, V, b = random_weights(n, m, rng, g, dtype, mean=mean)
        return cls(W, V, b, given_leak(leak, len(b), b.dtype))
