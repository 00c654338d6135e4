"""A penalty as a term beside the task's loss."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._trees import arrays, like
from lyapflow.cells.interface import Sizes
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.model import Model
from lyapflow.learning.penalties.penalty import Penalty, checked_penalty, evaluated
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import Task


def check_term(penalty: Any, weight: Any, every: Any) -> None:
    """Check the settings of a term, or of none."""
    _checks.integer("every", every, 1)
    if penalty is not None:
        checked_penalty(penalty)
        if weight is None:
            raise LyapflowError(
                "a penalty needs a weight, with which it is added to the task's loss, such as weight=1e-3"
            )
        _checks.number("weight", weight, 0.0, open_low=True)
    elif weight is not None or every != 1:
        raise LyapflowError(
            f"weight and every are of a penalty, got weight={weight!r:.40} and every={every} without one; give penalty="
        )


class Term(NamedTuple):
    """A penalty that is added to the task's loss, with a weight, in every so many training epochs."""

    penalty: Penalty
    weight: float
    every: int
    task: Task

    def due(self, epoch: int) -> bool:
        return epoch % self.every == 0

    def input(self, model: Model, seed: int, epoch: int) -> np.ndarray:
        """One sequence, as long as those of flossing are by default, from a stream of its own."""
        return self.task.inputs(stream(seed, "penalty", epoch), Flossing.steps, 1, model.h0.dtype)

    def check(self, model: Model, size: Sizes, seed: int) -> None:
        """Raise LyapflowError unless the penalty fits a Model and the task."""
        x = self.input(model, seed, 0)
        x = _checks.array("task.inputs", x, (Flossing.steps, 1, size.inputs), like=model.h0)
        self.penalty.n_values(model.cell, x)

    def add(self, gradient: Model, model: Model, seed: int, epoch: int) -> tuple[Model, tuple]:
        """The gradient of task and penalty, and the penalty's loss and values."""
        x = self.input(model, seed, epoch)
        try:
            loss, slope, values = evaluated(self.penalty, model.cell, x, model.h0)
        except Diverged as error:
            raise error.at("penalty: ", epoch, None) from None
        both = (g + self.weight * s for g, s in zip(arrays(gradient.cell), arrays(slope)))
        return gradient._replace(cell=like(model.cell, both)), (loss, values)

    def nothing(self, model: Model, seed: int, epoch: int) -> tuple:
        """Loss and values of a frozen member."""
        n_values = self.penalty.n_values(model.cell, self.input(model, seed, epoch))
        return np.nan, np.full(n_values, np.nan, model.h0.dtype)
