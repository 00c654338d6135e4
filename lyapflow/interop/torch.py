"""Recurrent modules of PyTorch as cells, and back."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.cells.elman import ElmanReluRNN
from lyapflow.cells.interface import Cell, checked
from lyapflow.cells.layers import each_layer, layers
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.gates import KINDS, kind_of
from lyapflow.interop.torch_modules import (
    compare,
    parameters_of,
    recurrent_within,
    refuse_dropout,
    refuse_traced,
)
from lyapflow.interop.torch_names import (
    NONLINEARITIES,
    Stack,
    Weights,
    as_arrays,
    cells_of,
    named,
    one_stack,
    stacks,
    written_back,
)
from lyapflow.runs import files

NO_VALUES = "weights are on the meta device, where tensors have no values; load the module's first"


def from_torch(
    module: Any,
    *,
    layer: int | None = None,
    reverse: bool = False,
    dtype: Any = None,
    check: bool = True,
    name: str | None = None,
    nonlinearity: str | None = None,
) -> Any:
    """A cell, or network of layers, with the weights of a recurrent module of PyTorch.

    Parameters
    ----------
    module : torch.nn.Module, mapping, or path
        An `nn.RNN`, `nn.LSTM`, `nn.GRU` or one of their ``*Cell`` classes, also from TorchScript,
        or a module that has one within; a state dict, whose arrays may be NumPy's; a file of such,
        safetensors or as ``torch.save`` writes it. PyTorch is needed for modules and its own files
        alone.
    layer : int, optional
        One layer of several; by default all, as `layers`.
    reverse : bool
        The backward direction of a bidirectional module, which reads its input from the end: pass
        ``x[::-1]``.
    dtype : float64 or float32, optional
        The module's by default.
    check : bool
        Whether to compare the states with the module's, step by step; for weights alone there is
        nothing to compare.
    name : str, optional
        Name of the module within a larger one, if there are several.
    nonlinearity : {"tanh", "relu"}, optional
        Needed for an `nn.RNN` of which there are only weights.

    Returns
    -------
    ElmanRNN, ElmanReluRNN, LSTM, GRU, or Layers of them

    Raises
    ------
    LyapflowError
        If it is no such module, or its states differ from the cell's.

    Notes
    -----
    ``x`` of a cell is (time, batch, inputs), whatever ``batch_first`` is. With ``proj_size`` the
    cell is an equivalent plain LSTM, ``W = weight_hh weight_hr``: its units are those before the
    projection, which you have to apply to them.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> weights = {"rnn.weight_ih_l0": rng.standard_normal((12, 2)) / 2,
    ...            "rnn.weight_hh_l0": rng.standard_normal((12, 4)) / 2}
    >>> type(lf.from_torch(weights)).__name__
    'GRU'
    """
    _checks.flag("check", check)
    if nonlinearity is not None:
        _checks.one_of("nonlinearity", nonlinearity, NONLINEARITIES)
    original = None
    weights: Mapping[str, Any]
    if isinstance(module, (str, os.PathLike)):
        weights, what = state_dict_within(checkpoint_of_file(module), module), str(module)
    elif isinstance(module, Mapping):
        weights, what = module, "the state dict"
    else:
        original, name = recurrent_within(module, name)
        refuse_dropout(original)
        weights, what = parameters_of(original, name), f"the {type(module).__name__}"
        nonlinearity = getattr(original, "nonlinearity", nonlinearity)
    stack = as_arrays(one_stack(stacks(weights, nonlinearity), name, what), _numpy)
    chosen = stack.chosen(layer, reverse)
    cells = cells_of(chosen, dtype)
    if original is not None and check:
        refuse_traced(original)
        compare(original, stack, chosen, cells, layer, reverse)
    return layers(*cells) if len(cells) > 1 else cells[0]


def to_torch(
    cell: Cell, module: Any, *, layer: int = 0, reverse: bool = False, name: str | None = None
) -> None:
    """Write a cell's weights into a recurrent module of PyTorch, in place.

    Of the two biases the one of the state stays as it is, and both where they add up to the cell's;
    the b_n of a GRU goes into the state's. ``from_torch`` of the module is then the same cell, to
    the bit if dtypes are the same.

    Parameters
    ----------
    cell : cell, or network of layers
        Layers go into all layers of the module, from the bottom.
    module : torch.nn.Module, dict, or path
        As in `from_torch`: a module, a state dict, or a safetensors file, whose other arrays stay.
        A file that does not exist yet is made, with PyTorch's names.
    layer : int
        Which layer a single cell goes into.
    reverse : bool
        Into the other direction of a bidirectional module.
    name : str, optional
        Name of the module within a larger one, if there are several.

    Raises
    ------
    LyapflowError
        If they do not fit each other; nothing is written then.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.GRU.random(4, 2, rng=np.random.default_rng(0))
    >>> lf.to_torch(cell, "gru.safetensors")
    >>> (lf.from_torch("gru.safetensors").W == cell.W).all()
    np.True_
    """
    if isinstance(module, (str, os.PathLike)):
        _write_file(cell, Path(module), layer, reverse, name)
        return
    if isinstance(module, MutableMapping):
        target, what, nonlinearity = module, "the state dict", _nonlinearity(cell)
    elif isinstance(module, Mapping):
        raise LyapflowError(f"to_torch writes into a dict, got a {type(module).__name__}")
    else:
        recurrent, name = recurrent_within(module, name)
        target, what = parameters_of(recurrent, name), f"the {type(module).__name__}"
        _refuse_computed(recurrent, what)
        nonlinearity = getattr(recurrent, "nonlinearity", "tanh")
    stack = one_stack(stacks(target, nonlinearity), name, what)
    new = _new_weights(cell, stack, target, what, layer, reverse)
    _check_memory(new, {of: t for of, t in target.items() if of.rpartition(".")[0] == stack.name})
    for key, value in new.items():
        held = target[key]
        if isinstance(held, np.ndarray):
            target[key] = value.astype(held.dtype)
        else:
            torch = imported("torch")
            with torch.no_grad():
                held.copy_(torch.from_numpy(value))


def _refuse_computed(module: Any, what: str) -> None:
    if names := ", ".join(getattr(module, "parametrizations", ())):
        raise LyapflowError(
            f"{what} computes {names} from other parameters, which a cell cannot be written into; "
            f"call torch.nn.utils.parametrize.remove_parametrizations first"
        )


def _check_memory(new: Mapping[str, np.ndarray], own: Mapping[str, Any]) -> None:
    """Raise an error where tensors of a module share memory, and would have to hold different numbers."""
    tensors = {of: t for of, t in own.items() if hasattr(t, "data_ptr") and t.numel()}
    written = {tensors[key].data_ptr(): key for key in new if key in tensors}
    for key, tensor in tensors.items():
        if key in new and any(not step and n > 1 for step, n in zip(tensor.stride(), tensor.shape)):
            raise LyapflowError(f"{key} is expanded from fewer numbers; replace it by its clone()")
        one = written.get(tensor.data_ptr(), key)
        if one != key and not np.array_equal(new[one], new.get(key, _numpy(tensor))):
            raise LyapflowError(
                f"{one} and {key} are one tensor, and would have to become two; untie them"
            )


def _write_file(cell: Cell, path: Path, layer: int, reverse: bool, name: str | None) -> None:
    """Write a safetensors file with PyTorch's names, or what of it is the cell's."""
    if path.suffix.lower() != ".safetensors":
        raise LyapflowError(
            f"to_torch writes .safetensors files, got {path}; of other files give the state dict, and save that"
        )
    metadata = {"format": "pt"}
    if os.path.exists(path):
        arrays, metadata = files.read_arrays(path)
        stack = one_stack(stacks(arrays, _nonlinearity(cell)), name, str(path))
        arrays |= _new_weights(cell, stack, arrays, str(path), layer, reverse)
    else:
        cells = each_layer(checked(cell))
        parts = {(i, False): written_back(of, _empty(of), "the file") for i, of in enumerate(cells)}
        arrays = named(parts, name or "")
    try:
        files.write_arrays(path, arrays, metadata)
    except OSError as error:
        raise LyapflowError(f"cannot write {path}: {error.strerror or error}") from None


def _empty(cell: Any) -> Weights:
    """Weights of a layer of that kind and size, all zero."""
    kind = kind_of(cell)
    if kind == "gru-reset-before":
        raise LyapflowError("PyTorch has no GRU whose reset gate acts before the product")
    gates = len(KINDS[kind].gates)
    n, m = cell.W.shape[-1], cell.V.shape[-1]
    dtype = cell.b.dtype
    shapes = ((gates * n, m), (gates * n, n), (gates * n,), (gates * n,))
    ih, hh, bias_ih, bias_hh = (np.zeros(shape, dtype) for shape in shapes)
    return Weights(kind, ih, hh, None, bias_ih, bias_hh)


def _nonlinearity(cell: Any) -> str:
    """That of an nn.RNN that the cell would be, where weights do not say."""
    return "relu" if isinstance(each_layer(cell)[0], ElmanReluRNN) else "tanh"


def _new_weights(
    cell: Cell,
    stack: Stack,
    target: Mapping[str, Any],
    what: str,
    layer: int,
    reverse: bool,
) -> dict[str, np.ndarray]:
    """What becomes of the weights of a state dict, by its names."""
    cells, stack = each_layer(cell), as_arrays(stack, _numpy)
    if len(cells) == 1:
        stack.chosen(layer, reverse)  # checks both
        places = [(layer, reverse)]
    else:
        if len(stack.chosen(None, reverse)) != len(cells):
            raise LyapflowError(f"{what} has {stack.layers} layers, the network {len(cells)}")
        places = [(i, reverse) for i in range(len(cells))]
    parts = {
        place: written_back(of, stack.directions[place], what) for place, of in zip(places, cells)
    }
    # the classes for single steps have no number of a layer in their names
    return {
        name if name in target else name.removesuffix("_l0"): value
        for name, value in named(parts, stack.name).items()
    }


def checkpoint_of_file(path: Any) -> Any:
    """What a file holds, of which nothing is executed."""
    try:
        head = files.read_whole(path)[:9]
    except OSError as error:
        raise LyapflowError(f"cannot read {path}: {error.strerror or error}") from None
    if head[8:] == b"{":  # a safetensors header
        return files.read_arrays(path)[0]
    torch = imported("torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of a file that somebody else wrote
        way_out = (
            "; it is a TorchScript program: load it with torch.jit.load, and give the module"
            if "TorchScript" in str(error)
            else ", and a pickled program is not executed: write it with torch.save(module.state_dict(), path)"
        )
        raise LyapflowError(f"{path} holds no weights of PyTorch{way_out}") from None


def state_dict_within(found: Any, path: Any) -> MutableMapping[str, Any]:
    """The state dict that a checkpoint is or has."""
    for key in ("state_dict", "model_state_dict", "model"):  # how checkpoints are commonly packed
        if isinstance(found, Mapping) and isinstance(found.get(key), MutableMapping):
            return found[key]
    if not isinstance(found, MutableMapping):
        raise LyapflowError(f"{path} holds a {type(found).__name__}, not a state dict")
    return found


def _numpy(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if getattr(value, "is_meta", False):
        raise LyapflowError(NO_VALUES)
    if "bfloat16" in str(getattr(value, "dtype", "")):
        raise LyapflowError(
            "weights must be float64 or float32, got bfloat16; convert with .float()"
        )
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
