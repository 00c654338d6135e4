"""The ReLU network: ``h' = W max(h, 0) + V x' + b`` (paper, App. B.1)."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.cells.additive import activation, additive, bend, random_weights
from lyapflow.cells.interface import implement


@additive
class ReluRNN(NamedTuple):
    """Parameters of the ReLU network ``h' = W max(h, 0) + V x' + b``.

    The slope at 0 is 1, so that the zero state is no dead end. A unit below 0 is silent and gives
    the Jacobian a column of zeros: exponents beyond the number of active units are minus infinity.

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
    Paper, App. B.1.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.ReluRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    >>> lf.trajectory(cell, np.ones((3, 1)))[:, 0].tolist()
    [1.0, 1.5, 1.75]
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
        mean: float = -0.1,
        dtype: Any = np.float64,
    ) -> "ReluRNN":
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
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        ReluRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        mean = _checks.number("mean", mean, -1e6, 1e6)
        return cls(*random_weights(n, m, rng, g, dtype, mean=mean))


@implement(activation, ReluRNN)
def relu_activation(cell, h, value, slope):
    for i in range(h.size):
        active = h[i] >= 0
        value[i] = h[i] if active else 0.0
        slope[i] = 1.0 if active else 0.0


@implement(bend, ReluRNN)
def relu_bend(cell, value):
    return 0.0
