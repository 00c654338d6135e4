"""A Model: a cell with a linear readout and an initial state."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import DIFFERENTIABLE, Cell, checked, first_array, sizes
from lyapflow.errors import LyapflowError


class Model(NamedTuple):
    """A cell, the readout ``y = W_out h + b_out`` of its units, and the state it starts from.

    Attributes
    ----------
    cell : cell
    W_out : array (o, n_units)
        Readout of the first n_units entries of the state.
    b_out : array (o,)
    h0 : array (n_state,)
        Initial state, one for a whole batch; trained.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0))
    >>> model = lf.Model.random(cell, 2, rng=np.random.default_rng(1))
    >>> model.W_out.shape
    (2, 8)
    >>> model = model._replace(b_out=np.ones(2))
    """

    cell: Cell
    W_out: np.ndarray
    b_out: np.ndarray
    h0: np.ndarray

    @classmethod
    def random(cls, cell: Cell, n_outputs: int, *, rng: np.random.Generator) -> "Model":
        """A random readout for a cell: W_out ~ N(0, 1), b_out = 0, h0 = 0 (paper, App. H).

        Parameters
        ----------
        cell : cell
        n_outputs : int
        rng : numpy.random.Generator

        Returns
        -------
        Model

        Raises
        ------
        LyapflowError
            If the cell is not sound or n_outputs is not positive.
        """
        cell = checked(cell)
        n_outputs = _checks.integer("n_outputs", n_outputs, 1)
        rng = _checks.generator("rng", rng)
        size = sizes(cell)
        _checks.affordable(f"a readout of {n_outputs} outputs", n_outputs * size.units)
        dtype = first_array(cell).dtype
        return cls(
            cell,
            rng.standard_normal((n_outputs, size.units)).astype(dtype),
            np.zeros(n_outputs, dtype),
            np.zeros(size.state, dtype),
        )


def checked_model(model: Any, generics: tuple = DIFFERENTIABLE) -> Model:
    """The Model, or a gradient in one, with checked, C-contiguous arrays of one dtype.

    Its cell must implement the generic functions, of which a gradient needs none."""
    if not isinstance(model, Model):
        raise LyapflowError(
            f"model must be a lyapflow.Model, got {type(model).__name__}; "
            f"make one of a cell with lyapflow.Model.random(cell, n_outputs, rng=rng)"
        )
    cell = checked(model.cell, *generics)
    size = sizes(cell)
    W_out = _checks.array("W_out", model.W_out, ("o", size.units), like=first_array(cell))
    if len(W_out) == 0:
        raise LyapflowError(
            f"W_out must have a row for each output, at least one, got shape {W_out.shape}"
        )
    b_out = _checks.array("b_out", model.b_out, (len(W_out),), like=first_array(cell))
    h0 = _checks.array("h0", model.h0, (size.state,), like=first_array(cell))
    return Model(cell, W_out, b_out, h0)
