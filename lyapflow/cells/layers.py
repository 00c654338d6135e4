"""Networks of several layers: the units of a layer, over time, are the input of the next."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from lyapflow.cells.interface import (
    Cell,
    Sizes,
    accumulate,
    checked,
    first_array,
    input_pullback,
    sizes,
    within_bounds,
)
from lyapflow.errors import Diverged, LyapflowError


class Layers(NamedTuple):
    """A network of several layers, as `lyapflow.layers` makes it.

    Attributes
    ----------
    layers : tuple of cells
        Bottom first.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> network = lf.layers(lf.LSTM.random(3, 1, rng=rng), lf.TanhRNN.random(2, 3, rng=rng))
    >>> [type(layer).__name__ for layer in network.layers]
    ['LSTM', 'TanhRNN']
    >>> states = lf.trajectory(network, np.ones((10, 1)))
    >>> [part.shape for part in network.split(states)]
    [(10, 6), (10, 2)]
    """

    layers: tuple[Cell, ...]

    def split(self, states: np.ndarray) -> tuple[np.ndarray, ...]:
        """The states (..., n_state) of all layers as those of each, bottom first."""
        return split_states(self, states)


def layers(*cells: Cell) -> Layers:
    r"""A network of several layers, accepted wherever a cell is.

    .. math:: h^1_{t+1} = f_1(h^1_t, x_{t+1}), \qquad h^l_{t+1} = f_l(h^l_t, u^{l-1}_{t+1})

    where :math:`u^l` are the units of layer l, the leading entries of its state that a readout would
    see. The state is that of all layers, one after the other, bottom first; a readout sees the units
    of the top layer.

    Parameters
    ----------
    *cells : cells
        Bottom first, of any classes; a network of layers among them contributes its own layers.

    Returns
    -------
    Layers

    Raises
    ------
    LyapflowError
        If a cell is not sound, if the units of a layer are not as many as the inputs of the next,
        or if dtypes differ.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> network = lf.layers(lf.TanhRNN.random(8, 2, rng=rng), lf.LSTM.random(4, 8, rng=rng))
    >>> x = rng.standard_normal((1000, 2))
    >>> spectrum = lf.lyapunov_spectrum(network, x, q_transient=100)
    >>> spectrum.layer  # of each exponent, in descending order
    array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1])
    >>> spectrum.by_layer[1].exponents.shape
    (8,)
    """
    flat: list[Cell] = []
    for cell in cells:
        flat.extend(each_layer(cell))
    return checked(Layers(tuple(flat)))


def each_layer(cell: Any) -> tuple[Any, ...]:
    """The layers of a network, bottom first; a cell is its own only layer."""
    return cell.layers if isinstance(cell, Layers) else (cell,)


def split_states(cell: Any, states: np.ndarray) -> tuple[np.ndarray, ...]:
    """States (..., n_state) as those of each layer; of a cell, as they are."""
    ends = np.cumsum([sizes(layer).state for layer in each_layer(cell)])
    return tuple(np.split(states, ends[:-1], axis=-1))


def seen_units(cell: Any, states: np.ndarray) -> np.ndarray:
    """What a readout sees of states (..., n_state): the units (..., n_units) of the top layer."""
    return split_states(cell, states)[-1][..., : sizes(cell).units]


@contextmanager
def of_layer(number: int, of: int) -> Iterator[None]:
    """Name the layer in the errors of a network of several."""
    try:
        yield
    except LyapflowError as error:
        if of == 1:
            raise
        message = f"layer {number}: {error}"
        if not isinstance(error, Diverged):
            raise LyapflowError(message) from None
        raise Diverged(message, step=error.step, member=error.member, rank=error.rank) from None


@sizes.register
def _(cell: Layers) -> Sizes:
    of = [sizes(layer) for layer in cell.layers]
    return Sizes(
        state=sum(size.state for size in of),
        units=of[-1].units,
        inputs=of[0].inputs,
        record=sum(size.record for size in of),
        step_work=sum(size.step_work for size in of),
        tangent_work=sum(size.tangent_work for size in of),
        shapes={},
    )


@checked.register
def _(cell: Layers, *generics: Any) -> Layers:
    if not isinstance(cell.layers, (tuple, list)) or len(cell.layers) == 0:
        raise LyapflowError("layers takes the cells of the layers, bottom first, got none")
    found: list[Any] = []
    for number, layer in enumerate(cell.layers):
        # gradients come down through the inputs
        more = (input_pullback,) if number > 0 and accumulate in generics else ()
        with of_layer(number, 2):
            found.append(checked(layer, *generics, *more))
    for number, (below, above) in enumerate(itertools.pairwise(found)):
        units, inputs = sizes(below).units, sizes(above).inputs
        if units != inputs:
            raise LyapflowError(
                f"the input of a layer must be as long as the layer below has units: layer {number + 1} "
                f"({type(above).__name__}) takes {inputs} inputs, layer {number} ({type(below).__name__}) "
                f"has {units} units"
            )
        one, other = first_array(below).dtype, first_array(above).dtype
        if one != other:
            raise LyapflowError(
                f"all layers must be of one dtype, got {one} in layer {number} and {other} in layer {number + 1}; "
                f"convert with .astype(np.{one})"
            )
    return Layers(tuple(found))


@within_bounds.register
def _(cell: Layers) -> Layers:
    return Layers(tuple(map(within_bounds, cell.layers)))
