"""PyTorch's names for the weights of recurrent layers, and the cells that such weights make; torch is not needed."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Cell, checked
from lyapflow.errors import LyapflowError
from lyapflow.interop.gates import KINDS, as_gates, cell_of_gates, kind_of, split_bias
from lyapflow.interop.named import place_of

# weight_ih_l0, weight_hh_l1_reverse of layers; weight_ih of the classes for single steps
NAME = re.compile(
    r"(?:(?P<of>.*)\.)?(?P<part>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?"
)
PARTS = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")  # as the fields of Weights
NONLINEARITIES = ("tanh", "relu")


class Weights(NamedTuple):
    """The weights of one direction of a layer; arrays of NumPy or of torch.

    Attributes
    ----------
    kind : str
        As in `gates.KINDS`.
    ih, hh : array (G n, m), array (G n, p)
        Of the input and of the state; p is n without a projection.
    hr : array (p, n) or None
        The projection of the units to what the state is.
    bias_ih, bias_hh : array (G n,) or None
    """

    kind: str
    ih: Any
    hh: Any
    hr: Any
    bias_ih: Any
    bias_hh: Any

    @property
    def gates(self) -> int:
        return len(KINDS[self.kind].gates)

    @property
    def units(self) -> int:
        return self.hh.shape[0] // self.gates

    def recurrent(self) -> Any:
        """The weights (G n, n) that units act on: of a network with a projection, those of a plain one with its map."""
        return self.hh if self.hr is None else self.hh @ self.hr


class Stack(NamedTuple):
    """All recurrent weights of one module, by (layer, whether reversed).

    Attributes
    ----------
    name : str
        What stands before the names of its weights.
    directions : mapping
    """

    name: str
    directions: Mapping[tuple[int, bool], Weights]

    @property
    def layers(self) -> int:
        return 1 + max(layer for layer, _ in self.directions)

    @property
    def bidirectional(self) -> bool:
        return any(reverse for _, reverse in self.directions)

    def chosen(self, layer: int | None, reverse: bool) -> list[Weights]:
        """The weights of one layer or of all, bottom first, in one direction."""
        reverse = _checks.flag("reverse", reverse)
        if reverse and not self.bidirectional:
            raise LyapflowError(
                "reverse=True takes the other direction of a bidirectional module, which this is not"
            )
        if layer is not None:
            number = _checks.integer("layer", layer, 0, self.layers - 1)
            return [self.directions[number, reverse]]
        if self.bidirectional and self.layers > 1:
            raise LyapflowError(
                "a bidirectional module of several layers is no dynamics forward in time, for each layer "
                "reads both directions of the one below; take one direction of one layer: layer=..., reverse=..."
            )
        return [self.directions[number, reverse] for number in range(self.layers)]


def stacks(weights: Mapping[str, Any], nonlinearity: str | None) -> dict[str, Stack]:
    """The recurrent modules of a state dict, by name."""
    found: dict[str, dict[tuple[int, bool], dict[str, Any]]] = {}
    for key, value in weights.items():
        if isinstance(key, str) and (match := NAME.fullmatch(key)) is not None:
            place = int(match["layer"] or 0), match["reverse"] is not None
            of = found.setdefault(match["of"] or "", {})
            of.setdefault(place, {})[match["part"]] = value
    return {name: _stack(name, parts, nonlinearity) for name, parts in found.items()}


def one_stack(found: Mapping[str, Stack], name: str | None, what: str) -> Stack:
    """The recurrent module of that name, or the only one."""
    if not found:
        raise LyapflowError(
            f"{what} has no weights of a recurrent layer with PyTorch's names, such as weight_hh_l0"
        )
    names = list(found)
    return found[names[place_of(name, names, what, "recurrent module")]]


def _stack(
    name: str, parts: Mapping[tuple[int, bool], Mapping[str, Any]], nonlinearity: str | None
) -> Stack:
    numbers = {layer for layer, _ in parts}
    both = {reverse for _, reverse in parts} == {True, False}
    dot = f"{name}." if name else ""
    for layer in range(max(numbers) + 1):
        for reverse in (False, True)[: 1 + both]:
            if (layer, reverse) not in parts:
                raise LyapflowError(
                    f"the weights of layer {layer}{' reversed' * reverse} of {name or 'the module'} are missing"
                )
    directions = {
        place: _weights(f"{dot}*_l{place[0]}{'_reverse' * place[1]}", of, nonlinearity)
        for place, of in parts.items()
    }
    return Stack(name, directions)


def _weights(name: str, parts: Mapping[str, Any], nonlinearity: str | None) -> Weights:
    """The weights of one direction of a layer, whose kind their shapes tell."""
    for part in ("weight_ih", "weight_hh"):
        if part not in parts:
            raise LyapflowError(f"{name.replace('*', part)} is missing")
    if ("bias_ih" in parts) != ("bias_hh" in parts):
        raise LyapflowError(f"of {name.replace('*', 'bias')} one of bias_ih and bias_hh is missing")
    ih, hh, hr = parts["weight_ih"], parts["weight_hh"], parts.get("weight_hr")
    shapes = ", ".join(f"{part} {tuple(value.shape)}" for part, value in parts.items())
    if hh.ndim != 2 or ih.ndim != 2 or len(ih) != len(hh) or (hr is not None and hr.ndim != 2):
        raise LyapflowError(f"the shapes of {name} are no recurrent layer's: {shapes}")
    units = hh.shape[1] if hr is None else hr.shape[1]
    gates = len(hh) // units if units and len(hh) % units == 0 else 0
    if gates not in (1, 3, 4) or (hr is not None and (gates != 4 or len(hr) != hh.shape[1])):
        raise LyapflowError(
            f"weights of a recurrent layer have 1, 3 or 4 times as many rows as units, got {shapes} of {name}"
        )
    kind = {3: "gru", 4: "lstm"}.get(gates, nonlinearity)
    if kind is None:
        raise LyapflowError(
            f"{name} are those of an nn.RNN, and weights do not say whether it is tanh or relu; "
            f"give nonlinearity='tanh' or 'relu'"
        )
    biases = (parts.get("bias_ih"), parts.get("bias_hh"))
    if any(b is not None and tuple(b.shape) != (len(hh),) for b in biases):
        raise LyapflowError(f"the biases of {name} must have shape ({len(hh)},), got {shapes}")
    return Weights(kind, ih, hh, hr, *biases)


def cells_of(directions: list[Weights], dtype: Any = None) -> list[Cell]:
    """The cells of layers that stand one above the other; the dtype is the weights' by default."""
    kept = directions[0].hh.dtype if dtype is None else _checks.dtype(dtype)
    cells, below = [], None
    for weights in directions:
        # in float64, so that only the result is rounded
        wide = Weights(weights.kind, *(p if p is None else p.astype(float) for p in weights[1:]))
        cells.append(_cell(wide, wide.ih if below is None else wide.ih @ below, kept))
        below = wide.hr
    return cells


