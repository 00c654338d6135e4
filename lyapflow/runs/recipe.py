"""The settings of one training run, as options of the command line and of sweeps."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np

from lyapflow import _checks
from lyapflow.cells.registry import CELLS
from lyapflow.errors import LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.history import TrainingRecord
from lyapflow.learning.model import Model
from lyapflow.learning.penalties import Exponents, OneStepJacobian, Penalty, SpectralRadius
from lyapflow.learning.penalties.registry import PENALTIES
from lyapflow.learning.recommended import recommended
from lyapflow.learning.stopping import WINDOW, AccuracyReached
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS, ItemCopy, Task
from lyapflow.learning.training import Training
from lyapflow.runs.random_network import RandomNetwork

WEIGHTS = ("gaussian", "orthogonal")
DTYPES = ("float64", "float32")
FLOSS = ("none", "before", "during", "throughout")


@dataclass(frozen=True)
class Recipe:
    """What makes a training run: settings of `lyapflow train`, by the names of its options.

    What is None is as `lyapflow.recommended` has it, or off.

    Parameters
    ----------
    task, delay, items
        A name in `lyapflow.learning.tasks.TASKS`, steps, and of item-copy the numbers kept at a time.
    cell, units, gain, weights, leak, dtype
        The random network at the start.
    seed : int
        Of every random number.
    epochs, steps, batch, lr, clip
        Training epochs, the steps and sequences of each, the rate of its Adam, and the bound on the
        norm of each array's gradient (0: none).
    floss : "none", "before", "during" or "throughout"
        When to floss: never, before training, at the epochs 0, 100, ..., 400, or every 100 epochs.
    floss_at : tuple of int, or text such as "0,500"
        Epochs to floss before, instead.
    k, floss_epochs, floss_steps, floss_transient, floss_lr, target, t_ons
        Of `Flossing`: k, epochs, steps, q_transient, the rate of its Adam, target and t_ons.
    floss_penalty, penalty
        Names in `lyapflow.learning.penalties.registry.PENALTIES`: what episodes descend, and what
        is added to the task's loss. Both take their settings from those of flossing: k singular
        values, and the target in nats, for a spectral radius its logarithm.
    penalty_weight, penalty_every
        Of the penalty beside the task's loss.
    measure_every : int
        Epochs between measurements; None for none.
    measure_vectors : int
        Covariant vectors in them; None for none.
    stop_at, stop_window, stop_after
        The run ends when the mean accuracy of so many epochs reaches `stop_at`, though not before
        so many epochs in all.

    Raises
    ------
    LyapflowError
        If a setting by itself is out of its range; `start` and `training` raise where settings do
        not fit each other.
    """

    task: str = "binary-xor"
    delay: int = 40
    items: int | None = None
    cell: str = RandomNetwork.cell
    units: int = RandomNetwork.units
    gain: float = RandomNetwork.gain
    weights: str = RandomNetwork.weights
    leak: float | None = None
    dtype: str = cast(str, RandomNetwork.dtype)
    seed: int = 0
    epochs: int = 1000
    steps: int = Training.T
    batch: int = Training.batch
    lr: float | None = None
    clip: float | None = None
    floss: str | None = None
    floss_at: Sequence[int] | str | None = None
    k: int | None = None
    floss_epochs: int | None = None
    floss_steps: int = Flossing.steps
    floss_transient: int = Flossing.q_transient
    floss_lr: float = cast(float, Adam.lr)
    target: float = 0.0
    t_ons: int = Flossing.t_ons
    floss_penalty: str = "exponents"
    penalty: str | None = None
    penalty_weight: float | None = None
    penalty_every: int = Training.every
    measure_every: int | None = 100
    measure_vectors: int | None = None
    stop_at: float | None = None
    stop_window: int = WINDOW
    stop_after: int = 0

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in MAY_BE_NONE:
                object.__setattr__(self, name, check(name, value))

    @property
    def network(self) -> RandomNetwork:
        """The network at the start, but for its random numbers."""
        return RandomNetwork(self.cell, self.units, self.gain, self.weights, self.dtype, self.leak)

    def given(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        every = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in every if value != field.default}

    def digest(self) -> str:
        """Eight hexadecimal digits of all settings but the epochs: a run that is extended keeps them.

        Settings of a later version, at their defaults, do not change them."""
        plain = self.given()
        plain.pop("epochs", None)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]

    def start(self) -> Model:
        """The Model before the first epoch."""
        task, rng = self._task(), stream(self.seed, "weights")
        return Model.random(self.network.draw(task.n_inputs, rng), task.n_outputs, rng=rng)

    def training(self, start: Model) -> Training:
        """How that Model is trained."""
        advised = recommended(start.cell)["optimizer"]
        optimizer = Adam(
            advised.lr if self.lr is None else self.lr,
            clip_norm=advised.clip_norm if self.clip is None else self.clip or None,
        )
        return Training(
            self._task(),
            self.epochs,
            self.seed,
            self._flossing(start),
            self.steps,
            self.batch,
            optimizer,
            self.measure_every,
            *self._term(start),
            measure_vectors=self.measure_vectors,
        )

    def stop_rules(
        self, task: Task, before: Iterable[TrainingRecord] = ()
    ) -> list[AccuracyReached]:
        """What may end a run on that task early; `before` is what was recorded, of a run that goes on."""
        if self.stop_at is None:
            return []
        if task.loss != "cross_entropy":
            graded = [name for name, kind in TASKS.items() if kind(2).loss == "cross_entropy"]
            raise LyapflowError(f"stop_at needs a task with an accuracy, {' or '.join(graded)}")
        rule = AccuracyReached(
            self.stop_at, window=self.stop_window, after=self.stop_after, before=before
        )
        return [rule]

    def _task(self) -> Task:
        kind = TASKS[self.task]
        if self.items is None:
            task = kind(self.delay)
        elif kind is ItemCopy:
            task = ItemCopy(self.delay, self.items)
        else:
            raise LyapflowError(f"items is a setting of item-copy, got {self.items} of {self.task}")
        if self.steps <= self.delay:
            raise LyapflowError(
                f"steps must be more than the delay, got {self.steps} steps with a delay of {self.delay}"
            )
        return task

    def _flossing(self, start: Model) -> Flossing | None:
        """The schedule of flossing, or None where it has no episode."""
        k = self._k(start)
        if self.floss_steps <= self.floss_transient:
            raise LyapflowError(
                f"floss_steps must be longer than its transients, got {self.floss_steps} steps "
                f"with floss_transient {self.floss_transient}"
            )
        advised = recommended(start.cell, floss=True)["flossing"]
        asked_for = recommended(start.cell)["flossing"] is not None
        episodes = self._episodes(advised.at if asked_for else ())
        episode: dict[str, Any] = {
            "epochs": advised.epochs if self.floss_epochs is None else self.floss_epochs,
            "steps": self.floss_steps,
            "at": episodes,
            "optimizer": Adam(self.floss_lr),
        }
        if self.floss_penalty == "exponents":
            times = {"q_transient": self.floss_transient, "t_ons": self.t_ons}
            schedule = replace(advised, k=k, target=self.target, **times, **episode)
        else:
            schedule = Flossing(penalty=self._penalty(self.floss_penalty, k), **episode)
        return schedule if episodes else None

    def _k(self, start: Model) -> int:
        """Exponents or singular values of a penalty."""
        if self.k is None:
            return recommended(start.cell, floss=True)["flossing"].k
        if self.k > len(start.h0):
            raise LyapflowError(
                f"k must be between 1 and {len(start.h0)}, the length of the network's state, got {self.k}"
            )
        return self.k

    def _penalty(self, name: str, k: int) -> Penalty:
        """The penalty of that name."""
        if name == "spectral-radius":
            with np.errstate(over="ignore"):  # the error says it better
                return SpectralRadius(float(np.exp(self.target)))
        if name == "one-step-jacobian":
            return OneStepJacobian(k, self.target, self.floss_transient)
        return Exponents(k, self.target, t_ons=self.t_ons, q_transient=self.floss_transient)

    def _term(self, start: Model) -> tuple[Penalty | None, float | None, int]:
        """Penalty, weight and every of `Training`."""
        if self.penalty is None and (self.penalty_weight, self.penalty_every) != (None, 1):
            raise LyapflowError(
                f"penalty_weight and penalty_every are of a penalty, got {self.penalty_weight} and "
                f"{self.penalty_every} without one"
            )
        if self.penalty is not None and self.penalty_weight is None:
            raise LyapflowError(
                f"penalty_weight is needed for the penalty {self.penalty} beside the task's loss, such as 0.001"
            )
        if self.penalty not in (None, "spectral-radius") and self.floss_transient >= Flossing.steps:
            raise LyapflowError(
                f"floss_transient must be less than {Flossing.steps}, the steps of the input of a penalty beside the "
                f"task's loss, got {self.floss_transient}"
            )
        penalty = None if self.penalty is None else self._penalty(self.penalty, self._k(start))
        return penalty, self.penalty_weight, self.penalty_every

    def _episodes(self, advised: Sequence[int]) -> tuple[int, ...]:
        """Training epochs before which an episode of flossing runs."""
        if self.floss_at is not None:
            episodes = tuple(map(int, self.floss_at))
            if not 0 <= min(episodes) <= max(episodes) < self.epochs:
                got = ",".join(map(str, episodes))
                raise LyapflowError(
                    f"floss_at must be epochs from 0 to {self.epochs - 1}, got {got}"
                )
            return episodes
        every: dict[str | None, Sequence[int]] = {
            None: advised,
            "none": (),
            "before": (0,),
            "during": range(0, 500, 100),
            "throughout": range(0, self.epochs, 100),
        }
        return tuple(every[self.floss])


def _epochs(name: str, value: Any) -> tuple[int, ...]:
    """Epochs to floss before, in order, each once."""
    if isinstance(value, str):
        value = _checks.integers(name, value, "epochs")
    if not isinstance(value, (list, tuple, range)) or not value:
        raise LyapflowError(
            f'{name} must be epochs separated by commas, such as "0,500", got {value!r}'
        )
    return tuple(sorted({_checks.integer(f"each epoch of {name}", at, -(2**63)) for at in value}))


def _whole(low: int) -> Callable[[str, Any], int]:
    return functools.partial(_checks.integer, low=low)


def _real(low: float, high: float = np.inf) -> Callable[[str, Any], float]:
    return functools.partial(_checks.number, low=low, high=high)


def _word(allowed: Iterable[str]) -> Callable[[str, Any], str]:
    return functools.partial(_checks.one_of, allowed=tuple(allowed))


MAY_BE_NONE = {field.name for field in fields(Recipe) if field.default is None} | {"measure_every"}
# of each setting by itself
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "task": _word(TASKS),
    "delay": _whole(1),
    "items": _whole(1),
    "cell": _word(CELLS),
    "units": _whole(1),
    "gain": lambda name, value: _checks.number(f"{name} g", value, 0.0),
    "weights": _word(WEIGHTS),
    "leak": lambda name, value: _checks.number(name, value, 0.0, 1.0, open_low=True),
    "dtype": _word(DTYPES),
    "seed": _whole(0),
    "epochs": _whole(1),
    "steps": _whole(1),
    "batch": _whole(1),
    "lr": _real(0.0),
    "clip": _real(0.0),
    "floss": _word(FLOSS),
    "floss_at": _epochs,
    "k": _whole(1),
    "floss_epochs": _whole(1),
    "floss_steps": _whole(1),
    "floss_transient": _whole(0),
    "floss_lr": _real(0.0),
    "target": _real(-np.inf),
    "t_ons": _whole(1),
    "floss_penalty": _word(PENALTIES),
    "penalty": _word(PENALTIES),
    "penalty_weight": functools.partial(_checks.number, low=0.0, open_low=True),
    "penalty_every": _whole(1),
    "measure_every": _whole(1),
    "measure_vectors": _whole(1),
    "stop_at": _real(0.0, 1.0),
    "stop_window": _whole(1),
    "stop_after": _whole(0),
}
