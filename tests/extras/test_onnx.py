"""Recurrent nodes of ONNX models as cells, against ONNX's own evaluator."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lyapflow as lf

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def arrays_of(op, n, m, directions, rng, dtype):
    G = GATES[op]
    shapes = {"W": (G * n, m), "R": (G * n, n), "B": (2 * G * n,)}
    return {
        name: (rng.standard_normal((directions, *shape)) / 2).astype(dtype)
        for name, shape in shapes.items()
    }


def model_of(nodes, constants, m, dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("X", kind, ["T", "B", m])],
        [helper.make_tensor_value_info("Y", kind, ["T", "D", "B", "n"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def node_of(op, n, *, inputs=("X", "W", "R", "B"), name="rnn", out="Y", **attributes):
    return helper.make_node(op, list(inputs), [out], name=name, hidden_size=n, **attributes)


@settings(max_examples=40)
@given(
    st.sampled_from([("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**31),
)
def test_any_node_has_the_evaluators_states(kind, n, m, bias, both, dtype, seed):
    (op, options), rng = kind, np.random.default_rng(seed)
    constants = arrays_of(op, n, m, 1 + both, rng, dtype)
    if not bias:
        del constants["B"]
    if both:
        options = options | {"direction": "bidirectional"}
    model = model_of([node_of(op, n, inputs=("X", *constants), **options)], constants, m, dtype)
    x = rng.standard_normal((8, 2, m)).astype(dtype)
    for reverse in (False, True)[: 1 + both]:
        cell = lf.from_onnx(model, reverse=reverse)  # compares states step by step
        one = {name: array[int(reverse)][None] for name, array in constants.items()}
        alone = {key: value for key, value in options.items() if key != "direction"}
        single = model_of([node_of(op, n, inputs=("X", *one), **alone)], one, m, dtype)
        units = ReferenceEvaluator(single).run(None, {"X": x})[0][:, 0]
        limit = 1e-12 if dtype == np.float64 else 1e-4
        np.testing.assert_allclose(lf.trajectory(cell, x)[:, :, :n], units, rtol=0, atol=limit)


def test_relu_networks_cannot_be_compared_and_say_so():
    rng = np.random.default_rng(0)
    constants = arrays_of("RNN", 4, 2, 1, rng, np.float64)
    model = model_of([node_of("RNN", 4, activations=["Relu"])], constants, 2, np.float64)
    with pytest.warns(lf.LyapflowWarning, match="not compared"):
        cell = lf.from_onnx(model)
    assert isinstance(cell, lf.ElmanReluRNN)
    np.testing.assert_array_equal(cell.W, constants["R"][0])


def test_constants_are_folded_and_bodies_searched(tmp_path):
    rng = np.random.default_rng(0)
    constants = arrays_of("GRU", 3, 2, 1, rng, np.float64)
    wanted = lf.from_onnx(model_of([node_of("GRU", 3)], constants, 2, np.float64))
    halves = {"W1": constants["W"][:, :4], "W2": constants["W"][:, 4:]}
    rest = {"RT": constants["R"].transpose(0, 2, 1).copy(), "B": constants["B"]}
    body = helper.make_graph(
        [node_of("GRU", 3)], "body", [], [helper.make_empty_tensor_value_info("Y")]
    )
    folded = [
        helper.make_node("Concat", ["W1", "W2"], ["W0"], axis=1),
        helper.make_node("Identity", ["W0"], ["W"]),
        helper.make_node("Transpose", ["RT"], ["R"], perm=[0, 2, 1]),
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["Y"], then_branch=body, else_branch=body),
    ]
    model = model_of(folded, halves | rest, 2, np.float64)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(lf.LyapflowError, match=r"several .* 0: 'rnn' \(GRU\), 1: 'rnn' \(GRU\)"):
        lf.from_onnx(tmp_path / "model.onnx")
    for node in (0, 1):
        assert lf.digest(lf.from_onnx(tmp_path / "model.onnx", node)) == lf.digest(wanted)


@pytest.mark.parametrize(
    "op, attributes, words",
    [
        ("LSTM", {"clip": 3.0}, "clips what goes into its activations at 3"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "activation hardsigmoid"),
        ("GRU", {"activations": ["Sigmoid", "Relu"]}, "activation relu"),
        ("GRU", {"direction": "bidirectional"}, "has weights of 1 directions"),
    ],
)
def test_what_cannot_be_expressed_is_named(op, attributes, words):
    constants = arrays_of(op, 3, 2, 1, np.random.default_rng(0), np.float64)
    with pytest.raises(lf.LyapflowError, match=words):
        lf.from_onnx(model_of([node_of(op, 3, **attributes)], constants, 2, np.float64))


def test_bad_models(tmp_path):
    rng = np.random.default_rng(0)
    constants = arrays_of("LSTM", 3, 2, 1, rng, np.float64)
    peep = constants | {"P": np.zeros((1, 9))}
    inputs = ("X", "W", "R", "B", "", "", "", "P")
    cases = {
        "peepholes": model_of([node_of("LSTM", 3, inputs=inputs)], peep, 2, np.float64),
        "no constants: they depend on 'X'": model_of(
            [node_of("LSTM", 3, inputs=("X", "X", "R"))], constants, 2, np.float64
        ),
        "has no LSTM, GRU or RNN node": model_of(
            [helper.make_node("Identity", ["X"], ["Y"])], {}, 2, np.float64
        ),
        "must be finite, got nan": model_of(
            [node_of("LSTM", 3)], constants | {"W": np.full((1, 12, 2), np.nan)}, 2, np.float64
        ),
        "shapes of no LSTM": model_of(
            [node_of("LSTM", 3)], constants | {"W": np.zeros((1, 9, 2))}, 2, np.float64
        ),
        "shapes of no LSTM: W": model_of(
            [node_of("LSTM", 3)], constants | {"B": np.zeros((1, 5))}, 2, np.float64
        ),
        r"shapes of no LSTM: W \(1, 12, 2\)$": model_of(
            [node_of("LSTM", 3, inputs=("X", "W"))], constants, 2, np.float64
        ),
        "the weights 'folded' of rnn cannot be computed: ": model_of(
            [
                helper.make_node("Unheard", ["W"], ["folded"]),
                node_of("LSTM", 3, inputs=("X", "folded", "R")),
            ],
            constants,
            2,
            np.float64,
        ),
        "takes a path or an onnx.ModelProto": 3,
        "cannot read": tmp_path / "missing.onnx",
    }
    (tmp_path / "text.onnx").write_text("not a model")
    cases["as an ONNX model"] = tmp_path / "text.onnx"
    for words, model in cases.items():
        with pytest.raises(lf.LyapflowError, match=words) as caught:
            lf.from_onnx(model)
        assert "\n" not in str(caught.value)
    one = model_of([node_of("LSTM", 3)], constants, 2, np.float64)
    for node, words in (("other", "no single recurrent node named"), (1, "node must be")):
        with pytest.raises(lf.LyapflowError, match=words):
            lf.from_onnx(one, node)
    with pytest.raises(lf.LyapflowError, match="is forward"):
        lf.from_onnx(one, reverse=True)
