"""Recurrent modules within those of PyTorch: found, their weights, and what they do, step by step."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from lyapflow.cells.interface import Cell
from lyapflow.errors import LyapflowError
from lyapflow.interop.check import SEQUENCES, STEPS, check_states
from lyapflow.interop.named import place_of
from lyapflow.interop.torch_names import NAME, Stack, Weights

CLASSES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")


def recurrent_within(module: Any, name: str | None) -> tuple[Any, str]:
    """The recurrent module within another, or itself, and its name."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(module, torch.nn.Module):
        raise LyapflowError(
            f"from_torch takes a torch.nn.Module, a state dict, or a path, got {type(module).__name__}"
        )
    found = dict(_recurrent_modules(module))
    if not found:
        raise LyapflowError(f"the {type(module).__name__} has no {', '.join(CLASSES)} within")
    names = list(found)
    chosen = names[place_of(name, names, f"the {type(module).__name__}", "recurrent module")]
    return found[chosen], chosen


def _recurrent_modules(module: Any) -> Iterator[tuple[str, Any]]:
    nn = sys.modules["torch"].nn
    for name, of in module.named_modules():
        scripted = getattr(of, "original_name", None)
        if isinstance(of, (nn.RNNBase, nn.RNNCellBase)) or scripted in CLASSES:
            yield name, of


def refuse_dropout(module: Any) -> None:
    if module.training and getattr(module, "dropout", 0.0) > 0 and module.num_layers > 1:
        raise LyapflowError(
            f"the module drops units between its layers (dropout={module.dropout}) in training mode, "
            f"which is no fixed network; call .eval() on it"
        )


def refuse_traced(module: Any) -> None:
    if not hasattr(module, "hidden_size"):
        raise LyapflowError(
            "a traced module does not say how its input is laid out, and cannot be called step by step; "
            "take one of torch.jit.script, or lf.from_torch with check=False for its weights alone"
        )


def parameters_of(module: Any, name: str) -> dict[str, Any]:
    """The weights that a recurrent module computes with, by name; tied ones by each of their names."""
    plain = module.named_parameters(remove_duplicate=False)
    names = dict(plain) | dict(getattr(module, "parametrizations", {}))
    dot = f"{name}." if name else ""
    return {f"{dot}{of}": getattr(module, of) for of in names if NAME.fullmatch(of)}


def compare(
    module: Any,
    stack: Stack,
    chosen: list[Weights],
    cells: list[Cell],
    layer: int | None,
    reverse: bool,
) -> None:
    """Run the module step by step, and compare its states with those of its cells."""
    rng = np.random.default_rng(0)
    first = stack.directions[0, False]
    x = rng.standard_normal((STEPS, SEQUENCES, first.ih.shape[1]))
    lstm, depth = first.kind == "lstm", stack.layers * (1 + stack.bidirectional)
    projected = first.hr is not None
    # the units before a projection cannot be told from what is after it
    size = 0.0 if projected else 0.5
    h0 = size * rng.standard_normal((depth, SEQUENCES, first.hh.shape[1]))
    c0 = size * rng.standard_normal((depth, SEQUENCES, first.units))
    before = np.concatenate([h0, c0], axis=2) if lstm else h0
    after = _run(module, first.hh.dtype, x, h0, c0 if lstm else None)
    each = 1 + stack.bidirectional
    places = [
        number * each + reverse for number in (range(stack.layers) if layer is None else [layer])
    ]
    if layer:
        below = after[:, (layer - 1) * each : layer * each]
        x = np.concatenate([below[:, i] for i in range(each)], axis=2)
    start = np.zeros((SEQUENCES, 0))
    if not projected:
        start = np.concatenate([before[place] for place in places], axis=1)
    check_states(
        cells,
        x,
        None if projected else start,
        [after[:, place] for place in places],
        seen_as=[of.hr for of in chosen],
    )


def _run(
    module: Any, dtype: np.dtype, x: np.ndarray, h0: np.ndarray, c0: np.ndarray | None
) -> np.ndarray:
    """What h is after each step, (T, layers and directions, B, p), by a call a step."""
    torch = sys.modules["torch"]
    if not hasattr(module, "forward"):
        module = _plain(module)
    device = next(module.parameters()).device

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(array.astype(dtype)).to(device)

    single = not hasattr(module, "num_layers")
    parts = [tensor(part[0] if single else part) for part in (h0, c0) if part is not None]
    state: Any = parts[0] if c0 is None else tuple(parts)
    found = []
    with torch.inference_mode():  # by which hooks of ours know that this is no step of a training
        for step in tensor(x):
            if single:
                state = module(step, state)
            else:
                _, state = module(step[:, None] if module.batch_first else step[None], state)
            h = state if c0 is None else state[0]
            found.append((h[None] if single else h).cpu().numpy())
    return np.stack(found)


def _plain(scripted: Any) -> Any:
    """The module of torch.nn that a scripted one was, which cannot be called by itself."""
    torch = sys.modules["torch"]
    weights = dict(scripted.named_parameters())
    cls = getattr(torch.nn, scripted.original_name)
    hh, ih = weights["weight_hh_l0"], weights["weight_ih_l0"]
    settings = {
        "input_size": ih.shape[1],
        "hidden_size": len(hh) // {"LSTM": 4, "GRU": 3, "RNN": 1}[cls.__name__],
        "num_layers": scripted.num_layers,
        "bias": "bias_ih_l0" in weights,
        "bidirectional": "weight_ih_l0_reverse" in weights,
        "dtype": hh.dtype,
    }
    if cls is torch.nn.RNN:
        settings["nonlinearity"] = scripted.nonlinearity
    if "weight_hr_l0" in weights:
        settings["proj_size"] = hh.shape[1]
    # no random numbers are drawn for what has no values yet
    plain = cls(**settings, device="meta").to_empty(device=hh.device)
    plain.load_state_dict(weights)
    # so that the caller's steps are laid out alike
    plain.batch_first = scripted.batch_first
    return plain
