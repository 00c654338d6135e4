"""A recurrent module of PyTorch and its input as the arrays of cells and (time, batch, inputs), by torch's operations.

So autograd carries gradients back through every change of layout: sums of biases, projections,
batch_first, packed sequences, reversed ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.torch import NO_VALUES
from lyapflow.interop.torch_modules import (
    parameters_of,
    recurrent_within,
    refuse_dropout,
    refuse_traced,
)
from lyapflow.interop.torch_names import Weights, one_stack, stacks

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = imported("torch")
    Tensor = torch.Tensor


class TorchProblem(NamedTuple):
    """A module and its input.

    Attributes
    ----------
    arrays : list of Tensor
        Those of all layers' cells, in the order of their fields; of plain ones without the leak.
    x : Tensor (T, B, m)
    h0 : Tensor (B, n_state)
    lengths : Tensor (B,) or None
        None where all sequences are whole.
    kinds : list of str
        Of each layer.
    states : list of int
        The size of each layer's state.
    """

    arrays: list[Tensor]
    x: Tensor
    h0: Tensor
    lengths: Tensor | None
    kinds: list[str]
    states: list[int]


class Spread(NamedTuple):
    """Which exponents of which layers count; those that are computed but do not have weight 0."""

    k: list[int]
    target: list[float]
    weights: list[float]


def problem(
    module: Any, x: Any, hx: Any, reverse: bool, layers: int | Sequence[int] | None
) -> TorchProblem:
    """The layers up to the highest of those that count, checked."""
    recurrent = recurrent_itself(module)
    refuse_dropout(recurrent)
    weights = parameters_of(recurrent, "")
    stack = one_stack(stacks(weights, getattr(recurrent, "nonlinearity", None)), "", "the module")
    chosen = stack.chosen(None, reverse)
    if layers is not None:
        chosen = chosen[: 1 + max(listed("layers", layers, len(chosen)))]
    first = chosen[0].hh
    if first.is_meta:
        raise LyapflowError(NO_VALUES)
    if first.dtype not in (torch.float32, torch.float64):
        raise LyapflowError(
            f"weights must be float64 or float32, got {first.dtype}; convert with .float()"
        )
    x, lengths = _time_first(recurrent, x, chosen[0])
    if reverse:
        x = _reversed(x, lengths)
    each = 1 + stack.bidirectional
    places = [i * each + reverse for i in range(len(chosen))]
    arrays, below = [], None
    for of in chosen:
        arrays += _cell_arrays(of, of.ih if below is None else of.ih @ below)
        below = of.hr
    return TorchProblem(
        arrays,
        x.to(first.dtype),
        _states(hx, recurrent, chosen, places, x.shape[1], first),
        lengths,
        [of.kind for of in chosen],
        [of.units * (1 + (of.kind == "lstm")) for of in chosen],
    )


def recurrent_itself(module: Any) -> Any:
    """The recurrent module, or the one that torch.compile made another of."""
    recurrent, name = recurrent_within(module, None)
    if recurrent is not getattr(module, "_orig_mod", module):
        raise LyapflowError(
            f"x is the input of the recurrent module: give that one, .{name} of the {type(module).__name__}"
        )
    refuse_traced(recurrent)
    return recurrent


def spread(depth: int, layers: Any, k: Any, target: Any) -> Spread:
    """What is asked of some layers as what is asked of all up to the highest of them."""
    wanted = list(range(depth)) if layers is None else listed("layers", layers, depth)
    numbers = dict(zip(wanted, for_each("k", k, len(wanted))))
    aims = iter(_targets(target, sum(numbers.values())))
    found = Spread([], [], [])
    for layer in range(depth):
        number = numbers.get(layer, 1)
        found.k.append(number)
        found.target.extend(next(aims) if layer in numbers else 0.0 for _ in range(number))
        found.weights.extend([1.0 if layer in numbers else 0.0] * number)
    return found


def for_each(name: str, value: Any, number: int) -> list[int]:
    """One integer for all layers, or one for each."""
    if not isinstance(value, (tuple, list)):
        return [_checks.integer(name, value, 1)] * number
    if len(value) != number:
        raise LyapflowError(
            f"{name} must be one number, or {number}, one for each layer, got {value}"
        )
    return [_checks.integer(f"{name} of each layer", of, 1) for of in value]


def listed(name: str, value: Any, depth: int) -> list[int]:
    """Numbers of layers, in ascending order."""
    many = list(value) if isinstance(value, (tuple, list, range)) else [value]
    if not many:
        raise LyapflowError(f"{name} must name at least one layer, got {value!r}")
    numbers = [_checks.integer(name, of, 0, depth - 1) for of in many]
    if numbers != sorted(set(numbers)):
        raise LyapflowError(f"{name} must ascend, each layer once, got {value!r:.80}")
    return numbers


def _targets(target: Any, number: int) -> list[float]:
    if isinstance(target, (np.ndarray, Tensor)):
        target = target.tolist()
    if not isinstance(target, (tuple, list)):
        return [_checks.number("target", target, -np.inf)] * number
    values = [_checks.number("each target", of, -np.inf) for of in target]
    if len(values) != number:
        raise LyapflowError(
            f"target must be one number or {number}, one per exponent, got {len(values)}"
        )
    return values


def _time_first(module: Any, x: Any, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """The input as (T, B, m), and the lengths of sequences that are packed."""
    lengths = None
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        x, lengths = torch.nn.utils.rnn.pad_packed_sequence(x)
    elif isinstance(x, Tensor) and x.ndim == 2:
        x = x[:, None]
    elif isinstance(x, Tensor) and x.ndim == 3 and getattr(module, "batch_first", False):
        x = x.transpose(0, 1)
    m = weights.ih.shape[1]
    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[2] != m or x.is_complex():
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise LyapflowError(
            f"x must be a PackedSequence or a tensor of {m} inputs, (T, {m}) or "
            f"{'(B, T, ' if getattr(module, 'batch_first', False) else '(T, B, '}{m}), got {got}"
        )
    return x, lengths


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence from its end; padding stays where it is."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(len(x), device=x.device)[:, None]
    ends = lengths.to(x.device)[None]
    place = torch.where(time < ends, ends - 1 - time, time)
    return x.gather(0, place[:, :, None].expand(-1, -1, x.shape[2]))


def _cell_arrays(of: Weights, ih: Tensor) -> list[Tensor]:
    """The arrays of the cell that one layer is."""
    gates, n = of.gates, of.units
    W, V = of.recurrent().reshape(gates, n, n), ih.reshape(gates, n, ih.shape[1])
    nothing = W.new_zeros(gates * n)
    of_inputs, of_state = (nothing if b is None else b for b in (of.bias_ih, of.bias_hh))
    if of.kind == "gru":
        outside = torch.cat([of_inputs[: 2 * n] + of_state[: 2 * n], of_inputs[2 * n :]])
        return [W, V, outside.reshape(gates, n), of_state[2 * n :]]
    b = (of_inputs + of_state).reshape(gates, n)
    return [W, V, b] if gates > 1 else [W[0], V[0], b[0]]


def _states(
    hx: Any, module: Any, chosen: list[Weights], places: list[int], batch: int, like: Tensor
) -> Tensor:
    """The initial states (B, n_state) of all layers."""
    lstm = chosen[0].kind == "lstm"
    if hx is None:
        total = sum(of.units * (1 + lstm) for of in chosen)
        return like.new_zeros(batch, total)
    if chosen[0].hr is not None:
        raise LyapflowError(
            "hx of a module with proj_size cannot be given, for units cannot be told from their projection"
        )
    parts = list(hx) if isinstance(hx, (tuple, list)) else [hx]
    if len(parts) != 1 + lstm or not all(isinstance(part, Tensor) for part in parts):
        what = "a pair of tensors (h_0, c_0)" if lstm else "a tensor h_0"
        raise LyapflowError(f"hx must be {what}, got {type(hx).__name__}")
    # classes for single steps have no layers
    layered = hasattr(module, "num_layers")
    depth = module.num_layers * (1 + module.bidirectional) if layered else 1
    wanted = (depth, batch, chosen[0].units) if layered else (batch, chosen[0].units)
    shapes = [wanted] if batch > 1 else [wanted, (*wanted[:-2], wanted[-1])]
    if any(tuple(part.shape) not in shapes for part in parts):
        got = " and ".join(str(tuple(part.shape)) for part in parts)
        raise LyapflowError(f"hx must have shape {wanted}, got {got}")
    whole = [part.detach().reshape(depth, batch, -1) for part in parts]
    found = [part[place] for place in places for part in whole]
    return torch.cat(found, dim=1).to(like.dtype)


def initial_state(module: Any, x: Any, hx: Any) -> Any:
    """The state that a module starts from, zeros by default, with h a leaf whose gradient can be seen."""
    if hx is None:
        packed = isinstance(x, torch.nn.utils.rnn.PackedSequence)
        data = x.data if packed else x
        module = recurrent_itself(module)
        batch = int(x.batch_sizes[0]) if packed else x.shape[0 if module.batch_first else 1]
        depth = module.num_layers * (1 + module.bidirectional)
        sizes = [module.proj_size or module.hidden_size, module.hidden_size]
        lead = (depth,) if data.ndim == 2 and not packed else (depth, batch)
        like = next(module.parameters())
        parts = [like.new_zeros(*lead, size) for size in sizes]
        hx = tuple(parts) if isinstance(module, torch.nn.LSTM) else parts[1]
    if isinstance(hx, (tuple, list)):
        return (_leaf(hx[0]), *hx[1:])
    return _leaf(hx)


def _leaf(h: Tensor) -> Tensor:
    return h if h.requires_grad else h.detach().clone().requires_grad_()
