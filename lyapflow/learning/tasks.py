"""The four delayed tasks of the paper (App. H), and a copy task whose memory load does not grow with its delay."""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError


class Task(Protocol):
    """What `lyapflow.train` needs of a task; any object with these will do.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> class RunningMean:
    ...     n_inputs = n_outputs = 1
    ...     loss = "mse"
    ...     def inputs(self, rng, T, batch, dtype=np.float64):
    ...         return rng.random((T, batch, 1)).astype(dtype)
    ...     def sample(self, rng, T, batch, dtype=np.float64):
    ...         x = self.inputs(rng, T, batch, dtype)
    ...         y = x.cumsum(axis=0) / np.arange(1, T + 1)[:, None, None]
    ...         return x, y.astype(dtype), 0
    >>> rng = np.random.default_rng(0)
    >>> model = lf.Model.random(lf.TanhRNN.random(4, 1, rng=rng), 1, rng=rng)
    >>> _, history = lf.train(model, RunningMean(), epochs=2, seed=0, T=20)
    >>> len(history.training)
    2
    """

    @property
    def n_inputs(self) -> int:
        """Length of an input."""

    @property
    def n_outputs(self) -> int:
        """Length of a target."""

    @property
    def loss(self) -> str:
        """``"cross_entropy"`` or ``"mse"``."""

    def inputs(
        self, rng: np.random.Generator, T: int, batch: int, dtype: Any = np.float64
    ) -> np.ndarray:
        """Inputs x (T, batch, n_inputs) alone, of any length; flossing uses them."""

    def sample(
        self, rng: np.random.Generator, T: int, batch: int, dtype: Any = np.float64
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """x (T, batch, n_inputs), y (T, batch, n_outputs), and the first scored step.

        Samples of several epochs may be drawn ahead.
        """


@dataclass(frozen=True)
class _DelayedTask(abc.ABC):
    delay: int
    n_streams: ClassVar[int] = 1
    binary: ClassVar[bool] = False
    halves: ClassVar[bool] = False  # the target compares lags delay/2 and delay
    n_outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        name = type(self).__name__
        _checks.integer("delay", self.delay, 1)
        if self.halves and self.delay % 2:
            raise LyapflowError(
                f"delay must be even for {name}, whose lags are delay/2 and delay, got {self.delay}"
            )

    @property
    def n_inputs(self) -> int:
        return self.n_streams

    @property
    def loss(self) -> str:
        return "cross_entropy" if self.binary else "mse"

    def _draw(self, rng: np.random.Generator, T: int, batch: int) -> np.ndarray:
        _checks.generator("rng", rng)
        shape = (_checks.integer("T", T, 1), _checks.integer("batch", batch, 1), self.n_streams)
        _checks.affordable(
            f"an input of {T} steps and {batch} sequences", T * batch * self.n_streams
        )
        return rng.integers(0, 2, shape, dtype=np.int8) if self.binary else rng.random(shape)

    def inputs(
        self, rng: np.random.Generator, T: int, batch: int, dtype: Any = np.float64
    ) -> np.ndarray:
        """Inputs (T, batch, n_streams) of any length: uniform on (0, 1), or bits of values 0 and 1/n_streams."""
        return (self._draw(rng, T, batch) / self.n_streams).astype(_checks.dtype(dtype))

    def sample(
        self, rng: np.random.Generator, T: int, batch: int, dtype: Any = np.float64
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Inputs, targets and the first scored step.

        Parameters
        ----------
        rng : numpy.random.Generator
        T : int
            Steps, more than the delay.
        batch : int
        dtype : float64 or float32

        Returns
        -------
        x : array (T, batch, n_streams)
        y : array (T, batch, 1)
            Zero before the first scored step.
        first : int
            First step with a target, 0-based: the delay.

        Raises
        ------
        LyapflowError
            If T is not longer than the delay.
        """
        dtype = _checks.dtype(dtype)
        streams = self._draw(rng, T, batch)
        if T <= self.delay:
            raise LyapflowError(
                f"T must be longer than the delay, got T={T} with a delay of {self.delay}"
            )
        y = np.zeros((T, batch, 1), dtype)
        y[self.delay :] = self._target(streams)
        return (streams / self.n_streams).astype(dtype), y, self.delay

    @abc.abstractmethod
    def _target(self, streams: np.ndarray) -> np.ndarray:
        """Targets of the scored steps."""

    def _lagged(self, streams: np.ndarray, lag: int) -> np.ndarray:
        """The streams `lag` steps ago, at the scored steps."""
        return streams[self.delay - lag : len(streams) - lag]


class DelayedCopy(_DelayedTask):
    """Target x_{t-d} of a stream uniform on (0, 1); mean squared error. Paper, App. H.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> x, y, first = lf.tasks.DelayedCopy(2).sample(np.random.default_rng(0), T=10, batch=3)
    >>> x.shape, y.shape, first
    ((10, 3, 1), (10, 3, 1), 2)
    >>> bool((y[2:] == x[:-2]).all())
    True
    """

    def _target(self, streams: np.ndarray) -> np.ndarray:
        return self._lagged(streams, self.delay)


@dataclass(frozen=True)
class ItemCopy(_DelayedTask):
    """Target x_{t-d} of a stream of numbers uniform on (0, 1) with zeros between them; mean squared error.

    A number comes every d/items steps, the first one in the first step, so that `items` of them
    have to be kept at any time, whatever the delay d. With as many items as the delay it is
    `DelayedCopy`. Paper, Sect. 7.1, which asks for such a task.

    A network that knows when numbers come but keeps none reaches a squared error of 1/12 times
    items/d.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> x, y, first = lf.tasks.ItemCopy(4, items=2).sample(np.random.default_rng(0), T=10, batch=3)
    >>> x.shape, y.shape, first
    ((10, 3, 1), (10, 3, 1), 4)
    >>> bool((y[4:] == x[:-4]).all())
    True
    """

    items: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("items", self.items, 1, self.delay, why=" = delay")
        if self.delay % self.items:
            raise LyapflowError(
                f"delay must be a multiple of items, got delay={self.delay} with items={self.items}"
            )

    def _draw(self, rng: np.random.Generator, T: int, batch: int) -> np.ndarray:
        numbers = super()._draw(rng, T, batch)
        numbers[np.arange(T) % (self.delay // self.items) > 0] = 0.0
        return numbers

    def _target(self, streams: np.ndarray) -> np.ndarray:
        return self._lagged(streams, self.delay)


class TemporalXOR(_DelayedTask):
    """Target abs(x_{t-d/2} - x_{t-d}) of a stream uniform on (0, 1); mean squared error. d even. Paper, App. H.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> x, y, first = lf.tasks.TemporalXOR(4).sample(np.random.default_rng(0), T=10, batch=3)
    >>> x.shape, y.shape, first
    ((10, 3, 1), (10, 3, 1), 4)
    >>> bool((y[4:] == np.abs(x[2:-2] - x[:-4])).all())
    True
    """

    halves = True

    def _target(self, streams: np.ndarray) -> np.ndarray:
        return np.abs(self._lagged(streams, self.delay // 2) - self._lagged(streams, self.delay))


class BinaryTemporalXOR(_DelayedTask):
    """Target x_{t-d/2} xor x_{t-d} of a stream of bits; cross-entropy of logits. d even. Paper, App. H.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> x, y, first = lf.tasks.BinaryTemporalXOR(4).sample(np.random.default_rng(0), T=10, batch=3)
    >>> x.shape, y.shape, first
    ((10, 3, 1), (10, 3, 1), 4)
    >>> bool((y[4:] == np.abs(x[2:-2] - x[:-4])).all())
    True
    """

    binary = True
    halves = True

    def _target(self, streams: np.ndarray) -> np.ndarray:
        return self._lagged(streams, self.delay // 2) ^ self._lagged(streams, self.delay)


class SpatialXOR(_DelayedTask):
    """Target x¹_{t-d} xor x²_{t-d} xor x³_{t-d} of three streams of bits, given as 0 and 1/3; cross-entropy of logits.

    Paper, App. H.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> x, y, first = lf.tasks.SpatialXOR(2).sample(np.random.default_rng(0), T=10, batch=3)
    >>> x.shape, y.shape, first
    ((10, 3, 3), (10, 3, 1), 2)
    >>> bool((y[2:, :, 0] == (3 * x[:-2]).sum(axis=2) % 2).all())
    True
    """

    binary = True
    n_streams = 3

    def _target(self, streams: np.ndarray) -> np.ndarray:
        return np.bitwise_xor.reduce(self._lagged(streams, self.delay), axis=-1, keepdims=True)


# by the word that names a task on the command line
TASKS: dict[str, type[_DelayedTask]] = {
    "copy": DelayedCopy,
    "item-copy": ItemCopy,
    "temporal-xor": TemporalXOR,
    "binary-xor": BinaryTemporalXOR,
    "spatial-xor": SpatialXOR,
}
# and by the name of its class, as in files
CLASSES: dict[str, type[_DelayedTask]] = {
    task_class.__name__: task_class for task_class in TASKS.values()
}
