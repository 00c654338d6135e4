"""A random network by the words and numbers that the command line and sweeps give."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from lyapflow.cells.registry import CELLS
from lyapflow.errors import LyapflowError

WITH_WEIGHTS = [
    name for name, cell in CELLS.items() if "weights" in inspect.signature(cell.random).parameters
]
TAKE_WEIGHTS = f"{', '.join(WITH_WEIGHTS[:-1])} and {WITH_WEIGHTS[-1]}"


@dataclass(frozen=True)
class RandomNetwork:
    """What the settings cell, units, gain, weights and dtype ask for."""

    cell: str = "tanh"
    units: int = 80
    gain: float = 1.0
    weights: str = "gaussian"
    dtype: Any = "float64"

    def __str__(self) -> str:
        return f"random {self.cell} network, {self.units} units, g = {self.gain:g}, {self.weights} weights"

    def draw(self, inputs: int, rng: np.random.Generator) -> Any:
        """A cell that takes so many inputs."""
        options = {"weights": self.weights} if self.cell in WITH_WEIGHTS else {}
        if self.weights != "gaussian" and not options:
            raise LyapflowError(
                f"weights {self.weights} is for {TAKE_WEIGHTS} networks, got cell {self.cell}"
            )
        return CELLS[self.cell].random(
            self.units, inputs, rng=rng, g=self.gain, dtype=self.dtype, **options
        )
