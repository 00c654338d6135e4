"""Cells and Models as safetensors files: arrays and names, nothing that could be executed."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow._trees import named_arrays
from lyapflow.cells.closed_loop import ClosedLoop
from lyapflow.cells.given import GivenJacobians
from lyapflow.cells.interface import checked
from lyapflow.cells.joint import Joint, Lengths, joined_layers
from lyapflow.cells.layers import Layers
from lyapflow.cells.registry import CLASSES
from lyapflow.ensemble import Ensemble, stack
from lyapflow.errors import LyapflowError
from lyapflow.learning.model import Model, checked_model
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.runs import files, spectra

KNOWN = CLASSES | {GivenJacobians.__name__: GivenJacobians}  # classes, by name
FORMAT = 1  # of this package's files; a newer one is refused
OUTSIDE = "outside "  # before the name of a class that is not the package's
LAYERS = ", "  # between the names of the classes of several layers, bottom first
CLOSED = "closed loop of "  # before those of a cell that is fed its own output


def save(path: str | os.PathLike, obj: Any) -> None:
    """Write a cell, a Model, an ensemble of them, or a Spectrum as a safetensors file, atomically.

    Parameters
    ----------
    path : path
    obj : cell, Model, ensemble of either, or Spectrum
        The Spectrum of a single cell is stored with what it takes to continue its run.

    Raises
    ------
    LyapflowError
        If obj is none of these, its arrays are not sound, or the file cannot be written.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.eye(2), np.empty((2, 0)), np.zeros(2))
    >>> lf.save("cell.safetensors", cell)
    >>> lf.load("cell.safetensors").W
    array([[1., 0.],
           [0., 1.]])
    """
    write(path, obj)


def write(path: str | os.PathLike, obj: Any, **more: str) -> None:
    """The same, with more metadata."""
    arrays, metadata = spectra.stored(obj, stored) if isinstance(obj, Spectrum) else stored(obj)
    try:
        files.write_arrays(Path(path), arrays, metadata | more)
    except (OSError, TypeError, ValueError) as error:
        raise LyapflowError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def load(path: str | os.PathLike, *, cell: Any = None) -> Any:
    """Read a cell, a Model, an ensemble or a Spectrum that `save` wrote.

    Parameters
    ----------
    path : path
    cell : class, or sequence of classes, optional
        The class of the cell, or of each layer, needed if it is your own: a file holds arrays and
        names, but no code.

    Returns
    -------
    cell, Model, ensemble of either, or Spectrum

    Raises
    ------
    LyapflowError
        If the file is missing, damaged, in a newer format, of another class, or no such file at
        all.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> lf.save("cell.safetensors", lf.TanhRNN.random(3, 1, rng=np.random.default_rng(0)))
    >>> type(lf.load("cell.safetensors")).__name__
    'TanhRNN'
    """
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        raise LyapflowError(
            f"cannot read {path}: it is a folder; a run's weights are its file model.safetensors"
        )
    return read(path, cell)[0]


def read(path: str | os.PathLike, cell: Any = None) -> tuple[Any, dict[str, str]]:
    """The same, and the metadata."""
    arrays, metadata = files.read_arrays(path)
    if metadata.get("lyapflow") == "Spectrum":
        found = spectra.restored(arrays, metadata, path, lambda a, m: restored(a, m, path, cell))
        return found, metadata
    return restored(arrays, metadata, path, cell), metadata


def digest(obj: Any) -> str:
    """Sixteen hexadecimal digits that tell whether two cells, Models or ensembles of them are the same to the bit.

    Parameters
    ----------
    obj : cell, Model, or ensemble of either

    Returns
    -------
    str

    Raises
    ------
    LyapflowError
        If obj is none of these, or not a sound one.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> lf.digest(lf.LinearRNN(np.diag([0.9, 0.3]), np.empty((2, 0)), np.zeros(2)))
    '10a908865eab752a'
    """
    arrays, metadata = stored(obj)
    return files.digest(arrays, metadata["cell"])


def stored(obj: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A cell, a Model or an ensemble of them as arrays, and what these are."""
    ensemble = obj if isinstance(obj, Ensemble) else Ensemble([obj])
    members = [
        checked_model(member, ()) if isinstance(member, Model) else checked(member)
        for member in ensemble
    ]
    first = members[0]
    cell = first.cell if isinstance(first, Model) else first
    metadata = {
        "lyapflow": "Model" if isinstance(first, Model) else "cell",
        "cell": _names(cell),
        "format": str(FORMAT),
    }
    if isinstance(obj, Ensemble):
        metadata["members"] = str(len(members))
        return flat(Ensemble(members)), metadata
    return flat(first), metadata


def _names(cell: Any) -> str:
    """What files call a cell: by the classes of all that it is made of."""
    if isinstance(cell, ClosedLoop):
        return CLOSED + _names(cell.cell)
    return LAYERS.join(_name(type(layer)) for layer in joined_layers(cell))


def _name(cell_class: type) -> str:
    """What files call a class: one of the user's own may be called like one of the package's."""
    name = cell_class.__name__
    return name if KNOWN.get(name) is cell_class else OUTSIDE + cell_class.__qualname__


