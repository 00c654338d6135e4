"""Networks of several layers, one layer after the other over all time.

The Jacobian of such a network is block lower triangular: what a layer does never comes back to those
below it. So the exponents of the network are those of its layers, each along its own trajectory
under the states of the layer below, its *conditional* exponents. They are found layer by layer, from
products as large as a layer, and their gradients come down through the cotangents of the inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import checked, first_array, sizes
from lyapflow.cells.layers import Layers, each_layer, of_layer, split_states
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.interval import with_intervals
from lyapflow.lyapunov.problem import Problem, problem
from lyapflow.lyapunov.trajectory import states_of


def layer_problems(
    generics: tuple,
    cell: Any,
    x: Any,
    k: Any,
    steps: Any,
    h0: Any,
    q0: Any,
    **times: Any,
) -> list[Problem]:
    """The `problem` of each layer; the input of all but the bottom one is still to come, by `driven`.

    k and q0 are given for each layer, or k once for all."""
    if not isinstance(cell, Layers):
        return [problem(generics, cell, x=x, k=k, steps=steps, h0=h0, q0=q0, **times)]
    cell = checked(cell, *generics)
    layers = cell.layers
    ks, blocks = _for_each("k", k, len(layers)), _for_each("q0", q0, len(layers))
    states = _initial_states(cell, h0)
    found: list[Problem] = []
    for number, layer in enumerate(layers):
        if number > 0:
            x, steps = np.zeros((*found[0].x.shape[:2], sizes(layer).inputs), x.dtype), None
        with of_layer(number, len(layers)):
            own = {"k": ks[number], "h0": states[number], "q0": blocks[number]}
            found.append(problem(generics, layer, x=x, steps=steps, **own, **times))
        x = found[0].x
    return found


def _for_each(name: str, value: Any, layers: int) -> list[Any]:
    """What each layer gets of a value that is given once for all of them, or for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * layers
    if len(value) != layers:
        raise LyapflowError(
            f"{name} must be given for each of the {layers} layers, got {len(value)} of them"
        )
    return list(value)


def number_wanted(cell: Any, k: Any) -> int:
    """How many exponents k of each layer are; None stands for all."""
    if k is None:
        return sizes(cell).state
    return sum(_for_each("k", k, len(each_layer(cell))))


def _initial_states(cell: Any, h0: Any) -> Sequence[Any]:
    """The initial states (n_state,) or (B, n_state) of all layers as those of each; None stays None."""
    layers = each_layer(cell)
    if h0 is None or len(layers) == 1:
        return [h0] * len(layers)
    shape = (sizes(cell).state,) if _checks.ndim(h0) == 1 else ("B", sizes(cell).state)
    return split_states(cell, _checks.data("h0", h0, shape, like=first_array(cell)))


def driven(given: list[Problem]) -> list[Problem]:
    """The same with the units of each layer as the input of the next, and intervals chosen, alike in all layers."""
    found: list[Problem] = []
    x = given[0].x
    for number, layer in enumerate(given):
        layer = layer._replace(x=x)
        with of_layer(number, len(given)):
            found.append(with_intervals(layer))
            if number + 1 < len(given):
                x = np.ascontiguousarray(states_of(layer)[:, :, : layer.size.units])
    shortest = min(layer.plan.t_ons for layer in found)
    return [of if of.plan.t_ons == shortest else of.with_interval(shortest) for of in found]
