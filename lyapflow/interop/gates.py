"""Recurrent weights as other libraries write them, a block for each gate in some order, as cells, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.elman import ElmanReluRNN, ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.interface import Cell, checked, sizes
from lyapflow.cells.lstm import LSTM
from lyapflow.errors import LyapflowError
from lyapflow.interop.check import check_states
from lyapflow.interop.orders import in_our_letters


class Kind(NamedTuple):
    """A recurrent network that other libraries have.

    Attributes
    ----------
    cell : class
    gates : str
        The letters of its gates, in the order of the cell's arrays.
    """

    cell: Any
    gates: str


KINDS = {
    "tanh": Kind(ElmanRNN, "h"),
    "relu": Kind(ElmanReluRNN, "h"),
    "lstm": Kind(LSTM, "ifgo"),
    "gru": Kind(GRU, "rzn"),
    "gru-reset-before": Kind(GRUResetBefore, "rzn"),
}


def kind_of(cell: Any) -> str:
    """The name of a cell's kind in `KINDS`."""
    for name, kind in KINDS.items():
        if type(cell) is kind.cell:
            return name
    raise LyapflowError(
        f"other libraries have no {type(cell).__name__}; what they have is "
        f"{', '.join(kind.cell.__name__ for kind in KINDS.values())}"
    )


def from_gates(
    kind: str,
    recurrent: ArrayLike,
    inputs: ArrayLike,
    bias: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    *,
    order: str | None = None,
    columns: bool = False,
    forget_bias: float = 0.0,
    check: tuple[ArrayLike, ArrayLike] | None = None,
) -> Cell:
    r"""A cell made of plain arrays, with a block of rows, or of columns, for each gate.

    Parameters
    ----------
    kind : str
        "lstm"; "gru", whose reset gate acts after the product (PyTorch's, Keras's by default);
        "gru-reset-before" (Cho et al. 2014, ONNX's default); "tanh" or "relu" for
        ``φ(W a + V x' + b)``.
    recurrent : array (G n, n)
        The weights that the state is multiplied by; G = 4 gates of an LSTM, 3 of a GRU, 1 of others.
    inputs : array (G n, m)
        Those of the input.
    bias : array (G n,), or two of them, optional
        The bias, or the biases of inputs and of state, as PyTorch has them. For a GRU a single bias
        stands outside the reset gate.
    order : str, optional
        Order of the gates, a letter for each; by default "ifgo" for an LSTM (PyTorch, Keras), "rzn"
        for a GRU (PyTorch). ONNX has "iofc" and "zrh", Keras's GRU "zrh", DyNet "ifog", TensorFlow
        1 "icfo".
    columns : bool
        Gates stand side by side and a row vector is multiplied from the left, as in Keras:
        recurrent (n, G n), inputs (m, G n).
    forget_bias : float
        What the original program adds to the bias of an LSTM's forget gate: 1 in DyNet and
        TensorFlow 1.
    check : pair of arrays, optional
        An input (T, m) and the units (T, n) that the original program computes from it, starting
        from zeros. Do pass it: weights in the wrong order still make a network that looks sound.

    Returns
    -------
    LSTM, GRU, GRUResetBefore, ElmanRNN or ElmanReluRNN

    Raises
    ------
    LyapflowError
        If arrays do not fit each other, or the cell's units differ from those of the original; the
        error tells at which step and unit, and which known mistake it looks like.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> kernel, recurrent = rng.standard_normal((2, 12)), rng.standard_normal((4, 12))
    >>> cell = lf.from_gates("gru-reset-before", recurrent, kernel, order="zrh", columns=True)
    >>> cell.W.shape, cell.V.shape
    ((3, 4, 4), (3, 4, 2))
    """
    _checks.one_of("kind", kind, tuple(KINDS))
    places = _places(kind, order)
    columns = _checks.flag("columns", columns)
    recurrent = _checks.array("recurrent", recurrent, ("n", "n"))
    inputs = _checks.array("inputs", inputs, ("n", "m"), like=recurrent)
    if columns:
        recurrent, inputs = recurrent.T, inputs.T
    n, gates = recurrent.shape[1], len(places)
    shape = f"(n, {gates}n)" if columns else f"({gates}n, n)"
    if n == 0 or len(recurrent) != gates * n:
        got = recurrent.T.shape if columns else recurrent.shape
        raise LyapflowError(
            f"recurrent must have shape {shape} for {kind}, got {got}"
            f"{_transposed(got, gates, columns)}"
        )
    if len(inputs) != gates * n:
        got = inputs.T.shape if columns else inputs.shape
        raise LyapflowError(
            f"inputs must have {gates * n} {'columns' if columns else 'rows'}, "
            f"as recurrent has, got shape {got}"
        )
    W = recurrent.reshape(gates, n, n)[places]
    V = inputs.reshape(gates, n, inputs.shape[1])[places]
    of_inputs, of_state = _biases(bias, gates * n, recurrent)
    parts = [b.reshape(gates, n)[places] for b in (of_inputs, of_state)]
    amount = _checks.number("forget_bias", forget_bias, -np.inf)
    if amount and kind != "lstm":
        raise LyapflowError(f"forget_bias is a setting of an LSTM, got {forget_bias} for {kind}")
    cell = checked(cell_of_gates(kind, W, V, parts, amount))
    if check is not None:
        x, units = _given(check, cell)
        check_states([cell], x, None, [units], order=order)
    return cell


