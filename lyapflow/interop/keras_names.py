"""Keras's layouts of recurrent weights, plain and CuDNN's, and the cells that they make; Keras is not needed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import Cell
from lyapflow.errors import LyapflowError
from lyapflow.interop.gates import KINDS, as_gates, from_gates, kind_of, split_bias
from lyapflow.interop.orders import in_our_letters

ORDERS = {"lstm": "ifco", "gru": "zrh", "gru-reset-before": "zrh", "tanh": "h", "relu": "h"}
CLASSES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3, "CuDNNLSTM": 4, "CuDNNGRU": 3}


class KerasLayer(NamedTuple):
    """A recurrent layer of Keras.

    Attributes
    ----------
    name : str
    gates : int
    config : mapping
        Its settings; empty where a file has weights only.
    kernel : array (m, G n)
    recurrent : array (n, G n)
    bias : array or None
        (G n,); (2, G n) of a GRU with ``reset_after``; (2 G n,) in CuDNN's layout.
    """

    name: str
    gates: int
    config: Mapping[str, Any]
    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray | None

    @property
    def cudnn(self) -> bool:
        """Whether the weights are laid out as CuDNN has them: the same shapes, but for the bias."""
        shape = None if self.bias is None else self.bias.shape
        return self.gates > 1 and shape == (2 * self.kernel.shape[1],)


def layer_of(
    name: str, class_name: str | None, config: Mapping[str, Any], arrays: list[np.ndarray]
) -> KerasLayer:
    """The layer of these arrays, as `get_weights` lists them, checked."""
    if len(arrays) not in (2, 3):
        raise LyapflowError(
            f"layer {name} must have a kernel, a recurrent kernel and maybe a bias, got {len(arrays)} arrays"
        )
    kernel, recurrent = (
        _checks.array(f"{what} of {name}", array, ("n", "m"))
        for what, array in zip(("kernel", "recurrent kernel"), arrays)
    )
    bias = _checks.array(f"bias of {name}", arrays[2], like=kernel) if len(arrays) == 3 else None
    n, columns = recurrent.shape
    gates = columns // n if n and columns % n == 0 else 0
    if gates not in (1, 3, 4) or kernel.shape[1] != columns:
        raise LyapflowError(
            f"layer {name} has weights of no SimpleRNN, LSTM or GRU: kernel {kernel.shape}, recurrent {recurrent.shape}"
        )
    if class_name is not None and CLASSES.get(class_name) != gates:
        raise LyapflowError(
            f"layer {name} is a {class_name}, whose weights would not have {gates} gates"
        )
    return KerasLayer(name, gates, config, kernel, recurrent, bias)


def cell_of(
    layer: KerasLayer, activation: str | None, recurrent_activation: str | None, dtype: Any
) -> Cell:
    """The cell that a layer is; activations are those of a file that does not say them."""
    kind = _kind(layer, activation, recurrent_activation)
    kernel, recurrent, bias = layer.kernel, layer.recurrent, layer.bias
    if layer.cudnn:
        kernel = np.hstack([_input_of_cudnn(of) for of in np.hsplit(kernel, layer.gates)])
        recurrent = np.hstack([of.T for of in np.hsplit(recurrent, layer.gates)])
    parts: Any = None
    if bias is not None:
        shape = (2, kernel.shape[1]) if layer.cudnn or kind == "gru" else (kernel.shape[1],)
        if bias.size != np.prod(shape):
            raise LyapflowError(
                f"the bias of {layer.name} must have shape {shape}, got {bias.shape}"
            )
        parts = bias.reshape(shape)
    wanted = kernel.dtype if dtype is None else _checks.dtype(dtype)
    weights = (recurrent.astype(wanted), kernel.astype(wanted))
    parts = None if parts is None else parts.astype(wanted)
    return from_gates(kind, *weights, parts, order=ORDERS[kind], columns=True)


def written_back(cell: Any, layer: KerasLayer) -> list[np.ndarray]:
    """What a layer's arrays become, so that they make this cell."""
    kind, wanted = kind_of(cell), _kind(layer, "tanh", "sigmoid")
    if kind != wanted:
        raise LyapflowError(
            f"layer {layer.name} holds a {KINDS[wanted].cell.__name__} as lyapflow calls it, "
            f"got a {type(cell).__name__}"
        )
    arrays = as_gates(cell, "the cell")
    gates, n, m = arrays["V"].shape
    if (m, gates * n) != layer.kernel.shape:
        raise LyapflowError(
            f"layer {layer.name} has {len(layer.recurrent)} units and {len(layer.kernel)} inputs, "
            f"the cell {n} units and {m} inputs"
        )
    own = KINDS[kind].gates
    places = [own.index(letter) for letter in in_our_letters(ORDERS[kind], own)]
    found = [np.hstack([W.T for W in arrays[name][places]]) for name in ("V", "W")]
    b = arrays["b"]
    if layer.bias is None:
        if b.any() or arrays.get("b_n", b).any():
            raise LyapflowError(
                f"layer {layer.name} has no bias (use_bias=False), the cell's is up to {abs(b).max():.3g}; "
                f'keep it at 0 with lf.Adam(hold=("b", "b_n"))'
            )
        return found
    if kind != "gru":
        return [*found, b[places].ravel()]
    old = layer.bias.astype(b.dtype).reshape(2, 3, n)
    inputs, state = split_bias(b[:2], old[0, [1, 0]], old[1, [1, 0]])
    both = [np.stack([*inputs, b[2]]), np.stack([*state, arrays["b_n"]])]
    return [*found, np.stack([of[places].ravel() for of in both])]


def _kind(layer: KerasLayer, activation: str | None, recurrent_activation: str | None) -> str:
    """What it is in `gates.KINDS`, or an error that names what no cell has."""
    if layer.cudnn:  # which has no others
        return {4: "lstm", 3: "gru"}[layer.gates]
    own = _activation(layer, "activation", activation, "'tanh' (or 'relu', of a SimpleRNN)")
    if layer.gates == 1 and own in ("tanh", "relu"):
        return own
    if own != "tanh":
        raise LyapflowError(
            f"layer {layer.name} has the activation {own}, which no cell of lyapflow's has"
        )
    gate = _activation(
        layer,
        "recurrent_activation",
        recurrent_activation,
        "'sigmoid' (Keras before 2.3: hard_sigmoid)",
    )
    if gate != "sigmoid":
        raise LyapflowError(
            f"layer {layer.name} has the recurrent activation {gate}, which no cell of lyapflow's has"
        )
    if layer.gates == 4:
        return "lstm"
    if "reset_after" in layer.config or layer.config.get("name") is not None:
        # Keras before 2.1 had no such setting, and no such network
        return "gru" if layer.config.get("reset_after", False) else "gru-reset-before"
    if layer.bias is None:
        raise LyapflowError(
            f"weights of {layer.name} without a bias do not say when its reset gate acts; give the model itself"
        )
    return "gru" if layer.bias.ndim == 2 else "gru-reset-before"


def _activation(layer: KerasLayer, setting: str, given: str | None, usual: str) -> str:
    found = layer.config.get(setting, given)
    if isinstance(found, Mapping):  # a serialised object
        found = found.get("config") or found.get("class_name")
    if found is None:
        raise LyapflowError(
            f"weights of {layer.name} do not say its {setting}; give {setting}=, {usual} by default in Keras"
        )
    return str(found)


def _input_of_cudnn(kernel: np.ndarray) -> np.ndarray:
    """The kernel (m, n) of one gate, whose numbers CuDNN has in the order of columns."""
    return kernel.T.reshape(kernel.shape, order="F")
