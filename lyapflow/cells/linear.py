"""The linear network: ``h' = W h + V x' + b`` (paper, App. E)."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow.cells.additive import activation, additive, bend, random_weights
from lyapflow.cells.interface import implement


@additive
class LinearRNN(NamedTuple):
    """Parameters of the linear network ``h' = W h + V x' + b``.

    Its Jacobian is W at every state, so its Lyapunov exponents are the logarithms of the moduli of
    W's eigenvalues.

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
    Paper, App. E.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    >>> spectrum = lf.lyapunov_spectrum(cell, np.ones((100, 1)))
    >>> bool(np.isclose(spectrum.exponents[0], np.log(0.5)))
    True
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
    ) -> "LinearRNN":
        r"""A random network: V_ij ~ N(0, 1), b = 0, and W by ``weights``.

        Parameters
        ----------
        n : int
            Number of units.
        m : int
            Number of inputs.
        rng : numpy.random.Generator
        g : float
            Gain; states of a network with g > 1 grow without bound.
        weights : {"gaussian", "orthogonal"}
            ``W_ij ~ N(0, g²/n)``, or g times a Haar-distributed orthogonal matrix.
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        LinearRNN

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        return cls(*random_weights(n, m, rng, g, dtype, weights))


@implement(activation, LinearRNN)
def linear_activation(cell, h, value, slope):
    value[:] = h
    slope[:] = 1.0


@implement(bend, LinearRNN)
def linear_bend(cell, value):
    return 0.0
