"""Hooks on a recurrent module of PyTorch during training: its flossing loss, and a monitor of its exponents."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.interop.torch_layout import initial_state, recurrent_itself
from lyapflow.interop.torch_losses import flossing_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = imported("torch")
    Tensor = torch.Tensor


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