def _cell(weights: Weights, ih: np.ndarray, dtype: np.dtype) -> Cell:
    gates, n = weights.gates, weights.units
    nothing = np.zeros(gates * n)
    biases = (nothing if b is None else b for b in (weights.bias_ih, weights.bias_hh))
    W, V = weights.recurrent().reshape(gates, n, n), ih.reshape(gates, n, ih.shape[1])
    cell = cell_of_gates(weights.kind, W, V, [b.reshape(gates, n) for b in biases])
    return checked(map_arrays(lambda array: array.astype(dtype), cell))


def written_back(cell: Any, weights: Weights, what: str) -> dict[str, np.ndarray]:
    """What the parts of a layer's weights become, so that they make this cell.

    Biases that add up to the cell's stay as they are; others keep the one of the state."""
    n, gates = weights.units, weights.gates
    if kind_of(cell) != weights.kind:
        raise LyapflowError(
            f"{what} holds a {KINDS[weights.kind].cell.__name__} as lyapflow calls it, got a {type(cell).__name__}"
        )
    if weights.hr is not None:
        raise LyapflowError(
            f"{what} has a projection (proj_size); a cell's W is a product with it, and cannot be taken apart"
        )
    arrays = as_gates(checked(cell), "the cell")
    W, V, b = (arrays[name] for name in "WVb")
    if V.shape != (gates, n, weights.ih.shape[1]) or W.shape != (gates, n, n):
        raise LyapflowError(
            f"{what} has {n} units and {weights.ih.shape[1]} inputs, "
            f"the cell {W.shape[-1]} units and {V.shape[-1]} inputs"
        )
    found = {"weight_hh": W.reshape(gates * n, n), "weight_ih": V.reshape(gates * n, -1)}
    if weights.bias_ih is None:
        inside = arrays.get("b_n", b)
        if b.any() or inside.any():
            raise LyapflowError(
                f"{what} has no biases (bias=False), the cell's are up to {max(abs(b).max(), abs(inside).max()):.3g}; "
                f'keep them at 0 with lf.Adam(hold=("b", "b_n"))'
            )
        return found
    total, state = b.ravel(), weights.bias_hh.astype(b.dtype)
    if weights.kind == "gru":
        # b_n stands inside the reset gate, and adds to nothing
        inputs, held = split_bias(total[: 2 * n], weights.bias_ih[: 2 * n], state[: 2 * n])
        bias_ih = np.concatenate([inputs, total[2 * n :]])
        bias_hh = np.concatenate([held, arrays["b_n"]])
    else:
        bias_ih, bias_hh = split_bias(total, weights.bias_ih, state)
    return found | {"bias_ih": bias_ih, "bias_hh": bias_hh}


def named(directions: Mapping[tuple[int, bool], Mapping[str, Any]], name: str = "") -> dict:
    """Parts of layers' weights by PyTorch's names."""
    dot = f"{name}." if name else ""
    return {
        f"{dot}{part}_l{layer}{'_reverse' * reverse}": value
        for (layer, reverse), parts in directions.items()
        for part, value in parts.items()
    }


def as_arrays(stack: Stack, convert: Callable[[Any], np.ndarray]) -> Stack:
    """The same with every array converted, and checked: finite numbers in float32 or float64."""
    dot = f"{stack.name}." if stack.name else ""

    def converted(place: tuple[int, bool], of: Weights) -> Weights:
        end = f"_l{place[0]}{'_reverse' * place[1]}"
        parts = [
            None if value is None else _checks.array(f"{dot}{part}{end}", convert(value))
            for part, value in zip(PARTS, of[1:])
        ]
        return Weights(of.kind, *parts)

    return Stack(
        stack.name, {place: converted(place, of) for place, of in stack.directions.items()}
    )
