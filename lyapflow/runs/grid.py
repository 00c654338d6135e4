"""A grid of settings, and the recipes that it expands to."""

import difflib
import itertools
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.runs import files
from lyapflow.runs.recipe import MAY_BE_NONE, Recipe

MANY = 1000  # runs, beyond which it is asked whether they are meant
MOST = 1_000_000  # values of a setting
NAMES = [field.name for field in fields(Recipe)]
Grid = Mapping[str, Any] | Iterable[Mapping[str, Any]]


def recipes(grid: Grid | str | os.PathLike, *, many: bool = False) -> list[Recipe]:
    """The recipes of a grid, each once, the setting that is named last varying fastest.

    Parameters
    ----------
    grid : mapping, list of mappings, or path of a TOML file
        As in `lyapflow.sweep`.
    many : bool
        Whether more than 1000 runs are meant.

    Raises
    ------
    LyapflowError
        If a name is unknown or given twice, a list is empty, a value out of its range, or the file
        unreadable.
    """
    if isinstance(grid, (str, os.PathLike)):
        grid = _read(grid)
    every = [_axes(part) for part in _parts(grid)]
    count = sum(math.prod(map(len, axes)) for axes in every)
    if count > MANY and not many:
        raise LyapflowError(
            f"the grid has {count} runs, more than {MANY}; if so many are meant, say so (--yes, or many=True)"
        )
    found: dict[Recipe, None] = {}
    for axes in every:
        for choice in itertools.product(*axes):
            settings = {name: value for values in choice for name, value in values.items()}
            found[Recipe(**settings)] = None
    return list(found)


def _read(path: str | os.PathLike) -> dict[str, Any]:
    try:
        return tomllib.loads(files.read_whole(path).decode())
    except (OSError, ValueError) as error:
        raise LyapflowError(f"cannot read the grid {path}: {error}") from None


def _parts(grid: Any) -> list[dict[str, Any]]:
    """The grids whose union a grid is, each with what holds for all of them."""
    if isinstance(grid, Mapping):
        common = {name: value for name, value in grid.items() if name != "grid"}
        parts = grid.get("grid", [{}])
    else:
        common, parts = {}, grid
    if isinstance(parts, (str, Mapping)) or not np.iterable(parts):
        raise LyapflowError(f"grid must be a list of grids, got {parts!r:.80}")
    parts = list(parts)
    if not parts:
        raise LyapflowError("a list of grids must have at least one, got none")
    for part in parts:
        if not isinstance(part, Mapping) or "grid" in part:
            raise LyapflowError(
                f"a grid must be a mapping from settings to values, got {part!r:.80}"
            )
    return [{**common, **part} for part in parts]


def _axes(grid: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Along each axis of a grid, its points; settings that are zipped share an axis."""
    axes = []
    for name, value in grid.items():
        if name == "zip":
            tables = value if isinstance(value, list) else [value]
            axes += [_zipped(table) for table in tables]
        else:
            axes.append([{name: _value(name, v)} for v in _values(name, value)])
    given = [name for axis in axes for name in axis[0]]
    twice = {name for name in given if given.count(name) > 1}
    if twice:
        raise LyapflowError(f"{twice.pop()} must stand once in a grid, got it twice")
    return axes


def _zipped(table: Any) -> list[dict[str, Any]]:
    if not isinstance(table, Mapping) or not table:
        raise LyapflowError(f"zip must be a table of lists of one length, got {table!r:.80}")
    columns = {
        name: [_value(name, v) for v in _values(name, value)] for name, value in table.items()
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise LyapflowError(f"lists that are zipped must be of one length, got {got}")
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _values(name: str, value: Any) -> list[Any]:
    """The values of a setting."""
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(NAMES)}"
        raise LyapflowError(f"a grid has settings of lyapflow train, got {name!r:.40}; {hint}")
    if isinstance(value, Mapping):
        return _range(name, value)
    row = isinstance(value, np.ndarray) and value.ndim == 1
    if not row and not isinstance(value, (list, tuple, range)):
        return [value]
    if not len(value):
        raise LyapflowError(f"{name} must have at least one value, got an empty list")
    _count(name, len(value))
    return list(value)


def _count(name: str, values: float) -> None:
    """Refuse more values than can be meant, before they are written out."""
    if values > MOST:
        raise LyapflowError(f"{name} must have at most {MOST} values, got {values:.4g}")


def _range(name: str, table: Mapping[str, Any]) -> list[Any]:
    """The numbers from one to another, both included."""
    if not {"from", "to"} <= table.keys() <= {"from", "to", "step"}:
        raise LyapflowError(
            f"a range of {name} must have from, to and maybe step, got {', '.join(map(str, table))}"
        )
    for key, number in table.items():
        _checks.number(f"{key} of {name}", number, -np.inf)
    first, last, step = table["from"], table["to"], table.get("step", 1)
    if step <= 0 or last < first:
        raise LyapflowError(
            f"a range of {name} must go up, got from {first} to {last} by steps of {step}"
        )
    _count(name, (last - first) / step + 1)
    steps = range(int((last - first) / step + 1e-9) + 1)
    # 0.1 + 2 * 0.1 is to be the number that is written 0.3
    return [
        value if isinstance(value, int) else round(value, 12)
        for value in (first + i * step for i in steps)
    ]


def _value(name: str, value: Any) -> Any:
    """A value as Python has it: TOML has no None."""
    if isinstance(value, np.generic):
        value = value.item()
    is_none = isinstance(value, str) and value == "none"
    return None if is_none and name in MAY_BE_NONE and name != "floss" else value


def names(runs: list[Recipe]) -> list[str]:
    """What the folders of runs are called: by what differs between them, and a digest."""
    differ = [name for name in NAMES if len({getattr(run, name) for run in runs}) > 1]
    differ.sort(key="epochs".__ne__)  # first: the digest leaves them out, and long names are cut
    words = (",".join(f"{name}={_word(getattr(run, name))}" for name in differ) for run in runs)
    return [f"{text[:150] or 'run'}-{run.digest()}" for text, run in zip(words, runs)]


def _word(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
