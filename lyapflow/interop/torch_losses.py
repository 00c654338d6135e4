"""The flossing loss and the exponents of PyTorch's recurrent modules, differentiable in parameters and input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lyapflow import _checks
from lyapflow.interop.extras import imported
from lyapflow.interop.torch_layout import for_each, problem, spread
from lyapflow.interop.torch_operators import exponents_of, flossing
from lyapflow.lyapunov.flossing_loss import AVERAGES

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = imported("torch")
    Tensor = torch.Tensor

ON_LOST = ("raise", "skip")


class Exponents(NamedTuple):
    """Lyapunov exponents of a module, as `lyapunov_spectrum` finds them.

    Attributes
    ----------
    exponents : Tensor (k,)
        Nats per step, descending up to noise; differentiable.
    stderr : Tensor (k,)
        Their standard errors, without gradients.
    layer : Tensor (k,)
        Which layer an exponent belongs to.
    """

    exponents: Tensor
    stderr: Tensor
    layer: Tensor


def flossing_loss(
    module: Any,
    x: Any,
    k: int | Sequence[int],
    *,
    hx: Any = None,
    layers: int | Sequence[int] | None = None,
    reverse: bool = False,
    target: float | Sequence[float] = 0.0,
    transient: int = 0,
    q_transient: int = 0,
    t_ons: int = 1,
    average: str = "exponents",
    one_sided: bool = False,
    on_lost: str = "raise",
) -> tuple[Tensor, Tensor]:
    r"""The flossing loss :math:`\sum_i (\lambda_i - \lambda_i^{target})^2` of a recurrent module.

    Parameters
    ----------
    module : nn.RNN, nn.LSTM, nn.GRU, or one of their ``*Cell`` classes
    x : Tensor or PackedSequence
        Its input, in its own layout: ``batch_first``, unbatched, packed. Gradients go on into what
        it was computed from.
    k : int, or several
        Exponents of each layer.
    hx : Tensor, or pair of them, optional
        The state before, as the module takes it; zeros by default. It is held constant.
    layers : int, or several, optional
        The layers whose exponents count, ascending, all by default; gradients reach those below as
        well.
    reverse : bool
        Of a bidirectional module of one layer, its other direction.
    target : float, or one for each exponent
        Nats per step.
    transient, q_transient, t_ons, average, one_sided
        As in `lyapflow.flossing_value_and_grad`.
    on_lost : {"raise", "skip"}
        What to do where an exponent is -inf or a state overflows: `Diverged`, or a loss of 0
        without gradient, exponents NaN, and a `LyapflowWarning`.

    Returns
    -------
    loss : Tensor ()
        Differentiable once in the module's parameters and x.
    exponents : Tensor (k,)
        The bottom layer's first, without gradients; for a loss of your own see
        `lyapunov_spectrum`.

    Raises
    ------
    LyapflowError
        If arguments do not fit the module, and where a second derivative is asked for.
    Diverged
        If an exponent of the k does not exist.

    Examples
    --------
    >>> import torch, lyapflow.torch
    >>> rnn = torch.nn.LSTM(3, 16, batch_first=True)
    >>> loss, exponents = lyapflow.torch.flossing_loss(rnn, torch.randn(4, 50, 3), 5)
    >>> loss.backward()
    >>> rnn.weight_hh_l0.grad.shape, exponents.shape
    (torch.Size([64, 16]), torch.Size([5]))
    """
    _checks.one_of("on_lost", on_lost, ON_LOST)
    _checks.one_of("average", average, AVERAGES)
    given = problem(module, x, hx, reverse, layers)
    wanted = spread(len(given.kinds), layers, k, target)
    loss, exponents, _ = flossing(
        given.arrays,
        given.x,
        given.h0,
        given.lengths,
        ",".join(given.kinds),
        wanted.k,
        torch.tensor(wanted.target, dtype=torch.float64),
        torch.tensor(wanted.weights, dtype=torch.float64),
        average,
        _checks.flag("one_sided", one_sided),
        *_times(t_ons, transient, q_transient),
        on_lost == "skip",
        torch.is_grad_enabled() and any(a.requires_grad for a in (*given.arrays, given.x)),
    )
    counted = [i for i, weight in enumerate(wanted.weights) if weight]
    return loss, exponents[counted]


def lyapunov_spectrum(
    module: Any,
    x: Any,
    k: int | Sequence[int] | None = None,
    *,
    hx: Any = None,
    reverse: bool = False,
    transient: int = 0,
    q_transient: int = 0,
    t_ons: int = 1,
) -> Exponents:
    """Lyapunov exponents of a recurrent module, differentiable, for losses of your own.

    The backward pass takes the time of a `flossing_loss`; where it is not needed,
    `lyapflow.lyapunov_spectrum` of ``lyapflow.from_torch(module)`` says more.

    Parameters
    ----------
    module, x, hx, reverse, transient, q_transient, t_ons
        As in `flossing_loss`.
    k : int, or several, optional
        Exponents of each layer, all by default.

    Returns
    -------
    Exponents

    Raises
    ------
    LyapflowError
        If arguments do not fit the module.
    Diverged
        If a state overflows.

    Examples
    --------
    >>> import torch, lyapflow.torch
    >>> rnn = torch.nn.GRU(3, 16)
    >>> found = lyapflow.torch.lyapunov_spectrum(rnn, torch.randn(100, 3), 4)
    >>> found.exponents.sum().backward()  # the growth of volumes of four dimensions
    """
    given = problem(module, x, hx, reverse, None)
    ks = given.states if k is None else for_each("k", k, len(given.kinds))
    exponents, stderr = exponents_of(
        given.arrays,
        given.x,
        given.h0,
        given.lengths,
        ",".join(given.kinds),
        ks,
        *_times(t_ons, transient, q_transient),
    )
    layer = torch.repeat_interleave(torch.arange(len(ks)), torch.tensor(ks)).to(exponents.device)
    if len(ks) == 1:  # as QR has them
        return Exponents(exponents, stderr, layer)
    order = torch.argsort(exponents.detach(), descending=True, stable=True)
    return Exponents(exponents[order], stderr[order], layer[order])


def _times(t_ons: Any, transient: Any, q_transient: Any) -> tuple[int, int, int]:
    return (
        _checks.integer("t_ons", t_ons, 1),
        _checks.integer("transient", transient, 0),
        _checks.integer("q_transient", q_transient, 0),
    )
