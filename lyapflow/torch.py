"""Flossing and spectra of PyTorch's recurrent modules, in their own layout, differentiable in parameters and input."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.torch_layout import (
    for_each,
    initial_state,
    problem,
    recurrent_itself,
    spread,
)
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


class Flossing(torch.nn.Module):
    """The flossing loss of whatever a recurrent module is given, beside the task's loss.

    Calling it after a training step's forward pass gives weight times the loss on the input that
    the module saw, every so many passes in training mode, and 0 in between.

    Parameters
    ----------
    rnn : nn.RNN, nn.LSTM or nn.GRU
        It stays where it is; its parameters are not this module's.
    k : int, or several
    weight : float
    every : int
    **settings
        As in `flossing_loss`.

    Attributes
    ----------
    exponents : Tensor (k,) or None
        Of the last loss.

    Raises
    ------
    LyapflowError
        If arguments are out of their range; the rest when the module is called.

    Examples
    --------
    >>> import torch, lyapflow.torch
    >>> rnn, readout = torch.nn.GRU(1, 16), torch.nn.Linear(16, 1)
    >>> flossing = lyapflow.torch.Flossing(rnn, k=4, weight=0.1, every=10)
    >>> out, _ = rnn(torch.randn(50, 8, 1))
    >>> loss = readout(out).square().mean() + flossing()
    >>> loss.backward()
    """

    def __init__(
        self,
        rnn: Any,
        k: int | Sequence[int],
        weight: float = 1.0,
        *,
        every: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.k, self.settings = k, settings
        self.weight = _checks.number("weight", weight, 0.0)
        self.every = _checks.integer("every", every, 1)
        self.exponents: Tensor | None = None
        self._passes = 0
        self._seen: tuple[Any, Any, Any] | None = None
        _check_watched(rnn)
        rnn.register_forward_hook(self._look, with_kwargs=True)

    def __getstate__(self) -> dict[str, Any]:
        # an input may be in a graph, which can be neither copied nor pickled
        return self.__dict__ | {"_seen": None}

    def _look(self, rnn: Any, args: tuple, kwargs: dict, out: Any) -> None:
        if rnn.training and not torch.is_inference_mode_enabled() and not _in_backward():
            due = self._passes % self.every == 0
            # the module is kept for the time of one step, not as a part of this one
            self._seen = (rnn, *_input_of(args, kwargs)) if due else None
            self._passes += 1

    def forward(self) -> Tensor:
        """Weight times the loss of the last pass, or 0."""
        if self._seen is None:
            return torch.zeros(())
        (rnn, x, hx), self._seen = self._seen, None
        loss, self.exponents = flossing_loss(rnn, x, self.k, hx=hx, **self.settings)
        return self.weight * loss


class Monitor:
    r"""Reports the exponents of a recurrent module, and how much gradient reaches its initial state, as it is trained.

    Parameters
    ----------
    rnn : nn.RNN, nn.LSTM or nn.GRU
    k : int, or several
    report : callable
        Gets the number of the training pass and a dict: ``lambda_1``, ..., and
        ``h0_gradient_norm``, :math:`\|dL/dh_0\|`. It is called in the backward pass.
    every : int
        Training passes from one report to the next.
    **settings
        As in `flossing_loss`.

    Raises
    ------
    LyapflowError
        If arguments are out of their range; the rest when the module is called.

    Examples
    --------
    TensorBoard and Lightning in a line::

        Monitor(rnn, 3, lambda step, row: writer.add_scalars("lyapunov", row, step))
        Monitor(model.rnn, 3, lambda step, row: model.log_dict(row))

    >>> import torch, lyapflow.torch
    >>> rnn, rows = torch.nn.GRU(1, 16), []
    >>> monitor = lyapflow.torch.Monitor(rnn, 2, lambda step, row: rows.append(row), every=100)
    >>> out, _ = rnn(torch.randn(50, 8, 1))
    >>> out.square().mean().backward()
    >>> list(rows[0])
    ['lambda_1', 'lambda_2', 'h0_gradient_norm']
    """

    def __init__(
        self,
        rnn: Any,
        k: int | Sequence[int],
        report: Callable[[int, dict[str, float]], Any],
        *,
        every: int = 100,
        **settings: Any,
    ) -> None:
        self.k, self.report, self.settings = k, report, settings
        self.every = _checks.integer("every", every, 1)
        self._passes = 0
        self._graph_comes = False
        _check_watched(rnn)
        self._hook = rnn.register_forward_pre_hook(self._look, with_kwargs=True)

    def remove(self) -> None:
        """Take no more looks."""
        self._hook.remove()

    def _look(self, rnn: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        again = _in_backward()
        if not again:
            # checkpointing may make the graph in the backward pass alone
            self._graph_comes = not torch.is_grad_enabled()
        if not rnn.training or not torch.is_grad_enabled():
            return None
        x, hx = _input_of(args, kwargs)
        start = initial_state(rnn, x, hx)
        if again and not self._graph_comes:  # in which everything must be as it was before
            return (x, start), {}
        step, self._passes = self._passes, self._passes + 1
        if step % self.every:
            return (x, start), {}
        with torch.no_grad():
            _, exponents = flossing_loss(rnn, x, self.k, hx=hx, on_lost="skip", **self.settings)
        row = {f"lambda_{i}": float(value) for i, value in enumerate(exponents, 1)}
        h0 = start[0] if isinstance(start, tuple) else start
        h0.register_hook(
            lambda gradient: self.report(step, row | {"h0_gradient_norm": float(gradient.norm())})
        )
        return (x, start), {}


def _check_watched(rnn: Any) -> None:
    """Raise an error for what is not called once for a whole sequence."""
    recurrent = recurrent_itself(rnn)
    if not hasattr(recurrent, "num_layers"):
        raise LyapflowError(
            f"rnn must be an nn.RNN, nn.LSTM or nn.GRU, got a {type(recurrent).__name__}, which sees one step "
            f"at a time; give flossing_loss the whole sequence"
        )


def _in_backward() -> bool:
    """Whether a forward pass is repeated within the backward pass, as gradient checkpointing does."""
    return torch._C._current_graph_task_id() != -1


def _input_of(args: tuple, kwargs: dict) -> tuple[Any, Any]:
    """The input and the initial state of a call of a recurrent module."""
    x, hx = (*args, None, None)[:2]
    return kwargs.get("input", x), kwargs.get("hx", hx)
