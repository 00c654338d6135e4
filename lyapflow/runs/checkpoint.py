"""A checkpoint, one file: parameters, the optimiser's state and the history, all of the same epoch."""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow._trees import arrays, like, named_arrays
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError, printable
from lyapflow.learning.adam import AdamState
from lyapflow.learning.history import (
    FlossingRecord,
    History,
    Log,
    Measurement,
    PenaltyRecord,
    TrainingRecord,
)
from lyapflow.learning.optimizer import Optimizer
from lyapflow.learning.training import State, Training
from lyapflow.runs import files
from lyapflow.runs.weights import flat, restored, stored

STORED = "?bhilqBHILQefd"  # kinds of numbers
RECORDS = {cls.kind: cls for cls in (TrainingRecord, FlossingRecord, Measurement, PenaltyRecord)}


def write(path: Path, state: State, history: History) -> None:
    """Write a state, and the history up to it."""
    model, metadata = stored(state.model)
    content = {f"model.{name}": array for name, array in model.items()}
    content |= _flat(state.moments, "adam.")
    content |= _flat(state.flossing_moments, "flossing adam.")
    content |= columns(history.until(state.epoch, state.flossed, state.measured))
    place = {"epoch": state.epoch, "flossed": state.flossed, "measured": state.measured}
    reasons = state.model.reasons if isinstance(state.model, Ensemble) else None
    metadata |= {
        "lyapflow": "checkpoint",
        "of": metadata["lyapflow"],
        "place": json.dumps(place | {"reasons": reasons}),
    }
    files.write_arrays(path, content, metadata)


def check_storable(training: Training, start: State) -> None:
    """Raise LyapflowError unless the states of a run's optimisers can be written."""
    _flat(start.moments, "adam.")
    if training.flossing is not None:
        first = start.model[0] if isinstance(start.model, Ensemble) else start.model
        _flat(training.flossing.optimizer.init(first.cell), "flossing adam.")


def _flat(moments: Any, prefix: str) -> dict[str, np.ndarray]:
    """The state of an optimiser, or of one for each member, as arrays by name."""
    one = moments[0] if isinstance(moments, Ensemble) else moments
    names = [name for name, _ in named_arrays(one)]
    found = flat(moments, prefix)
    kinds = {array.dtype for array in found.values()} - {np.dtype(kind) for kind in STORED}
    if kinds or len(set(names)) < len(names):
        got = f"{kinds.pop()}" if kinds else f"one name twice in {', '.join(names)}"
        raise LyapflowError(
            f"the state of an optimizer must be a tree of arrays and numbers, real and by different names, "
            f"for a run folder to keep it, got {got:.100}"
        )
    return found


def columns(history: History) -> dict[str, np.ndarray]:
    """Every column of every record that was asked for, as arrays named such as ``training.loss``."""
    return {
        f"{kind}.{field.name}": getattr(history, kind)[field.name]
        for kind, record in RECORDS.items()
        for field in fields(record)
        if field.default_factory is MISSING
        or any(getattr(one, field.name).size for one in getattr(history, kind))
    }


def read(
    path: str | os.PathLike, cell: type | None = None, training: Training | None = None
) -> tuple[State, History]:
    """What `write` wrote, of a cell of this class if it is not the package's.

    Without the run's settings the states of its optimisers stay arrays by name.

    Raises LyapflowError if the file is missing, damaged, of a newer format, or something else.
    """
    content, metadata = files.read_arrays(path, follow=False, sealed=True)
    if metadata.get("lyapflow") != "checkpoint":
        raise LyapflowError(f"{path} is no checkpoint of a run, its metadata is {metadata!s:.200}")
    model = restored(
        _within("model.", content), {**metadata, "lyapflow": metadata.get("of", "")}, path, cell
    )
    try:
        place = json.loads(metadata["place"])
        epoch, flossed = (_checks.integer(name, place[name], 0) for name in ("epoch", "flossed"))
        if isinstance(model, Ensemble):
            reasons = [
                None if reason is None else printable(str(reason)) for reason in place["reasons"]
            ]
            model = Ensemble(model, reasons)
            if len(model.reasons) != len(model):
                raise LyapflowError(f"{len(model.reasons)} reasons for {len(model)} members")
        moments: Any = _within("adam.", content)
        flossing: Any = _within("flossing adam.", content)
        if flossing and flossed == 0:
            raise LyapflowError(
                f"no flossing epochs are done, and moments of flossing are {sorted(flossing)}"
            )
        if training is not None:
            moments = _moments(moments, model, "model", training.optimizer)
            if flossed > 0 and training.flossing is not None:
                flossing = _moments(flossing, model, "cell", training.flossing.optimizer)
        state = State(
            model,
            moments,
            epoch,
            flossed,
            flossing if flossed > 0 else None,
            bool(place["measured"]),
        )
        history = _history(content)
        if len(history.training) != epoch:
            raise LyapflowError(
                f"it has {len(history.training)} records of {epoch} training epochs"
            )
        return state, history
    except (LyapflowError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise LyapflowError(f"cannot read {path} as a checkpoint: {error}") from None


def _within(prefix: str, content: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in content.items()
        if name.startswith(prefix)
    }


def _moments(found: Mapping[str, np.ndarray], model: Any, of: str, optimizer: Optimizer) -> Any:
    """The state of an optimiser of a Model, or of its cell; one for each member."""
    if isinstance(model, Ensemble):
        parts = [{name: array[r] for name, array in found.items()} for r in range(len(model))]
        return Ensemble(
            (_moments(part, member, of, optimizer) for part, member in zip(parts, model)),
            model.reasons,
        )
    fresh = optimizer.init(model if of == "model" else model.cell)
    wanted = dict(named_arrays(fresh))
    if found.keys() != wanted.keys():
        raise LyapflowError(f"its moments are not those of its {of}")
    state = like(fresh, (_leaf(name, found[name], was) for name, was in wanted.items()))
    if isinstance(state, AdamState):
        _checks.integer("step of Adam", state.step, 0)
        for name, array in named_arrays((state.mean, state.square)):
            _checks.array(name, array, array.shape)
        if any((array < 0).any() for array in arrays(state.square)):
            raise LyapflowError("a moment that is a square is negative")
    return state


def _leaf(name: str, found: np.ndarray, was: Any) -> Any:
    """An array or a number of an optimiser's state, of the kind that it was at the start."""
    if isinstance(was, np.ndarray):
        if (found.dtype, found.shape) != (was.dtype, was.shape):
            got = f"{found.dtype} {found.shape}"
            raise LyapflowError(f"{name} must be {was.dtype} {was.shape}, got {got}")
        return found
    if found.shape != ():
        raise LyapflowError(f"{name} must be one number, got shape {found.shape}")
    if isinstance(was, int) and not isinstance(was, bool):
        return _checks.integer(name, found[()], -(2**63))
    return type(was)(found[()])


def _history(content: Mapping[str, np.ndarray]) -> History:
    """The history whose columns these are."""
    history = History()
    for kind, record in RECORDS.items():
        if record is PenaltyRecord and f"{kind}.epoch" not in content:
            continue  # of a run before there were any
        names = [
            field.name
            for field in fields(record)
            if field.default_factory is MISSING or f"{kind}.{field.name}" in content
        ]
        values = [content[f"{kind}.{name}"] for name in names]
        plain: list[Any] = [v.tolist() if v.ndim == 1 else v for v in values]
        setattr(history, kind, Log(record(*row) for row in zip(*plain, strict=True)))
    return history
