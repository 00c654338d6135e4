"""The tanh ("vanilla") network: ``h' = W tanh(h) + V x' + b`` (paper, Eq. 9)."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow.cells.additive import activation, additive, bend, random_weights
from lyapflow.cells.interface import implement
from lyapflow.linalg.elementary import tanh_sech2


@additive
class TanhRNN(NamedTuple):
    """Parameters of the tanh network ``h' = W tanh(h) + V x' + b``.

    Attributes
    ----------
    W : array (n, n)
        Recurrent weights.
    V : array (n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (n,)
        Bias.

    Notes
    -----
    The state h is the pre-activation. The state ``a = tanh(h)`` of other libraries' networks
    follows the same dynamics after the change of variables, with the same Lyapunov exponents at
    long times. Paper, Eq. 9.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0), g=1.5)
    >>> lf.trajectory(cell, np.ones((10, 1))).shape
    (10, 4)
    """

    W: np.ndarray
    V: np.ndarray
    b: np.ndarray

    @classmethod
    def random(
        cls,
        n: int,
        m: int,
        *,
        rng: np.random.Generator,
        g: float = 1.0,
        weights: str = "gaussian",
        dtype: Any = np.float64,
    ) -> "TanhRNN":
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
        weights : {"gaussian", "orthogonal"}
            ``W_ij ~ N(0, g²/n)``, or g times a Haar-distributed orthogonal matrix (paper, App. G).
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        TanhRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        return cls(*random_weights(n, m, rng, g, dtype, weights))


@implement(activation, TanhRNN)
def tanh_activation(cell, h, value, slope):
    tanh_sech2(h, value, slope)


@implement(bend, TanhRNN)
def tanh_bend(cell, value):
    return -(value + value)
