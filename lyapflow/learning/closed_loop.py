"""Networks whose next input is their own output."""

from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.cells.closed_loop import fed_back
from lyapflow.cells.elman import ElmanReluRNN, ElmanRNN
from lyapflow.cells.interface import checked, sizes
from lyapflow.cells.joint import as_one
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.ensemble import Ensemble, stack
from lyapflow.errors import LyapflowError
from lyapflow.learning.model import Model, checked_model

# W h + V x', of the very units that the readout sees: V W_out adds to W
LINEAR_IN_UNITS = (LinearRNN, ElmanRNN, ElmanReluRNN, LSTM)


def closed_loop(model: Model | Ensemble, *, external: int = 0) -> Any:
    r"""A cell whose next input is a Model's output.

    .. math:: h_{t+1} = f(h_t, [W_{out} h_t + b_{out},\, e_{t+1}])

    of its units, where :math:`e` are inputs from outside, none by default. It goes wherever a cell
    goes, an autonomous one with ``steps=``.

    Parameters
    ----------
    model : Model, or ensemble of Models
        With as many outputs as its cell has inputs, not counting external ones. Its ``h0`` is not
        part of the resulting cell: pass the state to start from as ``h0=``.
    external : int
        How many of the cell's inputs still come from outside: the last ones.

    Returns
    -------
    cell
        Of the Model's own class where V W_out can be added to W (`LinearRNN`, `ElmanRNN`,
        `ElmanReluRNN`, `LSTM`); else one of the fields ``cell``, ``W_out`` and ``b_out``. Its state is
        the Model's; of layers, whose state it has whole, a readout sees all.

    Raises
    ------
    LyapflowError
        If the Model is not sound, its outputs are not as many as the inputs that they are to be, or
        its cell is one of your own without `lyapflow.cells.interface.driven_tangent`.

    Examples
    --------
    An output that halves a state, and is fed back:

    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(np.zeros((1, 1)), np.array([[1.0]]), np.zeros(1))
    >>> model = lf.Model(cell, np.array([[0.5]]), np.zeros(1), np.zeros(1))
    >>> loop = lf.closed_loop(model)
    >>> lf.lyapunov_spectrum(loop, steps=100, h0=[0.1]).exponents
    array([-0.69314718])
    """
    if isinstance(model, Ensemble):
        return stack(closed_loop(member, external=external) for member in model)
    model = checked_model(model, ())
    external = _checks.integer("external", external, 0)
    cell, outputs, inputs = model.cell, len(model.b_out), sizes(model.cell).inputs
    if outputs + external != inputs:
        raise LyapflowError(
            f"a closed loop must have as many outputs as its cell has inputs, but for the external ones: the Model "
            f"has {outputs} outputs, its {type(cell).__name__} takes {inputs} inputs, {external} of them external"
        )
    if isinstance(cell, LINEAR_IN_UNITS):
        return _absorbed(model)
    return checked(fed_back(as_one(cell), model.W_out, model.b_out))


def _absorbed(model: Model) -> Any:
    """``W + V W_out`` and ``b + V b_out``, with what is left of V."""
    cell: Any = model.cell
    fed, left = np.split(cell.V, [len(model.b_out)], axis=-1)
    return cell._replace(
        W=cell.W + fed @ model.W_out, V=np.ascontiguousarray(left), b=cell.b + fed @ model.b_out
    )
