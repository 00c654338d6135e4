"""Cells and Models as safetensors files: arrays and names, nothing that could be executed."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from lyapflow._checks import LyapflowError
from lyapflow.cells.ensemble import Ensemble, stack
from lyapflow.cells.gru import GRU
from lyapflow.cells.interface import checked
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.parameters import named_arrays
from lyapflow.cells.relu import ReluRNN
from lyapflow.cells.tanh import TanhRNN
from lyapflow.learning.model import Model, checked_model

CELLS = {cls.__name__: cls for cls in (TanhRNN, ReluRNN, LinearRNN, LSTM, GRU)}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, whole."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def save(path: str | os.PathLike, obj: Any) -> None:
    """Write a cell, a Model or an ensemble of them as a safetensors file, atomically.

    Raises
    ------
    LyapflowError
        If obj is neither a sound cell of the package nor a Model of one nor a stack of such, or the file cannot be
        written.
    """
    ensemble = obj if isinstance(obj, Ensemble) else Ensemble([obj])
    members = [checked_model(member) if isinstance(member, Model) else checked(member) for member in ensemble]
    first = members[0]
    cell = first.cell if isinstance(first, Model) else first
    name = type(cell).__name__
    if CELLS.get(name) is not type(cell):
        raise LyapflowError(f"lyapflow saves its own cells ({', '.join(CELLS)}), got {name}; save its arrays yourself")
    metadata = {"lyapflow": "Model" if isinstance(first, Model) else "cell", "cell": name}
    arrays = dict(named_arrays(first))
    if isinstance(obj, Ensemble):
        metadata["members"] = str(len(members))
        every = [dict(named_arrays(member)) for member in members]
        arrays = {name: np.stack([member[name] for member in every]) for name in arrays}
    try:
        write_atomically(Path(path), safetensors.numpy.save(arrays, metadata))
    except (OSError, TypeError, ValueError) as error:
        raise LyapflowError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def load(path: str | os.PathLike) -> Any:
    """Read a cell, a Model or an ensemble that `save` wrote.

    Raises
    ------
    LyapflowError
        If the file is missing, damaged, or something else.
    """
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        raise LyapflowError(f"cannot read {path}: it is a folder; a run's weights are its file model.safetensors")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise LyapflowError(f"cannot read {path} as weights: {error}") from None
    cell_class, kind, members = (metadata.get(key) for key in ("cell", "lyapflow", "members"))
    if cell_class not in CELLS or kind not in ("Model", "cell"):
        raise LyapflowError(f"{path} holds no weights of lyapflow, its metadata is {metadata}")
    if members is None:
        return _built(arrays, CELLS[cell_class], kind, path)
    if not arrays or not all(array.ndim and str(len(array)) == members for array in arrays.values()):
        raise LyapflowError(f"{path} must hold arrays of {members:.20} members each, as its metadata says")
    parts = [{name: array[r] for name, array in arrays.items()} for r in range(int(members))]
    return stack(_built(part, CELLS[cell_class], kind, path) for part in parts)


def _built(arrays: dict[str, np.ndarray], cell_class: Any, kind: str, path: Any) -> Any:
    """The cell or Model of these arrays, checked."""
    is_model = kind == "Model"
    prefix = "cell." if is_model else ""
    try:
        cell = cell_class(*(arrays.pop(prefix + field) for field in cell_class._fields))
        obj = Model(cell, *(arrays.pop(field) for field in Model._fields[1:])) if is_model else cell
    except KeyError as error:
        raise LyapflowError(f"{path} lacks the array {error}") from None
    if arrays:
        raise LyapflowError(f"{path} has arrays that are no part of a {kind}: {', '.join(arrays)}")
    return checked_model(obj) if is_model else checked(obj)
