"""The network of a command (from a run folder, from a file, or random) and its input."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import typer

from lyapflow import _checks
from lyapflow.cells.interface import Cell, first_array, sizes
from lyapflow.cli import options
from lyapflow.cli.show import check_writable
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError, warn
from lyapflow.interop.files import INPUTS, input_of_file, network_of_file
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS
from lyapflow.runs.folder import CHECKPOINT, SETTINGS, START, RunFolder
from lyapflow.runs.random_network import RandomNetwork
from lyapflow.runs.weights import load

SOURCES = (*TASKS, "gaussian", "none")
RANDOM = tuple(field.name for field in fields(RandomNetwork))
OF_FILES = "name", "nonlinearity"


@dataclass(frozen=True)
class Chosen:
    """A network, the state that it starts from, its input's name or file, and words for a title."""

    cell: Cell
    h0: np.ndarray
    source: str
    title: str

    def input(self, steps: int | None, seed: int, usual: int = 2000) -> np.ndarray:
        """Its input, (steps, m), of a file maybe (steps, B, m): all of it, of others the usual number of steps."""
        m, dtype = sizes(self.cell).inputs, first_array(self.cell).dtype
        if self.source not in SOURCES:
            return self._of_file(steps, m, dtype)
        steps = usual if steps is None else steps
        _checks.affordable(f"an input of {steps} steps", steps * max(1, m))
        if self.source == "none":
            return np.zeros((steps, m), dtype)
        rng = stream(seed, "input")
        if self.source == "gaussian":
            return rng.standard_normal((steps, m)).astype(dtype)
        task = TASKS[self.source](2)
        if task.n_inputs != m:
            raise LyapflowError(
                f"the network takes {m} inputs, {self.source} has {task.n_inputs}; choose another with --input"
            )
        return task.inputs(rng, steps, 1, dtype)[:, 0]

    def _of_file(self, steps: int | None, m: int, dtype: np.dtype) -> np.ndarray:
        """The first steps of the file."""
        x = input_of_file(self.source)
        if x.shape[-1] != m:
            raise LyapflowError(
                f"the network takes {m} inputs, {self.source} has {x.shape[-1]}, shape {x.shape}; "
                f"time is the first axis, inputs are the last"
            )
        if steps is not None and steps > len(x):
            raise LyapflowError(f"{self.source} has {len(x)} steps, {steps} are asked for")
        return x[:steps].astype(dtype)


def chosen(context: typer.Context) -> Chosen:
    """The network that a command's options are about: of a run folder, of a file, or a random one."""
    params = context.params
    random = RandomNetwork(**{name: params[name] for name in RANDOM})
    _refuse_ignored(context)
    return network_of(
        params["run"],
        random,
        params["seed"],
        params["source"],
        params["name"],
        params["nonlinearity"],
    )


def _refuse_ignored(context: typer.Context) -> None:
    """Refuse options that would say nothing."""
    run = context.params["run"]
    unused: tuple[str, ...]
    if run is None:
        unused, why = OF_FILES, "is for files; name one, or leave it out"
    else:
        unused, why = RANDOM, f"is for a random network, {run} has its own"
    if run is not None and not os.path.isfile(run):
        unused, why = (*unused, *OF_FILES), f"says nothing of a run folder, {run}; leave it out"
    for name in unused:
        if options.is_given(context, name):
            raise LyapflowError(f"--{name.replace('_', '-')} {why}")


def network_of(
    run: Path | None,
    network: RandomNetwork,
    seed: int,
    source: str | None,
    name: str | None = None,
    nonlinearity: str | None = None,
) -> Chosen:
    """The network of a run folder, of a file or, where none is given, a random one."""
    if source is not None and source not in SOURCES and not _is_file(source):
        raise LyapflowError(
            f"--input must be one of {', '.join(SOURCES)}, or a file {', '.join(INPUTS)}, got {source}"
        )
    if run is None:
        return _random(network, seed, source or "binary-xor")
    if os.path.isfile(run):  # which is False for names that no file can have
        cell, h0 = network_of_file(run, name, nonlinearity)
        source = source or ("gaussian" if sizes(cell).inputs else "none")
        return Chosen(cell, h0, source, f"network of {run}, input {source}")
    if not os.path.isdir(run):
        raise LyapflowError(f"there is no run folder and no file {run}")
    folder = RunFolder(run)
    model = _model(folder)
    if isinstance(model, Ensemble):
        raise LyapflowError(
            f"{run} is the run of an ensemble; take one of its networks from Python"
        )
    source = source or _task(folder)
    return Chosen(model.cell, model.h0, source, f"network of {run}, input {source}")


def _model(folder: RunFolder) -> Any:
    """The Model of the last checkpoint; where that is damaged, the one that the run has ended with."""
    finished = folder.path / "model.safetensors"
    try:
        return folder.model()
    except LyapflowError as error:
        if not any((folder.path / name).exists() for name in (SETTINGS, START, CHECKPOINT)):
            raise LyapflowError(f"{folder.path} is no run folder, it has no {SETTINGS}") from None
        if not finished.exists():
            raise
        warn(f"{error}; taking {finished} instead")
        return load(finished)


def _task(folder: RunFolder) -> str:
    """What the task of a run is called; of its other settings nothing is needed."""
    said = folder.settings()["training"]
    called = said.get("task", {}).get("name") if isinstance(said, dict) else None
    for name, cls in TASKS.items():
        if cls.__name__ == called:
            return name
    raise LyapflowError(
        f"the task of {folder.path}, {called!r:.40}, is none of lyapflow's; choose an input with --input"
    )


def picture_of(context: typer.Context, what: str) -> Path | None:
    """Where a command draws its picture: where it is told, or beside the run, if that can be written."""
    run, out = context.params["run"], context.params["out"]
    if context.params["no_picture"]:
        return None
    if out is not None:
        check_writable(out)
        return Path(out)
    beside = run is not None and os.path.isdir(run)
    out = run / f"{what}.png" if beside else Path(f"lyapflow-{what}.png")
    try:
        check_writable(out)
    except LyapflowError as error:
        warn(f"{error}; no picture is drawn, --out says where else")
        return None
    return Path(out)


def _is_file(source: str) -> bool:
    return source.partition(":")[0].lower().endswith(INPUTS)


def _random(network: RandomNetwork, seed: int, source: str) -> Chosen:
    inputs = TASKS[source](2).n_inputs if source in TASKS else int(source == "gaussian")
    with options.named():
        cell = network.draw(inputs, stream(seed, "weights"))
    h0 = stream(seed, "state").standard_normal(sizes(cell).state).astype(cell.b.dtype)
    return Chosen(cell, h0, source, f"{network}, input {source}")
