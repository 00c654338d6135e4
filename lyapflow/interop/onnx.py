"""Recurrent nodes of ONNX models as cells."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import Cell, sizes
from lyapflow.errors import LyapflowError, warn
from lyapflow.interop.check import check_states, trial
from lyapflow.interop.extras import imported
from lyapflow.interop.gates import from_gates
from lyapflow.runs import files

GATES = {"RNN": "h", "LSTM": "iofc", "GRU": "zrh"}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
# what an activation must be, by the name of its attribute's entry; an RNN may have ReLU as well
USUAL = {"RNN": ["tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}


class Scope(NamedTuple):
    """A graph, and those that it stands in: where a name is looked for.

    Attributes
    ----------
    constants : mapping
        Initialisers by name.
    makers : mapping
        The node that computes a name.
    outer : Scope or None
    """

    constants: Mapping[str, Any]
    makers: Mapping[str, Any]
    outer: "Scope | None"


class Found(NamedTuple):
    """A recurrent node and where it stands."""

    node: Any
    name: str
    scope: Scope


def from_onnx(
    path: Any,
    node: str | int | None = None,
    *,
    reverse: bool = False,
    dtype: Any = None,
    check: bool = True,
) -> Cell:
    """A cell with the weights of a recurrent node of an ONNX model.

    Parameters
    ----------
    path : path, or onnx.ModelProto
        Its weights may be computed from constants; bodies of loops and branches are searched, too.
    node : str or int, optional
        Name or number of the LSTM, GRU or RNN node, where there are several.
    reverse : bool
        The backward direction of a bidirectional node, which reads its input from the end: pass
        ``x[::-1]``. A node of direction "reverse" has only this one.
    dtype : float64 or float32, optional
        That of the weights by default.
    check : bool
        Whether to compare the states with those of ONNX's reference evaluator.

    Returns
    -------
    LSTM, GRU, GRUResetBefore, ElmanRNN or ElmanReluRNN

    Raises
    ------
    LyapflowError
        If there is no such node, weights are not constant, or it has what no cell has: peepholes,
        clipping, coupled gates, other activations.

    Examples
    --------
    >>> import lyapflow as lf
    >>> cell = lf.from_onnx("model.onnx")  # doctest: +SKIP
    """
    _checks.flag("check", check)
    onnx = imported("onnx")
    if isinstance(path, (str, os.PathLike)):
        try:
            model, what = onnx.load(path), str(path)
        except Exception as error:  # whatever parsers make of a file that somebody else wrote
            raise LyapflowError(
                f"cannot read {path} as an ONNX model: {files.in_a_line(error)}"
            ) from None
    elif isinstance(path, onnx.ModelProto):
        model, what = path, "the model"
    else:
        raise LyapflowError(
            f"from_onnx takes a path or an onnx.ModelProto, got {type(path).__name__}"
        )
    found = _chosen(list(_recurrent(model.graph, None)), node, what)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in found.node.attribute}
    _refuse(found, attributes)
    weights = _weights(onnx, model, found)
    direction = _direction(found, attributes, reverse, len(weights["W"]))
    of = {name: array[direction] for name, array in weights.items()}
    cell = _cell(found, attributes, of, dtype)
    if check:
        _compare(onnx, model, found.node.op_type, attributes, of, cell)
    return cell


def _recurrent(graph: Any, outer: Scope | None) -> Iterator[Found]:
    """The recurrent nodes of a graph and of the bodies within it."""
    constants = {array.name: array for array in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output if name}
    scope = Scope(constants, makers, outer)
    for node in graph.node:
        if node.op_type in GATES and node.domain in ("", "ai.onnx"):
            yield Found(node, node.name or next(filter(None, node.output), node.op_type), scope)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from _recurrent(body, scope)


def _chosen(found: list[Found], node: str | int | None, what: str) -> Found:
    if not found:
        raise LyapflowError(f"{what} has no LSTM, GRU or RNN node")
    names = ", ".join(f"{i}: {of.name!r} ({of.node.op_type})" for i, of in enumerate(found))
    if node is None:
        if len(found) > 1:
            raise LyapflowError(f"{what} has several recurrent nodes; give one, node=: {names}")
        return found[0]
    if isinstance(node, str):
        named = [of for of in found if of.name == node]
        if len(named) != 1:
            raise LyapflowError(
                f"{what} has no single recurrent node named {node!r}; it has {names}"
            )
        return named[0]
    return found[_checks.integer("node", node, 0, len(found) - 1)]


def _refuse(found: Found, attributes: Mapping[str, Any]) -> None:
    """Refuse what no cell has."""
    kind, given = found.node.op_type, dict(zip(INPUTS, found.node.input))
    if given.get("P"):
        raise LyapflowError(f"{found.name} has peepholes, which no cell of lyapflow's has")
    if attributes.get("clip"):
        raise LyapflowError(
            f"{found.name} clips what goes into its activations at {attributes['clip']:g}, "
            f"which no cell of lyapflow's does"
        )
    if attributes.get("input_forget"):
        raise LyapflowError(
            f"{found.name} couples its input and forget gates (input_forget); uncouple them"
        )
    usual = USUAL[kind]
    names = [text.decode().lower() for text in attributes.get("activations", ())] or usual
    for i, name in enumerate(names):
        wanted = [usual[i % len(usual)], *["relu"] * (kind == "RNN")]
        if name not in wanted or names[i % len(usual)] != name:
            raise LyapflowError(
                f"{found.name} has the activation {name}, which no cell of lyapflow's has"
            )


def _weights(onnx: Any, model: Any, found: Found) -> dict[str, np.ndarray]:
    """W, R and B of all directions."""
    given = dict(zip(INPUTS, found.node.input))
    weights = {
        name: _checks.array(f"{name} of {found.name}", _constant(onnx, model, found, given[name]))
        for name in ("W", "R", "B")
        if given.get(name)
    }
    gates = len(GATES[found.node.op_type])
    shapes = {name: array.shape for name, array in weights.items()}
    directions, _, n = shapes["R"] if len(shapes.get("R", ())) == 3 else (0, 0, 0)
    wanted = {
        "W": (directions, gates * n, *shapes.get("W", ())[2:]),
        "R": (directions, gates * n, n),
        "B": (directions, 2 * gates * n),
    }
    if shapes != {name: wanted[name] for name in ("W", "R", *(["B"] * ("B" in shapes)))}:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise LyapflowError(
            f"the weights of {found.name} have shapes of no {found.node.op_type}: {got}"
        )
    return weights


def _constant(onnx: Any, model: Any, found: Found, name: str) -> np.ndarray:
    """The array of that name, computed from constants where it is not one."""
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    try:
        _collect(found, found.scope, name, nodes, constants)
        if name in constants:
            return onnx.numpy_helper.to_array(constants[name])
        output = onnx.helper.make_empty_tensor_value_info(name)
        graph = onnx.helper.make_graph(nodes, "constants", [], [output], list(constants.values()))
        small = onnx.helper.make_model(graph, opset_imports=model.opset_import)
        return imported("onnx.reference").ReferenceEvaluator(small).run(None, {})[0]
    except LyapflowError:
        raise
    except Exception as error:  # whatever ONNX's evaluator makes of what somebody else wrote
        raise LyapflowError(
            f"the weights {name!r} of {found.name} cannot be computed: {files.in_a_line(error)}"
        ) from None


def _collect(
    found: Found, scope: Scope | None, name: str, nodes: list[Any], constants: dict[str, Any]
) -> None:
    """Put what a name is computed from into the lists, in the order of computation."""
    while scope is not None and name not in scope.constants and name not in scope.makers:
        scope = scope.outer
    if scope is None:
        raise LyapflowError(
            f"the weights of {found.name} are no constants: they depend on {name!r}, an input of the model"
        )
    if name in scope.constants:
        constants[name] = scope.constants[name]
        return
    node = scope.makers[name]
    if any(node is of for of in nodes):
        return
    for part in filter(None, node.input):
        _collect(found, scope, part, nodes, constants)
    nodes.append(node)


def _direction(found: Found, attributes: Mapping[str, Any], reverse: bool, number: int) -> int:
    """Which row of the weights is meant."""
    direction = attributes.get("direction", b"forward").decode()
    if number != 1 + (direction == "bidirectional"):
        raise LyapflowError(f"{found.name} is {direction} and has weights of {number} directions")
    if _checks.flag("reverse", reverse) and direction == "forward":
        raise LyapflowError(
            f"reverse=True takes the other direction of a node, {found.name} is forward"
        )
    return int(reverse) if direction == "bidirectional" else 0


def _cell(
    found: Found, attributes: Mapping[str, Any], of: Mapping[str, np.ndarray], dtype: Any
) -> Cell:
    kind = found.node.op_type.lower()
    if kind == "rnn":
        kind = attributes.get("activations", [b"Tanh"])[0].decode().lower()
    elif kind == "gru" and not attributes.get("linear_before_reset", 0):
        kind = "gru-reset-before"
    wanted = of["R"].dtype if dtype is None else _checks.dtype(dtype)
    arrays = {name: array.astype(wanted) for name, array in of.items()}
    bias = arrays["B"].reshape(2, -1) if "B" in arrays else None
    return from_gates(kind, arrays["R"], arrays["W"], bias, order=GATES[found.node.op_type])


def _compare(
    onnx: Any,
    model: Any,
    op: str,
    attributes: Mapping[str, Any],
    of: Mapping[str, np.ndarray],
    cell: Any,
) -> None:
    """Run the node by itself, one direction of it, in ONNX's reference evaluator."""
    size, (x, start) = sizes(cell), trial(cell)
    given = {"X": x, "W": of["W"][None], "R": of["R"][None]}
    if "B" in of:
        given["B"] = of["B"][None]
    parts = np.split(start, size.state // size.units, axis=1)
    given |= {name: part[None] for name, part in zip(("initial_h", "initial_c"), parts)}
    names = [name if name in given else "" for name in INPUTS[: 6 + (op == "LSTM")]]
    kept = {
        key: value
        for key, value in attributes.items()
        if key in ("hidden_size", "linear_before_reset")
    }
    if "activations" in attributes:
        kept["activations"] = attributes["activations"][: len(USUAL[op])]
    helper = onnx.helper
    number = helper.np_dtype_to_tensor_dtype(of["R"].dtype)
    graph = helper.make_graph(
        [helper.make_node(op, names, ["Y"], **kept)],
        "one",
        [helper.make_tensor_value_info(name, number, value.shape) for name, value in given.items()],
        [helper.make_empty_tensor_value_info("Y")],
    )
    small = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        evaluator = imported("onnx.reference").ReferenceEvaluator(small)
    except RuntimeError as error:  # it has no ReLU in an RNN
        warn(f"states were not compared, for ONNX's reference evaluator cannot run it: {error}")
        return
    inputs = {name: value.astype(of["R"].dtype) for name, value in given.items()}
    units = evaluator.run(None, inputs)[0][:, 0]
    check_states([cell], x, start, [units], order=GATES[op])
