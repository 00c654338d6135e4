"""The network that a command is about, of a run folder or random, and its input."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import Cell, first_array, sizes
from lyapflow.cli import options
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.random_network import RandomNetwork


@dataclass(frozen=True)
class Chosen:
    """A network, the state that it starts from, the name of its input, and words for a title."""

    cell: Cell
    h0: np.ndarray
    source: str
    title: str

    def input(self, steps: int, seed: int) -> np.ndarray:
        """Its input, (steps, m)."""
        m, dtype = sizes(self.cell).inputs, first_array(self.cell).dtype
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


def chosen(run: Path | None, network: RandomNetwork, seed: int, source: str | None) -> Chosen:
    """The network of a run folder or, where none is given, a random one."""
    if run is None:
        return _random(network, seed, source or "binary-xor")
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


def _random(network: RandomNetwork, seed: int, source: str) -> Chosen:
    inputs = TASKS[source](2).n_inputs if source in TASKS else int(source == "gaussian")
    with options.named():
        cell = network.draw(inputs, stream(seed, "weights"))
    h0 = stream(seed, "state").standard_normal(sizes(cell).state).astype(cell.b.dtype)
    return Chosen(cell, h0, source, f"{network}, input {source}")
