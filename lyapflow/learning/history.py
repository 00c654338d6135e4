"""Records of a run; for an ensemble, arrays have a leading member axis."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from lyapflow import _checks, _presented
from lyapflow._results import Result
from lyapflow.errors import LyapflowError


@dataclass(frozen=True, eq=False)
class FlossingRecord(Result):
    """One flossing epoch: the loss and the exponents (nats per step) before its update.

    ``training_epoch`` is the training epoch that the episode precedes; 0 outside of training. Of an
    episode that descends another penalty there are no exponents, but the penalty's ``values``."""

    kind: ClassVar[str] = "flossing"
    training_epoch: int
    epoch: int
    loss: float
    exponents: np.ndarray
    values: np.ndarray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, eq=False)
class PenaltyRecord(Result):
    """The penalty of a training epoch that has one, before its update: the loss, without its weight, and its values."""

    kind: ClassVar[str] = "penalty"
    epoch: int
    loss: float
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainingRecord(Result):
    """One training epoch, before its update: loss, accuracy (NaN for squared errors), and the norm of dL/dh0."""

    kind: ClassVar[str] = "training"
    epoch: int
    loss: float
    accuracy: float
    h0_gradient_norm: float


@dataclass(frozen=True, eq=False)
class Measurement(Result):
    """The network as it enters an epoch, on inputs held back for the purpose.

    Loss and accuracy, the singular values of dL/dW (descending), the whole Lyapunov spectrum (nats
    per step, -inf for exponents without volume), and the overlap of the gradient in the state
    before a sequence with each covariant vector that was asked for
    (`lyapflow.learning.overlaps`)."""

    kind: ClassVar[str] = "measurement"
    epoch: int
    loss: float
    accuracy: float
    singular_values: np.ndarray
    exponents: np.ndarray
    overlaps: np.ndarray = field(default_factory=lambda: np.empty(0))


class Log(list):
    """Records of one kind in order; ``log["loss"]`` is a column of them as an array."""

    def __repr__(self) -> str:
        return f"<{len(self)} records>"

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return np.array([getattr(record, index) for record in self])
        found = super().__getitem__(index)
        return Log(found) if isinstance(index, slice) else found


@dataclass(repr=False)
class History(_presented.Presented):
    """The records of a training run, one `Log` a kind: `history.training["loss"]` is a column of one."""

    training: Log = field(default_factory=Log)
    flossing: Log = field(default_factory=Log)
    measurement: Log = field(default_factory=Log)
    penalty: Log = field(default_factory=Log)

    def _summary(self) -> _presented.Lines:
        """What one wants to know first: loss, accuracy and exponents, from the first record to the last."""
        kinds = {
            "training": "training epochs",
            "flossing": "flossing epochs",
            "measurement": "measurements",
        }
        counts = [f"{len(getattr(self, kind))} {name}" for kind, name in kinds.items()]
        found = [("History", ", ".join(counts))]
        for name in ("loss", "accuracy"):
            values = self.training[name]
            if len(values) and not np.isnan(values[0]).all():
                found.append((name, f"{_range(values[0])} at first, {_range(values[-1])} at last"))
        measured = [
            record for record in (self.measurement or self.flossing) if record.exponents.size
        ]
        if measured:
            first, last = (_range(measured[i].exponents[..., 0]) for i in (0, -1))
            found.append(("λ₁", f"{first} at first, {last} at last, nats per step"))
        return found

    def to_pandas(self, kind: str = "training") -> Any:
        """The records of one kind as a `pandas.DataFrame`, a row for each.

        Parameters
        ----------
        kind : str
            "training", "flossing", "measurement" or "penalty". Arrays take a column for each entry,
            as ``exponents_1``; of an ensemble there is a row for each network, too.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        LyapflowError
            If pandas is not installed, or there is no such kind.

        Examples
        --------
        >>> import numpy as np, lyapflow as lf
        >>> rng = np.random.default_rng(0)
        >>> model = lf.Model.random(lf.TanhRNN.random(4, 1, rng=rng), 1, rng=rng)
        >>> task = lf.tasks.DelayedCopy(2)
        >>> _, history = lf.train(model, task, epochs=3, seed=0, T=20)
        >>> list(history.to_pandas().columns)
        ['epoch', 'loss', 'accuracy', 'h0_gradient_norm']
        """
        records = getattr(self, _checks.one_of("kind", kind, [f.name for f in fields(self)]))
        pandas = _presented.imported("pandas")
        return pandas.DataFrame([row for record in records for row in _rows(record)])

    def until(self, epoch: int, flossed: int, measured: bool) -> "History":
        """What was recorded before a place within a run: see `lyapflow.learning.training.State`."""
        return History(
            self.training[:epoch],
            Log(r for r in self.flossing if (r.training_epoch, r.epoch) < (epoch, flossed)),
            Log(r for r in self.measurement if r.epoch < epoch + measured),
            Log(r for r in self.penalty if r.epoch < epoch),
        )


def _range(values: Any) -> str:
    """A number, or the least and the largest of several."""
    low, high = np.nanmin(values), np.nanmax(values)
    return f"{low:.4g}" if np.ndim(values) == 0 else f"{low:.4g} to {high:.4g}"


def _rows(record: Any) -> list[dict[str, Any]]:
    """What a record says of each network: one, or those of an ensemble."""
    values = {of.name: np.asarray(getattr(record, of.name)) for of in fields(record)}
    networks = np.shape(record.loss)
    found = []
    for network in np.ndindex(networks):
        row: dict[str, Any] = {"network": network[0]} if networks else {}
        for name, value in values.items():
            own = value[network] if value.shape[: len(networks)] == networks else value
            if own.ndim == 0:
                row[name] = own.item()
            else:
                row |= {f"{name}_{i}": entry for i, entry in enumerate(own.tolist(), 1)}
        found.append(row)
    return found


Callback = Callable[[Any], Any]
Callbacks = Iterable[Callback] | Callback


class Recorder:
    """Appends each record to the log of its kind and calls the callbacks, until one of them returns True.

    Raises LyapflowError if a callback is no function.
    """

    def __init__(self, callbacks: Callbacks, history: History) -> None:
        self.callbacks = _checked(callbacks)
        self.history = history
        self.stopped = False

    def __call__(self, record: Any) -> bool:
        getattr(self.history, record.kind).append(record)
        answers = [callback(record) for callback in self.callbacks]  # all of them hear it
        # for good: an epoch with two records ends after the second
        self.stopped |= any(
            isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers
        )
        return self.stopped


def _checked(callbacks: Callbacks) -> tuple[Callback, ...]:
    given: tuple[Any, ...] = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for callback in given:
        if not callable(callback):
            raise LyapflowError(f"callbacks must be functions of a record, got {callback!r}")
    return given
