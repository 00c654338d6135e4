"""The network that a command is about, of a run folder, a file, or random, and its input."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import Cell, first_array, sizes
from lyapflow.cli import options
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError
from lyapflow.interop.files import INPUTS, input_of_file, network_of_file
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.random_network import RandomNetwork

SOURCES = (*TASKS, "gaussian", "none")


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


def chosen(
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
    folder = RunFolder(run)
    model = folder.model()
    if isinstance(model, Ensemble):
        raise LyapflowError(
            f"{run} is the run of an ensemble; take one of its networks from Python"
        )
    if source is None:
        used = type(folder.training().task)
        source = next(name for name, cls in TASKS.items() if cls is used)
    return Chosen(model.cell, model.h0, source, f"network of {run}, input {source}")


def _is_file(source: str) -> bool:
    return source.partition(":")[0].lower().endswith(INPUTS)


def _random(network: RandomNetwork, seed: int, source: str) -> Chosen:
    inputs = TASKS[source](2).n_inputs if source in TASKS else int(source == "gaussian")
    with options.named():
        cell = network.draw(inputs, stream(seed, "weights"))
    h0 = stream(seed, "state").standard_normal(sizes(cell).state).astype(cell.b.dtype)
    return Chosen(cell, h0, source, f"{network}, input {source}")
