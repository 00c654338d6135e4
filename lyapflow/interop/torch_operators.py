"""Flossing loss and exponents as PyTorch's own operators: seen by autograd, torch.compile and opcheck as any other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lyapflow.cells.layers import Layers
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.interop.extras import imported
from lyapflow.interop.gates import KINDS
from lyapflow.lyapunov.flossing_loss import flossing_value_and_grad
from lyapflow.lyapunov.spectrum import lyapunov_spectrum

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = imported("torch")
    Tensor = torch.Tensor

SECOND = (
    "second derivatives of the flossing loss are not there; "
    "take create_graph=True away, or detach() the loss"
)


@torch.library.custom_op("lyapflow::flossing", mutates_args=())
def _flossing(
    arrays: Sequence[Tensor],
    x: Tensor,
    h0: Tensor,
    lengths: Tensor | None,
    kinds: str,
    k: Sequence[int],
    target: Tensor,
    weights: Tensor,
    average: str,
    one_sided: bool,
    t_ons: int,
    transient: int,
    q_transient: int,
    skip: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The loss, the exponents and, where they are asked for, the gradients in all arrays and x."""
    cell, length = _cell(kinds, arrays), None if lengths is None else _numpy(lengths)
    settings: dict[str, Any] = {"h0": _numpy(h0), "t_ons": t_ons, "lengths": length}
    settings |= {"transient": transient, "q_transient": q_transient}
    try:
        loss, of_cell, exponents, of_x = flossing_value_and_grad(
            cell,
            _numpy(x),
            tuple(k) if len(k) > 1 else k[0],
            target=_numpy(target),
            average=average,
            weights=_numpy(weights),
            one_sided=one_sided,
            input_gradient=True,
            **settings,
        )
    except Diverged as error:
        if not skip:
            raise
        warn(f"a flossing loss is left out: {error}")
        nothing = [torch.zeros_like(a) for a in (*arrays, x)] if gradient else []
        return x.new_zeros(()), x.new_full((sum(k),), float("nan")), nothing
    found = [_tensor(part, x) for part in (*_arrays(of_cell), of_x)] if gradient else []
    return x.new_tensor(loss), _tensor(exponents, x), found


@_flossing.register_fake
def _(arrays, x, h0, lengths, kinds, k, *settings):
    gradients = [torch.empty_like(a) for a in (*arrays, x)] if settings[-1] else []
    return x.new_empty(()), x.new_empty((sum(k),)), gradients


def _keep(ctx: Any, inputs: tuple, output: tuple) -> None:
    arrays, x = inputs[:2]
    _, exponents, gradients = output
    ctx.mark_non_differentiable(exponents, *gradients)
    ctx.save_for_backward(*arrays, x, *gradients)
    ctx.arrays, ctx.rest = len(arrays), len(inputs) - 2


def _back(ctx: Any, loss_bar: Tensor, *_: Any) -> tuple:
    saved = ctx.saved_tensors
    given, gradients = saved[: ctx.arrays + 1], saved[ctx.arrays + 1 :]
    if torch.is_grad_enabled():  # somebody may ask for second derivatives
        found = torch.ops.lyapflow.scaled(list(given), loss_bar, list(gradients))
    else:
        found = [loss_bar * gradient for gradient in gradients]
    return list(found[:-1]), found[-1], *[None] * ctx.rest


_flossing.register_autograd(_back, setup_context=_keep)


@torch.library.custom_op("lyapflow::scaled", mutates_args=())
def _scaled(given: Sequence[Tensor], factor: Tensor, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients times a number; `given`, what they are gradients in, is there for derivatives to be refused."""
    return [factor * gradient for gradient in gradients]


@_scaled.register_fake
def _(given, factor, gradients):
    return [torch.empty_like(gradient) for gradient in gradients]


def _refuse(ctx: Any, *_: Any) -> tuple:
    raise LyapflowError(SECOND)


_scaled.register_autograd(_refuse)


@torch.library.custom_op("lyapflow::exponents", mutates_args=())
def _exponents(
    arrays: Sequence[Tensor],
    x: Tensor,
    h0: Tensor,
    lengths: Tensor | None,
    kinds: str,
    k: Sequence[int],
    t_ons: int,
    transient: int,
    q_transient: int,
) -> tuple[Tensor, Tensor]:
    """The exponents of all layers, the bottom one's first, and their standard errors."""
    found = lyapunov_spectrum(
        _cell(kinds, arrays),
        _numpy(x),
        tuple(k) if len(k) > 1 else k[0],
        h0=_numpy(h0),
        lengths=None if lengths is None else _numpy(lengths),
        t_ons=t_ons,
        transient=transient,
        q_transient=q_transient,
    )
    layers = found.by_layer or (found,)
    exponents, stderr = (
        np.concatenate([getattr(of, name) for of in layers]) for name in ("exponents", "stderr")
    )
    return _tensor(exponents, x), _tensor(stderr, x)


@_exponents.register_fake
def _(arrays, x, h0, lengths, kinds, k, *settings):
    return x.new_empty((sum(k),)), x.new_empty((sum(k),))


def _keep_exponents(ctx: Any, inputs: tuple, output: tuple) -> None:
    arrays, x, h0, lengths, *rest = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*arrays, x, h0, lengths, output[0])
    ctx.rest = rest


def _back_exponents(ctx: Any, exponents_bar: Tensor, _: Any) -> tuple:
    *arrays, x, h0, lengths, exponents = ctx.saved_tensors
    kinds, k, *times = ctx.rest
    # the flossing loss whose derivative in the exponents, 2 w (λ - target), is what came from above
    target = exponents.double() - 0.5 * exponents_bar.double().sign()
    weights = exponents_bar.double().abs()
    settings = (target, weights, "exponents", False, *times, False, True)
    _, _, gradients = torch.ops.lyapflow.flossing(arrays, x, h0, lengths, kinds, k, *settings)
    found = list(gradients)
    if torch.is_grad_enabled():
        given, one = [*arrays, x, exponents_bar], x.new_ones(())
        found = torch.ops.lyapflow.scaled(given, one, found)
    return list(found[:-1]), found[-1], *[None] * (2 + len(ctx.rest))


_exponents.register_autograd(_back_exponents, setup_context=_keep_exponents)

flossing, exponents_of = torch.ops.lyapflow.flossing, torch.ops.lyapflow.exponents


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)


def _cell(kinds: str, arrays: Sequence[Tensor]) -> Any:
    """The cell, or network of layers, of these arrays."""
    values, cells = iter(map(_numpy, arrays)), []
    for kind in kinds.split(","):
        of = KINDS[kind].cell
        given = [next(values) for field in of._fields if field != "leak"]
        leak = [np.ones_like(given[2])] if "leak" in of._fields else []
        cells.append(of(*given, *leak))
    return cells[0] if len(cells) == 1 else Layers(tuple(cells))


def _arrays(gradient: Any) -> list[np.ndarray]:
    """The arrays of a gradient in the same order."""
    cells = gradient.layers if isinstance(gradient, Layers) else (gradient,)
    return [array for cell in cells for name, array in zip(cell._fields, cell) if name != "leak"]
