"""A random network, described by the options of the command line and of sweeps."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from lyapflow.cells.registry import CELLS
from lyapflow.errors import LyapflowError


def _cells_with(setting: str) -> list[str]:
    return [n for n, cell in CELLS.items() if setting in inspect.signature(cell.random).parameters]


WITH_WEIGHTS, WITH_LEAK = _cells_with("weights"), _cells_with("leak")
TAKE_WEIGHTS, TAKE_LEAK = (
    f"{', '.join(names[:-1])} and {names[-1]}" for names in (WITH_WEIGHTS, WITH_LEAK)
)


@dataclass(frozen=True)
class RandomNetwork:
    """What the settings cell, units, gain, weights, dtype and leak ask for; leak None is as the cell has it."""

    cell: str = "tanh"
    units: int = 80
    gain: float = 1.0
    weights: str = "gaussian"
    dtype: Any = "float64"
    leak: float | None = None

    def __str__(self) -> str:
        leak = "" if self.leak is None else f", leak {self.leak:g}"
        return f"random {self.cell} network, {self.units} units, g = {self.gain:g}, {self.weights} weights{leak}"

    def draw(self, inputs: int, rng: np.random.Generator) -> Any:
        """A cell that takes so many inputs."""
        options: dict[str, Any] = {"weights": self.weights} if self.cell in WITH_WEIGHTS else {}
        if self.weights != "gaussian" and not options:
            raise LyapflowError(
                f"weights {self.weights} is for {TAKE_WEIGHTS} networks, got cell {self.cell}"
            )
        if self.leak is not None:
            if self.cell not in WITH_LEAK:
                raise LyapflowError(f"leak is for {TAKE_LEAK} networks, got cell {self.cell}")
            options["leak"] = self.leak
        return CELLS[self.cell].random(
            self.units, inputs, rng=rng, g=self.gain, dtype=self.dtype, **options
        )