def layout(obj: Any) -> tuple:
    """What a cell, a Model or an ensemble of them is, but for its numbers."""
    arrays, metadata = stored(obj)
    return metadata, {name: (array.shape, array.dtype) for name, array in arrays.items()}


def flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a tree by name; those of an ensemble of trees lead with the member axis."""
    if not isinstance(tree, Ensemble):
        return {name: np.asarray(array) for name, array in named_arrays(tree, prefix)}
    every = [flat(member, prefix) for member in tree]
    return {name: np.stack([member[name] for member in every]) for name in every[0]}


def restored(
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    path: Any,
    cell: Any = None,
) -> Any:
    """What `stored` took apart, checked; `path` is where it was found, `cell` a class that is not the package's."""
    name, kind, members = (metadata.get(key, "") for key in ("cell", "lyapflow", "members"))
    names = name.removeprefix(CLOSED).split(LAYERS)
    known = all(of in KNOWN or of.startswith(OUTSIDE) for of in names)
    if not known or kind not in ("Model", "cell"):
        raise LyapflowError(
            f"{path} holds no weights of lyapflow, its metadata is {metadata!s:.200}"
        )
    if metadata.get("format", str(FORMAT)) != str(FORMAT):
        raise LyapflowError(
            f"{path} has format {metadata['format']!r:.20}, this lyapflow reads {FORMAT}; read it with a newer one"
        )
    classes = _classes(names, path, cell)
    make = functools.partial(_closed if name.startswith(CLOSED) else _cell, classes)
    if not members:
        return _built(dict(arrays), make, kind, path)
    if not arrays or not all(
        array.ndim and str(len(array)) == members for array in arrays.values()
    ):
        raise LyapflowError(
            f"{path} must hold arrays of {members!r:.20} members each, as its metadata says"
        )
    parts = ({name: array[r] for name, array in arrays.items()} for r in range(int(members)))
    return stack(_built(part, make, kind, path) for part in parts)


def _classes(names: list[str], path: Any, cell: Any) -> list[Any]:
    """The classes of these names: the package's, or such as are given."""
    if len(names) == 1:
        return [_class(names[0], path, cell)]
    given = {_name(of): of for of in np.atleast_1d(cell) if isinstance(of, type)}
    return [_class(name, path, given.get(name)) for name in names]


def _class(name: str, path: Any, cell: type | None) -> Any:
    """The class of a cell of that name: the package's, or the one that is given."""
    called = name.removeprefix(OUTSIDE)
    if cell is None and name in KNOWN:
        return KNOWN[name]
    if cell is None:
        raise LyapflowError(
            f"{path} holds a cell of class {called}, which is not lyapflow's; give the class, cell={called}"
        )
    if not isinstance(cell, type) or _name(cell) != name:
        got = cell.__qualname__ if isinstance(cell, type) else repr(cell)
        raise LyapflowError(f"{path} holds a cell of class {called}, got cell={got}")
    return cell


def _built(arrays: dict[str, np.ndarray], make: Callable, kind: str, path: Any) -> Any:
    """The cell or Model of these arrays, checked; `make` takes those of the cell away, whose names have a prefix."""
    is_model = kind == "Model"
    prefix = "cell." if is_model else ""
    try:
        cell = make(arrays, prefix)
        obj = Model(cell, *(arrays.pop(field) for field in Model._fields[1:])) if is_model else cell
    except KeyError as error:
        raise LyapflowError(f"{path} lacks the array {error}") from None
    if arrays:
        raise LyapflowError(
            f"{path} has arrays that are no part of a {kind}: {', '.join(map(repr, arrays)):.200}"
        )
    try:
        return checked_model(obj, ()) if isinstance(obj, Model) else checked(obj)
    except LyapflowError as error:
        raise LyapflowError(f"{path}: {error}") from None


def _cell(classes: list[Any], arrays: dict[str, np.ndarray], prefix: str) -> Any:
    """The cell of one class, or the network of several layers."""
    if len(classes) > 1:
        return Layers(
            tuple(_cell([of], arrays, f"{prefix}layers.{i}.") for i, of in enumerate(classes))
        )
    return classes[0](*(arrays.pop(prefix + field) for field in classes[0]._fields))


def _closed(classes: list[Any], arrays: dict[str, np.ndarray], prefix: str) -> ClosedLoop:
    """The cell, or all layers as one, that is fed its own output."""
    within = _joined(classes, arrays, f"{prefix}cell.")
    W_out, b_out = (arrays.pop(prefix + field) for field in ("W_out", "b_out"))
    return ClosedLoop(within, W_out, b_out, _cell([Lengths], arrays, f"{prefix}within."))


def _joined(classes: list[Any], arrays: dict[str, np.ndarray], prefix: str) -> Any:
    *below, top = classes
    if not below:
        return _cell([top], arrays, prefix)
    return Joint(
        _joined(below, arrays, f"{prefix}lower."),
        _cell([top], arrays, f"{prefix}upper."),
        _cell([Lengths], arrays, f"{prefix}below."),
        _cell([Lengths], arrays, f"{prefix}above."),
    )
