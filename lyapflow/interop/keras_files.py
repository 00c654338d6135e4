"""Recurrent layers in files of Keras, ``.keras``, ``.weights.h5`` and older HDF5, read with h5py and not executed."""

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.keras_names import CLASSES, KerasLayer, layer_of
from lyapflow.runs import files

OLD = ("kernel", "recurrent_kernel", "bias")
CELL = re.compile(r".*_cell(_\d+)?")  # names of Keras 2 count cells by themselves


def layers_of_file(path: Any) -> list[KerasLayer]:
    """All recurrent layers of a file."""
    h5py = imported("h5py")
    try:
        data, config = _unpacked(files.read_whole(path))
        with h5py.File(io.BytesIO(data)) as file:
            if (text := file.attrs.get("model_config")) is not None:
                config = json.loads(text)
            settings = dict(_settings(config))
            placed = dict(_placed(config))
            found = list(_groups(file))
    except Exception as error:  # whatever parsers make of a file that somebody else wrote
        raise LyapflowError(
            f"cannot read {path} as a file of Keras: {files.in_a_line(error)}"
        ) from None
    layers = []
    names = [name for _, name, _ in found]
    for place, name, arrays in found:
        # two layers of one name would hide each other
        if name is None or names.count(name) > 1:
            name, said = place, placed.get(place)
        else:
            # Bidirectional says only once what both directions are
            said = settings.get(name) or settings.get(re.sub("^backward_", "forward_", name))
        class_name, own = said or (None, {})
        layers.append(layer_of(name, class_name, own, arrays))
    return layers


def _unpacked(data: bytes) -> tuple[bytes, Any]:
    """The HDF5 within a ``.keras`` archive, and what the model is; of a bare file nothing is said."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data, None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("model.weights.h5"), json.loads(archive.read("config.json"))


def _settings(config: Any) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Class and settings of every recurrent layer in a model's description, by its name."""
    if isinstance(config, Mapping):
        own = config.get("config")
        if config.get("class_name") in CLASSES and isinstance(own, Mapping):
            name = str(own.get("name"))
            yield name, (config["class_name"], own)
            yield f"forward_{name}", (config["class_name"], own)  # as Bidirectional names it
        for part in config.values():
            yield from _settings(part)
    elif isinstance(config, list):
        for part in config:
            yield from _settings(part)


def _placed(config: Any, above: str = "") -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Class and settings of every recurrent layer by its place in the file.

    Keras 3 calls a layer by its class there, with a number from the second of a class on: a model's
    first LSTM is ``lstm``, its second ``lstm_1``, whatever their names. Early versions of Keras 3
    write no names beside that."""
    own = config.get("config") if isinstance(config, Mapping) else None
    numbers: Counter[str] = Counter()
    for layer in own.get("layers", ()) if isinstance(own, Mapping) else ():
        class_name, settings = layer["class_name"], layer["config"]
        place = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
        place = re.sub(r"([a-z])([A-Z])", r"\1_\2", place).lower()
        numbers[place] += 1
        if numbers[place] > 1:
            place = f"{place}_{numbers[place] - 1}"
        if class_name in CLASSES:
            yield above + place, (class_name, settings)
        elif class_name == "Bidirectional":
            both = settings["layer"]
            for side in ("forward_layer", "backward_layer"):
                yield f"{above}{place}/{side}", (both["class_name"], both["config"])
        else:
            yield from _placed(layer, f"{above}{place}/layers/")


def _groups(
    group: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str | None, list[np.ndarray]]]:
    """Place, name if it has one, and arrays of every recurrent layer at or below a group."""
    names = {name.partition(":")[0]: name for name in group}
    if "recurrent_kernel" in names and "kernel" in names:
        name = path[-2] if len(path) > 1 and CELL.fullmatch(path[-1]) else path[-1]
        if group[names["recurrent_kernel"]].ndim == 2:  # not of a convolution
            yield "/".join(path), name, [group[names[part]][()] for part in OLD if part in names]
        return
    if "cell" in group and "vars" in group["cell"] and "vars" in group:
        arrays = [group["cell"]["vars"][key][()] for key in sorted(group["cell"]["vars"], key=int)]
        if len(arrays) > 1 and arrays[1].ndim == 2:
            named = group["vars"].attrs.get("name")
            place = "/".join(path).removeprefix("layers/")
            yield place, None if named is None else str(named), arrays
        return
    for name in group:
        if hasattr(group[name], "keys"):
            yield from _groups(group[name], (*path, name))
