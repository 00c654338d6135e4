"""Spectra as safetensors files: their arrays, and a description of what these make.

A Spectrum that can be gone on from keeps the run that it comes from: named tuples within one another, of
arrays, numbers and lists. They are written as arrays with numbers for names, and a text that says where
each belongs; classes are those of a short list, and nothing is executed."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lyapflow.cells.interface import sizes
from lyapflow.cells.layers import each_layer
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.course import Course, Run, Segment
from lyapflow.lyapunov.growth import End, Growth, Pace
from lyapflow.lyapunov.measured import Network, Spectrum
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.rows import Rows
from lyapflow.lyapunov.schedule import Schedule

FORMAT = 1
TUPLES = {
    of.__name__: of for of in (Run, Course, Segment, Growth, Rows, End, Pace, Problem, Schedule)
}
FIELDS = [field.name for field in dataclasses.fields(Spectrum) if field.compare]


def stored(spectrum: Spectrum, weights: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A Spectrum as arrays, and what these are; `weights` takes a cell apart."""
    arrays: dict[str, np.ndarray] = {}
    metadata = {"lyapflow": "Spectrum", "format": str(FORMAT)}
    origin = None
    if spectrum._origin is not None:
        network, run = spectrum._origin
        of_cell, metadata_of_cell = weights(network.cell)
        arrays |= {f"cell.{name}": array for name, array in of_cell.items()}
        metadata["cell"] = metadata_of_cell["cell"]
        origin = {"wanted": network.wanted, "run": _described(run, arrays)}
    metadata["spectrum"] = json.dumps({"fields": _fields(spectrum, arrays), "origin": origin})
    return arrays, metadata


def _fields(spectrum: Spectrum, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    found = {}
    for name in FIELDS:
        value = getattr(spectrum, name)
        if name == "by_layer":
            found[name] = [_fields(layer, arrays) for layer in value]
        else:
            found[name] = _described(value, arrays)
    return found


def _described(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can say of a value, whose arrays are put among the others under the next number."""
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if type(value).__name__ in TUPLES:
        # a cell and its sizes stand apart, once
        parts = value._asdict().items()
        left_out = ("cell", "size") if isinstance(value, Problem) else ()
        kept = {name: _described(part, arrays) for name, part in parts if name not in left_out}
        return {"tuple": type(value).__name__, "parts": kept}
    if isinstance(value, (list, tuple)):
        return {"list": [_described(part, arrays) for part in value]}
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return {"float": float(value).hex()}
    return value


def restored(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], path: Any, weights: Any
) -> Spectrum:
    """What `stored` took apart; `weights` puts a cell together again, from its arrays and their metadata."""
    if metadata.get("format") != str(FORMAT):
        raise LyapflowError(
            f"{path} has format {metadata.get('format')!r:.20}, this lyapflow reads {FORMAT}; read it with a newer one"
        )
    try:
        said = json.loads(metadata["spectrum"])
        spectrum = _spectrum(said["fields"], arrays)
        if said["origin"] is None:
            return spectrum
        of_cell = {
            name.removeprefix("cell."): array
            for name, array in arrays.items()
            if name.startswith("cell.")
        }
        cell = weights(of_cell, {"lyapflow": "cell", "cell": metadata["cell"]})
        run = _made(said["origin"]["run"], arrays, each_layer(cell))
        origin = Network(cell, said["origin"]["wanted"]), run
        return dataclasses.replace(spectrum, _origin=origin)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, LyapflowError):
            raise
        raise LyapflowError(f"{path} holds no whole spectrum: {error!r:.100}") from None


def _spectrum(fields: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Spectrum:
    layers = tuple(_spectrum(layer, arrays) for layer in fields.pop("by_layer"))
    made = {name: _made(value, arrays, ()) for name, value in fields.items()}
    return Spectrum(**made | {"by_layer": layers, "reasons": tuple(made["reasons"])})


def _made(value: Any, arrays: Mapping[str, np.ndarray], layers: tuple[Any, ...]) -> Any:
    """The value that `_described` described; courses are those of the layers of a network, in order."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "dtype" in value:
        return np.dtype(value["dtype"])
    if "float" in value:
        return float.fromhex(value["float"])
    if "list" in value:
        parts = value["list"]
        if len(layers) == len(parts) and all(_is_course(part) for part in parts):
            return [_made(part, arrays, (of,)) for part, of in zip(parts, layers)]
        return [_made(part, arrays, layers) for part in parts]
    made = {name: _made(part, arrays, layers) for name, part in value["parts"].items()}
    if value["tuple"] == "Problem":
        made |= {"cell": layers[0], "size": sizes(layers[0])}
    return TUPLES[value["tuple"]](**made)


def _is_course(value: Any) -> bool:
    return isinstance(value, dict) and value.get("tuple") == "Course"