def cell_of_gates(
    kind: str, W: np.ndarray, V: np.ndarray, b: list[np.ndarray], forget_bias: float = 0.0
) -> Any:
    """The cell of arrays in its own order of gates: W (G, n, n), V (G, n, m), both biases (G, n)."""
    of_inputs, of_state = b
    if kind == "gru":
        outside = np.stack([*(of_inputs + of_state)[:2], of_inputs[2]])
        return GRU(W, V, outside, of_state[2])
    total = of_inputs + of_state
    if kind == "lstm":
        total[1] += np.asarray(forget_bias, total.dtype)
        return LSTM(W, V, total)
    if kind == "gru-reset-before":
        return GRUResetBefore(W, V, total)
    return KINDS[kind].cell(W[0], V[0], total[0], np.ones_like(total[0]))


def as_gates(cell: Any, name: str) -> dict[str, np.ndarray]:
    """A cell's arrays with their gates: W (G, n, n), V (G, n, m), b (G, n); name says of whom in errors."""
    kind = kind_of(cell)
    if kind in ("tanh", "relu"):
        if (cell.leak != 1).any():
            raise LyapflowError(
                f"{name} has leaks below 1, {cell.leak.min():.4g}, which other libraries do not have"
            )
        return {"W": cell.W[None], "V": cell.V[None], "b": cell.b[None]}
    return dict(zip(cell._fields, cell))


def split_bias(
    total: np.ndarray, inputs: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two biases whose rounded sum is exactly that; the state's stays where it can, and both where they add up.

    Where no number added to the state's is the sum, that moves by a rounding error, too; and where the sum
    is so much smaller than both that none of their sizes add up to it, all of it is the inputs'."""
    inputs, state = inputs.astype(total.dtype), state.astype(total.dtype)
    rest = total - state
    pairs = [
        (inputs, state),
        (rest, state),
        (np.nextafter(rest, np.inf), state),
        (np.nextafter(rest, -np.inf), state),
        (rest, total - rest),
        (total, np.zeros_like(total)),
    ]
    exact = [one + other == total for one, other in pairs]
    of_inputs, of_state = (np.select(exact, parts) for parts in zip(*pairs))
    return of_inputs, of_state


def _places(kind: str, order: str | None) -> list[int]:
    """Where each of the cell's gates stands in the given order."""
    gates = KINDS[kind].gates
    if order is None:
        return list(range(len(gates)))
    wanted = f"order must have the letters {', '.join(gates)} of a {kind} once each"
    if not isinstance(order, str):
        raise LyapflowError(f"{wanted}, got {order!r:.80}")
    letters = in_our_letters(order, gates)
    if sorted(letters) != sorted(gates):
        raise LyapflowError(f"{wanted}, got {order!r:.80}")
    return [letters.index(gate) for gate in gates]


def _biases(bias: Any, length: int, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bias of the inputs and that of the state; zeros for what is not given."""
    nothing = np.zeros(length, like.dtype)
    if bias is None:
        return nothing, nothing
    if isinstance(bias, (tuple, list)) and len(bias) == 2 and _checks.ndim(bias[0]) == 1:
        of_inputs, of_state = (
            _checks.array(f"bias[{i}]", part, (length,), like=like) for i, part in enumerate(bias)
        )
        return of_inputs, of_state
    if _checks.ndim(bias) == 2:
        both = _checks.array("bias", bias, (2, length), like=like)
        return both[0], both[1]
    return _checks.array("bias", bias, (length,), like=like), nothing


def _given(check: Any, cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """The input (T, 1, m) and the units (T, 1, n) of an original program."""
    if not isinstance(check, (tuple, list)) or len(check) != 2:
        raise LyapflowError(
            f"check must be a pair of arrays, an input (T, m) and the units (T, n) that the original "
            f"reaches on it from zeros, got {type(check).__name__}"
        )
    size = sizes(cell)
    x = _checks.array("the input of check", check[0], ("T", size.inputs), like=cell.b)
    units = _checks.array("the units of check", check[1], (len(x), size.units))
    if len(x) == 0:
        raise LyapflowError("check must have at least one step")
    return x[:, None], units[:, None]


def _transposed(shape: tuple[int, ...], gates: int, columns: bool) -> str:
    """The way out where only the axes are the other way round."""
    long, short = shape if columns else shape[::-1]
    return f"; give columns={not columns}" if long == gates * short else ""
