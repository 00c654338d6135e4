"""Find which known mistake in importing weights explains the original's states, by trying each in NumPy."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lyapflow.cells.elman import ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.lstm import LSTM
from lyapflow.interop.orders import in_our_letters

STEPS = 3  # of the original that are tried


def logistic(a: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * a))


# of Keras 2 and ONNX, and of Keras 3 and PyTorch
SIGMOIDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": logistic,
    "its gates are hard_sigmoid(a) = clip(0.2 a + 0.5, 0, 1), which no cell of lyapflow's has": (
        lambda a: np.clip(0.2 * a + 0.5, 0.0, 1.0)
    ),
    "its gates are hard_sigmoid(a) = clip(a / 6 + 0.5, 0, 1), which no cell of lyapflow's has": (
        lambda a: np.clip(a / 6.0 + 0.5, 0.0, 1.0)
    ),
}
# whose order it is, and how they spell it where they have another letter for a gate
PROGRAMS = {
    "ifgo": 'PyTorch; "ifco" in Keras',
    "iofg": '"iofc" in ONNX',
    "ifog": "DyNet",
    "igfo": '"icfo" in TensorFlow 1',
    "rzn": "PyTorch",
    "zrn": '"zrh" in Keras and ONNX',
}


class Attempt(NamedTuple):
    """A network that the original may be.

    Attributes
    ----------
    mistakes : tuple of str
        What it was taken for wrongly.
    step : callable
        (state, x) -> (units, state), of a batch.
    """

    mistakes: tuple[str, ...]
    step: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def explained(
    cell: Any,
    x: np.ndarray,
    h0: np.ndarray,
    original: np.ndarray,
    tolerance: np.ndarray,
    projection: np.ndarray | None,
    order: str | None,
) -> str:
    """Which mistake the original's units (T, B, n) look like, in words."""
    steps = min(STEPS, len(tolerance))
    attempts = sorted(_attempts(cell, order), key=lambda attempt: len(attempt.mistakes))
    readings = {
        "": (x, original),
        "the original reads its input from the end (reverse)": (x[::-1], original),
        "the original's units are in the reverse of time": (x[::-1], original[::-1]),
        "the original's units come a step later": (x, original[1:]),
    }
    for words, (given, seen) in readings.items():
        for attempt in attempts:
            mistakes = tuple(filter(None, (*attempt.mistakes, words)))
            if mistakes and _fits(attempt, given, h0, seen[:steps], tolerance, projection):
                return f"it looks as if {' and '.join(mistakes)}"
    return "no mistake that is known here explains it"


def _fits(
    attempt: Attempt,
    x: np.ndarray,
    h0: np.ndarray,
    seen: np.ndarray,
    tolerance: np.ndarray,
    projection: np.ndarray | None,
) -> bool:
    """Whether the units of these steps are the original's."""
    state = np.asarray(h0, float)
    for t in range(len(seen)):
        units, state = attempt.step(state, np.asarray(x[t], float))
        shown = units if projection is None else units @ projection.T
        if not (np.abs(shown - seen[t]) <= tolerance[t]).all():
            return False
    return len(seen) > 0


def _attempts(cell: Any, order: str | None) -> Iterator[Attempt]:
    if isinstance(cell, LSTM):
        yield from _lstms(cell, order or "ifgo")
    elif isinstance(cell, (GRU, GRUResetBefore)):
        yield from _grus(cell, order or "rzn")
    else:
        yield from _plain(cell)


def _reordered(gates: str, order: str) -> Iterator[tuple[list[int], str]]:
    """Every order of gates, and what is wrong if it is the right one."""
    letters = in_our_letters(order, gates)
    for places in itertools.permutations(range(len(gates))):
        right = [""] * len(gates)
        for gate, place in zip(gates, places):
            right[letters.index(gates[place])] = gate
        found = "".join(right)
        who = f" ({PROGRAMS[found]})" if found in PROGRAMS else ""
        same = places == tuple(range(len(gates)))
        yield list(places), "" if same else f'its gates stand in the order "{found}"{who}'


def _turned(W: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    yield W, ""
    yield (
        W.swapaxes(-1, -2),
        "each gate's recurrent weights are transposed (CuDNN's layout, or row vectors)",
    )


def _lstms(cell: LSTM, order: str) -> Iterator[Attempt]:
    W, V, b = (np.asarray(part, float) for part in cell)
    for (turned, turn), (places, gates), extra, (name, sigmoid) in itertools.product(
        _turned(W), _reordered("ifgo", order), (0.0, 1.0, -1.0), SIGMOIDS.items()
    ):
        bias = b[places].copy()
        bias[1] += extra
        forget = f"the program adds {extra:g} to the bias of the forget gate" if extra else ""
        weights = turned[places], V[places], bias
        yield Attempt(_said(turn, gates, forget, name), _lstm(*weights, sigmoid))


def _lstm(W: np.ndarray, V: np.ndarray, b: np.ndarray, sigmoid: Callable) -> Callable:
    def step(state: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, c = np.split(state, 2, axis=-1)
        a_i, a_f, a_g, a_o = (h @ W[g].T + x @ V[g].T + b[g] for g in range(4))
        c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
        h = sigmoid(a_o) * np.tanh(c)
        return h, np.concatenate([h, c], axis=-1)

    return step


def _grus(cell: Any, order: str) -> Iterator[Attempt]:
    W, V, b = (np.asarray(part, float) for part in cell[:3])
    inside = np.asarray(cell.b_n, float) if isinstance(cell, GRU) else np.zeros(W.shape[1])
    taken = "after" if isinstance(cell, GRU) else "before"
    for (turned, turn), (places, gates), when, (name, sigmoid) in itertools.product(
        _turned(W), _reordered("rzn", order), ("after", "before"), SIGMOIDS.items()
    ):
        reset = "" if when == taken else f"its reset gate acts {when} the product"
        weights = turned[places], V[places], b[places], inside
        yield Attempt(_said(turn, gates, reset, name), _gru(*weights, when == "before", sigmoid))


def _gru(
    W: np.ndarray,
    V: np.ndarray,
    b: np.ndarray,
    inside: np.ndarray,
    reset_before: bool,
    sigmoid: Callable,
) -> Callable:
    def step(h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, z = (sigmoid(h @ W[g].T + x @ V[g].T + b[g]) for g in range(2))
        reset = (r * h) @ W[2].T + inside if reset_before else r * (h @ W[2].T + inside)
        n = np.tanh(reset + x @ V[2].T + b[2])
        h = (1.0 - z) * n + z * h
        return h, h

    return step


def _plain(cell: Any) -> Iterator[Attempt]:
    W, V, b = (np.asarray(part, float) for part in cell[:3])
    activations = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0.0), "linear": lambda a: a}
    own = "tanh" if isinstance(cell, ElmanRNN) else "relu"
    for (turned, turn), (name, activation) in itertools.product(_turned(W), activations.items()):
        other = "" if name == own else f"its activation is {name}, not {own}"
        yield Attempt(_said(turn, other), _elman(turned, V, b, activation))


def _elman(W: np.ndarray, V: np.ndarray, b: np.ndarray, activation: Callable) -> Callable:
    def step(h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = activation(h @ W.T + x @ V.T + b)
        return h, h

    return step


def _said(*mistakes: str) -> tuple[str, ...]:
    return tuple(mistake for mistake in mistakes if mistake)
