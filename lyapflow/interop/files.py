"""Read networks and inputs from files of all known kinds, and write networks back."""

from pathlib import Path
from typing import Any

import numpy as np

from lyapflow.cells.interface import Cell, first_array, sizes
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.keras import from_keras, to_keras
from lyapflow.interop.onnx import from_onnx
from lyapflow.interop.torch import (
    checkpoint_of_file,
    from_torch,
    state_dict_within,
    to_torch,
)
from lyapflow.learning.model import Model
from lyapflow.runs import files, weights

KERAS = (".keras", ".h5", ".hdf5")
INPUTS = (".npy", ".npz", ".csv")


def network_of_file(
    path: Path, name: str | None = None, nonlinearity: str | None = None
) -> tuple[Cell, np.ndarray]:
    """A file's network and the state that it starts from, zeros unless it is a Model.

    Parameters
    ----------
    path : Path
        Of lyapflow, or as `from_torch`, `from_keras` and `from_onnx` take them.
    name : str, optional
        Of the module, layer or node, where there are several; a node's may be its number.
    nonlinearity : str, optional
        Of an nn.RNN or a SimpleRNN, where the file does not say it.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        cell = from_onnx(path, int(name) if name is not None and name.isdigit() else name)
    elif suffix in KERAS:
        cell = from_keras(path, name=name, activation=nonlinearity)
    elif _is_ours(path):
        found = weights.load(path)
        if isinstance(found, Model):
            return found.cell, found.h0
        cell = found
    else:
        cell = from_torch(path, name=name, nonlinearity=nonlinearity)
    return cell, np.zeros(sizes(cell).state, first_array(cell).dtype)


def check_format(source: Path, out: Path) -> None:
    """Raise an error if a network of one file cannot be written as the other, before any work."""
    suffix, wanted = source.suffix.lower(), out.suffix.lower()
    if wanted == ".safetensors":
        return
    if wanted == suffix and suffix in KERAS:
        _keras_model(source)
        return
    if wanted == suffix and suffix != ".onnx":
        return
    also = "" if suffix in (".onnx", ".safetensors") else f" or {suffix}"
    raise LyapflowError(
        f"--out must end in .safetensors{also}, for a network of {source}, got {out}"
    )


def write_network(cell: Cell, source: Path, out: Path, name: str | None = None) -> None:
    """Write a network as a file of lyapflow's, or as a copy of its source with other weights."""
    suffix = source.suffix.lower()
    if out.suffix.lower() == ".safetensors":
        if suffix != ".safetensors" or _is_ours(source):
            found = weights.load(source) if suffix == ".safetensors" else cell
            weights.save(out, found._replace(cell=cell) if isinstance(found, Model) else cell)
            return
        arrays, metadata = files.read_arrays(source)
        to_torch(cell, arrays, name=name)
        _written(out, lambda: files.write_arrays(out, arrays, metadata))
    elif suffix in KERAS:
        model = _keras_model(source)
        to_keras(cell, model, name=name)
        _written(out, lambda: model.save(out))
    else:
        whole = checkpoint_of_file(source)
        to_torch(cell, state_dict_within(whole, source), name=name)  # whose tensors are the whole's
        _written(out, lambda: imported("torch").save(whole, out))


def _keras_model(path: Path) -> Any:
    """The model of a file, by Keras itself."""
    keras = imported("keras")
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # whatever Keras makes of a file that somebody else wrote
        raise LyapflowError(
            f"Keras cannot load {path}, to write a copy with other weights: {files.in_a_line(error)}; "
            f"give --out a name that ends in .safetensors"
        ) from None


def input_of_file(text: str) -> np.ndarray:
    """The array (T, m) or (T, B, m) of a .npy, .npz or .csv file; of several arrays FILE.npz:KEY."""
    name, _, key = text.partition(".npz:")
    path = Path(f"{name}.npz" if key else text)
    try:
        if path.suffix.lower() == ".csv":
            found = _numbers(path)
        else:
            with files.opened(path, "rb") as file:
                found = np.load(file, allow_pickle=False)
                if isinstance(found, np.lib.npyio.NpzFile):
                    found = _chosen(found, key, path)
    except LyapflowError:
        raise
    except Exception as error:  # whatever a parser makes of a file that somebody else wrote
        raise LyapflowError(f"cannot read {path} as an input: {files.in_a_line(error)}") from None
    if found.dtype.kind not in "iufb" or found.ndim not in (1, 2, 3):
        raise LyapflowError(
            f"{path} must hold numbers (T, m) or (T, B, m), got shape {found.shape} of {found.dtype}"
        )
    return found[:, None] if found.ndim == 1 else found


def _numbers(path: Path) -> np.ndarray:
    """A table of numbers, maybe below a line of names."""
    lines = files.read_whole(path).decode("utf-8-sig").splitlines()
    if lines and not any(map(_is_number, lines[0].split(","))):
        del lines[0]
    if not lines:
        raise LyapflowError(f"{path} holds no numbers")
    return np.loadtxt(lines, delimiter=",", ndmin=2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chosen(arrays: Any, key: str, path: Path) -> np.ndarray:
    names = ", ".join(arrays.files)
    if key and key not in arrays.files:
        raise LyapflowError(f"{path} has no array {key!r}; it has {names}")
    if not key and len(arrays.files) != 1:
        raise LyapflowError(f"{path} has several arrays; give one, {path}:KEY: {names}")
    return arrays[key or arrays.files[0]]


def _is_ours(path: Path) -> bool:
    """Whether it is a file that `lyapflow.save` wrote."""
    if path.suffix.lower() != ".safetensors":
        return False
    return "lyapflow" in files.read_arrays(path)[1]


def _written(path: Path, write: Any) -> None:
    try:
        write()
    except (OSError, RuntimeError) as error:
        raise LyapflowError(f"cannot write {path}: {files.in_a_line(error)}") from None
