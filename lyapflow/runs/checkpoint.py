"""Where a run stands, as one file: parameters, Adam's moments and the history, so that none is ahead of another."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow._trees import arrays, like, named_arrays
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError, printable
from lyapflow.learning.adam import AdamState
from lyapflow.learning.history import FlossingRecord, History, Log, Measurement, TrainingRecord
from lyapflow.learning.training import State
from lyapflow.runs import files
from lyapflow.runs.weights import flat, restored, stored

RECORDS = {cls.kind: cls for cls in (TrainingRecord, FlossingRecord, Measurement)}


def write(path: Path, state: State, history: History) -> None:
    """Write a state, and the history up to it."""
    model, metadata = stored(state.model)
    content = {f"model.{name}": array for name, array in model.items()}
    content |= flat(state.moments, "adam.")
    if state.flossing_moments is not None:
        content |= flat(state.flossing_moments, "flossing adam.")
    content |= columns(history.until(state.epoch, state.flossed, state.measured))
    place = {"epoch": state.epoch, "flossed": state.flossed, "measured": state.measured}
    reasons = state.model.reasons if isinstance(state.model, Ensemble) else None
    metadata |= {
        "lyapflow": "checkpoint",
        "of": metadata["lyapflow"],
        "place": json.dumps(place | {"reasons": reasons}),
    }
    files.write_arrays(path, content, metadata)


def columns(history: History) -> dict[str, np.ndarray]:
    """Every column of every record, as arrays named such as ``training.loss``."""
    return {
        f"{kind}.{field.name}": getattr(history, kind)[field.name]
        for kind, record in RECORDS.items()
        for field in fields(record)
    }


def read(path: str | os.PathLike) -> tuple[State, History]:
    """What `write` wrote.

    Raises LyapflowError if the file is missing, damaged, of a newer format, or something else.
    """
    content, metadata = files.read_arrays(path, follow=False)
    if metadata.get("lyapflow") != "checkpoint":
        raise LyapflowError(f"{path} is no checkpoint of a run, its metadata is {metadata!s:.200}")
    model = restored(_within("model.", content), {**metadata, "lyapflow": metadata.get("of", "")}, path)
    try:
        place = json.loads(metadata["place"])
        epoch, flossed = (_checks.integer(name, place[name], 0) for name in ("epoch", "flossed"))
        if isinstance(model, Ensemble):
            reasons = [None if reason is None else printable(str(reason)) for reason in place["reasons"]]
            model = Ensemble(model, reasons)
            if len(model.reasons) != len(model):
                raise LyapflowError(f"{len(model.reasons)} reasons for {len(model)} members")
        moments = _moments(_within("adam.", content), model, "model")
        flossing = _within("flossing adam.", content)
        flossing_moments = _moments(flossing, model, "cell") if flossing else None
        if bool(flossing) != (flossed > 0):
            raise LyapflowError(f"{flossed} flossing epochs are done, and moments of flossing are {sorted(flossing)}")
        state = State(model, moments, epoch, flossed, flossing_moments, bool(place["measured"]))
        history = _history(content)
        if len(history.training) != epoch:
            raise LyapflowError(f"it has {len(history.training)} records of {epoch} training epochs")
        return state, history
    except (LyapflowError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise LyapflowError(f"cannot read {path} as a checkpoint: {error}") from None


def _within(prefix: str, content: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in content.items() if name.startswith(prefix)}


def _moments(found: Mapping[str, np.ndarray], model: Any, of: str) -> Any:
    """The moments of Adam, which are those of a Model or its cell; one for each member."""
    if isinstance(model, Ensemble):
        parts = [{name: array[r] for name, array in found.items()} for r in range(len(model))]
        return Ensemble((_moments(part, member, of) for part, member in zip(parts, model)), model.reasons)
    params = model if of == "model" else model.cell
    wanted = {name: array for part in ("mean", "square") for name, array in named_arrays(params, f"{part}.")}
    if found.keys() != wanted.keys() | {"step"}:
        raise LyapflowError(f"its moments are not those of its {of}")
    checked = {name: _checks.array(name, found[name], array.shape, like=array) for name, array in wanted.items()}
    mean, square = (
        like(params, (checked[name] for name, _ in named_arrays(params, f"{part}."))) for part in ("mean", "square")
    )
    if any((array < 0).any() for array in arrays(square)):
        raise LyapflowError("a moment that is a square is negative")
    return AdamState(_checks.integer("step of Adam", found["step"][()], 0), mean, square)


def _history(content: Mapping[str, np.ndarray]) -> History:
    """The history whose columns these are."""
    history = History()
    for kind, record in RECORDS.items():
        values = [content[f"{kind}.{field.name}"] for field in fields(record)]
        plain: list[Any] = [v.tolist() if v.ndim == 1 else v for v in values]
        setattr(history, kind, Log(record(*row) for row in zip(*plain, strict=True)))
    return history
