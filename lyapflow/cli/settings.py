"""Settings of a training run from its options; what is left out comes from `recommended`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lyapflow.cells.interface import Cell
from lyapflow.cli.options import FlossName, integers
from lyapflow.errors import LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.model import Model
from lyapflow.learning.recommended import recommended
from lyapflow.learning.tasks import TASKS, Task


def task(name: str, delay: int, steps: int) -> Task:
    """The task of that name, for sequences of so many steps."""
    named = TASKS[name](delay)
    if steps <= delay:
        raise LyapflowError(
            f"--steps must be more than the delay, got {steps} steps with a delay of {delay}"
        )
    return named


def optimizer(cell: Cell, lr: float | None, clip: float | None) -> Adam:
    """Adam for training epochs; clip 0 is no clipping."""
    advised = recommended(cell)["optimizer"]
    return Adam(
        advised.lr if lr is None else lr,
        clip_norm=advised.clip_norm if clip is None else clip or None,
    )


def flossing(
    start: Model,
    training_epochs: int,
    floss: FlossName | None,
    floss_at: str | None,
    *,
    k: int | None,
    epochs: int | None,
    **settings: Any,
) -> Flossing | None:
    """The schedule of flossing, or None where it has no episode.

    What is None is as recommended; further settings of `Flossing` are taken as they are.
    """
    if k is not None and k > len(start.h0):
        raise LyapflowError(
            f"--k must be between 1 and {len(start.h0)}, the length of the network's state, got {k}"
        )
    advised = recommended(start.cell, floss=True)["flossing"]
    asked_for = recommended(start.cell)["flossing"] is not None
    episodes = _episodes(floss, floss_at, training_epochs, advised.at if asked_for else ())
    schedule = replace(
        advised,
        k=advised.k if k is None else k,
        epochs=advised.epochs if epochs is None else epochs,
        at=episodes,
        **settings,
    )
    return schedule if episodes else None


def _episodes(
    floss: FlossName | None,
    floss_at: str | None,
    epochs: int,
    advised: Sequence[int],
) -> tuple[int, ...]:
    """Training epochs before which an episode of flossing runs."""
    if floss_at is not None:
        episodes = integers("--floss-at", floss_at, "epochs")
        if not 0 <= min(episodes) <= max(episodes) < epochs:
            raise LyapflowError(f"--floss-at must be epochs from 0 to {epochs - 1}, got {floss_at}")
        return episodes
    if floss is None:
        return tuple(advised)
    every: dict[str, Sequence[int]] = {
        "none": (),
        "before": (0,),
        "during": range(0, 500, 100),
        "throughout": range(0, epochs, 100),
    }
    return tuple(every[floss])
