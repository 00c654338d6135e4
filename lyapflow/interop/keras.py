"""Recurrent layers of Keras as cells, and back."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import Cell, checked, sizes
from lyapflow.errors import LyapflowError
from lyapflow.interop.check import check_states, trial
from lyapflow.interop.gates import kind_of
from lyapflow.interop.keras_files import layers_of_file
from lyapflow.interop.keras_names import (
    CLASSES,
    ORDERS,
    KerasLayer,
    cell_of,
    layer_of,
    written_back,
)
from lyapflow.interop.named import place_of


def from_keras(
    layer: Any,
    *,
    name: str | None = None,
    dtype: Any = None,
    check: bool = True,
    activation: str | None = None,
    recurrent_activation: str | None = None,
) -> Cell:
    """A cell with the weights of a recurrent layer of Keras.

    Parameters
    ----------
    layer : keras layer or model, or path
        A `SimpleRNN`, `LSTM` or `GRU`; `Bidirectional`, a model or a file that has one: ``.keras``,
        ``.weights.h5``, or older HDF5, also with weights of `CuDNNLSTM` and `CuDNNGRU`. Files are
        read by h5py, without Keras.
    name : str, optional
        Name of the layer, if there are several.
    dtype : float64 or float32, optional
        The layer's by default.
    check : bool
        Whether to compare the states with the layer's, step by step; for files there is nothing to
        compare.
    activation, recurrent_activation : str, optional
        Needed for a file that has only weights.

    Returns
    -------
    LSTM, GRU, GRUResetBefore, ElmanRNN or ElmanReluRNN

    Raises
    ------
    LyapflowError
        If it is no such layer, has other activations, or its states differ from the cell's.

    Notes
    -----
    ``x`` of a cell is (time, batch, inputs). A layer with ``go_backwards``, and the backward layer
    of `Bidirectional`, read their input from the end: pass ``x[::-1]``.

    Examples
    --------
    >>> import lyapflow as lf
    >>> cell = lf.from_keras("model.keras", name="lstm")  # doctest: +SKIP
    """
    _checks.flag("check", check)
    if isinstance(layer, (str, os.PathLike)):
        found = layers_of_file(layer)
        own = found[_one([of.name for of in found], name, str(layer))]
        return cell_of(own, activation, recurrent_activation, dtype)
    original = _recurrent(layer, name)
    cell = cell_of(_described(original), None, None, dtype)
    if check:
        _compare(original, cell)
    return cell


def to_keras(cell: Cell, layer: Any, *, name: str | None = None) -> None:
    """Write a cell's weights into a recurrent layer of Keras, in place.

    Of the two biases of a GRU with ``reset_after`` the one of the state stays as it is, and both
    where they add up to the cell's. ``from_keras`` of the layer is then the same cell, to the bit if
    dtypes are the same.

    Parameters
    ----------
    cell : cell
    layer : keras layer or model
        As in `from_keras`.
    name : str, optional
        Name of the layer, if there are several.

    Raises
    ------
    LyapflowError
        If they do not fit each other; nothing is written then.

    Examples
    --------
    >>> import lyapflow as lf
    >>> lf.to_keras(cell, model, name="lstm")  # doctest: +SKIP
    """
    original = _recurrent(layer, name)
    original.set_weights(written_back(checked(cell), _described(original)))


def _one(names: list[str], name: str | None, what: str) -> int:
    """Where the recurrent layer of that name stands, or the only one."""
    if not names:
        raise LyapflowError(f"{what} has no SimpleRNN, LSTM or GRU")
    if name is not None and names.count(name) > 1:
        raise LyapflowError(
            f"{what} has several recurrent layers named {name!r}; give the layer itself"
        )
    return place_of(name, names, what, "recurrent layer")


def _recurrent(layer: Any, name: str | None) -> Any:
    """The recurrent layer within another, or itself."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(layer, keras.layers.Layer):
        raise LyapflowError(
            f"from_keras takes a layer or a model of Keras, or a path, got {type(layer).__name__}"
        )
    found = list({id(of): of for of in _within(layer)}.values())
    what = f"the {type(layer).__name__} {layer.name}"
    return found[_one([of.name for of in found], name, what)]


def _within(layer: Any) -> Iterator[Any]:
    if type(layer).__name__ in CLASSES:
        yield layer
    elif type(layer).__name__ == "Bidirectional":
        yield from (layer.forward_layer, layer.backward_layer)
    else:
        for part in getattr(layer, "layers", ()):
            yield from _within(part)


def _described(layer: Any) -> KerasLayer:
    if not layer.built:
        raise LyapflowError(f"layer {layer.name} has no weights yet; build it, or call it once")
    if layer.compute_dtype != layer.variable_dtype:
        raise LyapflowError(
            f"layer {layer.name} computes in {layer.compute_dtype}, its weights are {layer.variable_dtype}; "
            f"take a model of one dtype"
        )
    return layer_of(layer.name, type(layer).__name__, layer.get_config(), layer.get_weights())


def _compare(layer: Any, cell: Any) -> None:
    """Run the layer's cell step by step, and compare its states with those of ours."""
    keras = sys.modules["keras"]
    size, (x, start) = sizes(cell), trial(cell)
    parts = np.split(start.astype(layer.dtype), size.state // size.units, axis=1)
    states = [keras.ops.convert_to_tensor(part) for part in parts]
    found = []
    for step in x.astype(layer.dtype):
        out, states = layer.cell(keras.ops.convert_to_tensor(step), states, training=False)
        found.append(keras.ops.convert_to_numpy(out))
    units = np.stack(found).astype(_precision(keras, layer.dtype))
    check_states([cell], x, start, [units], order=ORDERS[kind_of(cell)])


def _precision(keras: Any, dtype: str) -> str:
    """In what products are computed: but for TensorFlow's, Keras's backends round those of float64 to float32."""
    fine = keras.ops.convert_to_tensor(np.full((1, 1), 1 + 2.0**-40).astype(dtype))
    return dtype if float(keras.ops.matmul(fine, fine)[0, 0]) > 1 else "float32"
