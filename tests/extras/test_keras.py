"""Keras's layers as cells, and back; its files, read without it."""

import io
import os
import zipfile

os.environ["KERAS_BACKEND"] = "torch"

import json

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lyapflow as lf
import lyapflow.keras
from lyapflow.interop.keras_files import layers_of_file

# but for TensorFlow's, Keras's backends round products of float64 to float32
LIMIT = 1e-5
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
L = keras.layers
KINDS = {
    "LSTM": lambda n, **kw: L.LSTM(n, **kw),
    "GRU": lambda n, **kw: L.GRU(n, **kw),
    "GRU, reset before": lambda n, **kw: L.GRU(n, reset_after=False, **kw),
    "SimpleRNN": lambda n, **kw: L.SimpleRNN(n, **kw),
    "SimpleRNN, relu": lambda n, **kw: L.SimpleRNN(n, activation="relu", **kw),
}


def built(make, n, m, rng, **kw):
    layer = make(n, **kw)
    layer.build((None, None, m))
    layer.set_weights([rng.standard_normal(w.shape) / 2 for w in layer.get_weights()])
    return layer


@settings(max_examples=40)
@given(
    st.sampled_from(list(KINDS)),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**31),
)
def test_any_layer_comes_in_and_goes_back(kind, n, m, use_bias, dtype, seed):
    rng = np.random.default_rng(seed)
    layer = built(KINDS[kind], n, m, rng, use_bias=use_bias, dtype=dtype, return_sequences=True)
    cell = lf.from_keras(layer)  # compares states step by step
    x = rng.standard_normal((2, 7, m)).astype(dtype)
    out = keras.ops.convert_to_numpy(layer(x))
    states = lf.trajectory(cell, x.transpose(1, 0, 2))[:, :, :n]
    np.testing.assert_allclose(states.transpose(1, 0, 2), out, rtol=0, atol=LIMIT)
    before = layer.get_weights()
    lf.to_keras(cell, layer)
    for one, other in zip(before, layer.get_weights()):
        np.testing.assert_array_equal(one, other)
    if use_bias:
        assert cell.b.dtype == dtype
        changed = cell._replace(b=cell.b + rng.standard_normal(cell.b.shape).astype(dtype))
        lf.to_keras(changed, layer)
        assert lf.digest(lf.from_keras(layer)) == lf.digest(changed)


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            L.LSTM(4, return_sequences=True, name="one"),
            L.Bidirectional(L.GRU(5, return_sequences=True, name="both")),
            keras.Sequential([L.GRU(4, reset_after=False, return_sequences=True, name="deep")]),
            L.SimpleRNN(3, activation="relu", name="plain"),
            L.Dense(1),
        ]
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_files_hold_what_the_model_holds(model, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    (model.save_weights if "weights" in suffix else model.save)(path)
    names = {layer.name: layer for layer in layers_of_file(path)}
    assert {name.partition("_1")[0] for name in names} >= {"one", "deep", "plain"}
    assert len(names) == 5
    for layer in (model.get_layer("one"), *model.layers[2].layers, model.get_layer("plain")):
        said = {"activation": "relu" if layer.name == "plain" else "tanh"}
        said |= {"recurrent_activation": "sigmoid"}
        cell = lf.from_keras(path, name=layer.name, **said if "weights" in suffix else {})
        assert lf.digest(cell) == lf.digest(lf.from_keras(layer)), layer.name
    if "weights" in suffix:
        with pytest.raises(lf.LyapflowError, match="do not say its activation"):
            lf.from_keras(path, name="one")


@pytest.mark.filterwarnings("ignore")
def test_names_that_several_layers_have_choose_none(tmp_path):
    parts = [
        keras.Sequential([keras.Input((None, 2)), L.LSTM(2, return_sequences=True, name="rnn")])
        for _ in range(2)
    ]
    model = keras.Sequential([keras.Input((None, 2)), *parts])
    model.save(tmp_path / "model.keras")
    with pytest.raises(lf.LyapflowError, match="several recurrent layers named 'rnn'"):
        lf.from_keras(model, name="rnn")
    for part, place in zip(parts, ("sequential", "sequential_1")):  # files have places, too
        found = lf.from_keras(tmp_path / "model.keras", name=f"{place}/layers/lstm")
        assert lf.digest(found) == lf.digest(lf.from_keras(part))
    shared = keras.Sequential([keras.Input((None, 2)), parts[0], parts[0]])
    assert lf.digest(lf.from_keras(shared)) == lf.digest(lf.from_keras(parts[0]))


def test_numbered_cells_of_older_files(tmp_path):
    settings_ = {"name": "rnn_1", "activation": "tanh", "recurrent_activation": "sigmoid"}
    config = {"class_name": "LSTM", "config": settings_}
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"layers": [config]})
        for name, shape in (("kernel", (2, 12)), ("recurrent_kernel", (3, 12)), ("bias", (12,))):
            file[f"model_weights/rnn_1/rnn_1/lstm_cell_1/{name}:0"] = np.ones(shape)
        for name in ("kernel", "recurrent_kernel"):  # those of a ConvLSTM
            file[f"model_weights/other/other/{name}:0"] = np.ones((2, 2, 12))
    assert isinstance(lf.from_keras(tmp_path / "model.h5", name="rnn_1"), lf.LSTM)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_cannot_be_written_back_is_refused_before(command, model, monkeypatch):
    keras.Sequential([keras.Input((None, 3)), L.SimpleRNN(4)]).save_weights("model.weights.h5")
    monkeypatch.setattr("lyapflow.cli.floss.flossed", lambda *_, **__: pytest.fail("it flossed"))
    args = ("--out", "out.h5", "--nonlinearity", "tanh", "--steps", "30")
    code, _, err = command("floss", "model.weights.h5", *args)
    assert code == 2
    assert "Keras cannot load model.weights.h5" in err
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore")
def test_files_without_names_say_where_layers_stand(tmp_path):
    """Keras 3.3 and older write no names; of two Bidirectional layers one was lost then."""
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            L.Bidirectional(L.GRU(5, return_sequences=True, reset_after=False)),
            L.Bidirectional(L.GRU(5, return_sequences=True)),
            L.SimpleRNN(3, return_sequences=True, name="simple_rnn_1"),
            L.SimpleRNN(3, activation="relu", return_sequences=True, name="simple_rnn"),
            keras.Sequential([L.LSTM(4)]),
        ]
    )
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config, weights = archive.read("config.json"), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        file.visititems(lambda _, group: group.attrs.pop("name", None) and None)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())
    first, second, one, other, deep = model.layers
    wanted = {
        "bidirectional/forward_layer": first.forward_layer,
        "bidirectional/backward_layer": first.backward_layer,
        "bidirectional_1/forward_layer": second.forward_layer,
        "bidirectional_1/backward_layer": second.backward_layer,
        "simple_rnn": one,
        "simple_rnn_1": other,
        "sequential/layers/lstm": deep.layers[0],
    }
    for name, layer in wanted.items():
        assert lf.digest(lf.from_keras(path, name=name)) == lf.digest(lf.from_keras(layer)), name
    with pytest.raises(lf.LyapflowError, match="several recurrent layers") as caught:
        lf.from_keras(path)
    assert all(repr(name) in str(caught.value) for name in wanted)


def test_both_directions(model):
    layer = model.layers[1]
    x = np.random.default_rng(0).standard_normal((1, 6, 4)).astype(np.float32)
    out = keras.ops.convert_to_numpy(layer(x))[0]
    forward = lf.trajectory(lf.from_keras(layer, name="forward_both"), x[0])
    backward = lf.trajectory(lf.from_keras(layer, name="backward_both"), x[0, ::-1])[::-1]
    np.testing.assert_allclose(np.hstack([forward, backward]), out, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cudnn_checkpoints_are_told_from_plain_ones(kind, tmp_path):
    rng = np.random.default_rng(0)
    layer = built(KINDS[kind], 4, 3, rng)
    kernel, recurrent, bias = layer.get_weights()
    gates = kernel.shape[1] // 4
    # the layout of CuDNNLSTM and CuDNNGRU: matrices of gates row by row, two biases, one after the other
    kernel = np.hstack([part.T.reshape(part.shape) for part in np.hsplit(kernel, gates)])
    recurrent = np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    both = bias.ravel() if kind == "GRU" else np.concatenate([bias, np.zeros_like(bias)])
    with h5py.File(tmp_path / "cudnn.hdf5", "w") as file:
        group = file.create_group("rnn_1/rnn_1")
        for name, array in (("kernel", kernel), ("recurrent_kernel", recurrent), ("bias", both)):
            group[f"{name}:0"] = array
    cell = lf.from_keras(tmp_path / "cudnn.hdf5")
    assert lf.digest(cell) == lf.digest(lf.from_keras(layer))


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: L.LSTM(3, recurrent_activation="hard_sigmoid"),
            "recurrent activation hard_sigmoid",
        ),
        (lambda: L.GRU(3, activation="relu"), "activation relu, which no cell"),
        (lambda: L.SimpleRNN(3, activation="linear"), "activation linear"),
        (lambda: L.LSTM(3, dtype="mixed_float16"), "computes in float16"),
        (lambda: L.LSTM(4), "has no weights yet"),
        (lambda: L.Dense(3), "has no SimpleRNN, LSTM or GRU"),
        (lambda: 3, "takes a layer or a model of Keras"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_layers(make, words):
    layer = make()
    if getattr(layer, "units", 4) == 3:
        layer.build((None, None, 2))
    with pytest.raises(lf.LyapflowError, match=words) as caught:
        lf.from_keras(layer)
    assert "\n" not in str(caught.value)


def test_a_layer_that_does_something_else_is_refused():
    class Cell(keras.layers.LSTMCell):
        def call(self, inputs, states, training=False):
            out, states = super().call(2.0 * inputs, states, training)
            return out, states

    layer = built(KINDS["LSTM"], 3, 2, np.random.default_rng(0))
    layer.cell.__class__ = Cell
    with pytest.raises(lf.LyapflowError, match="states are not those of the original"):
        lf.from_keras(layer)
    # with the usual activation in its settings and another one at work
    layer = built(KINDS["LSTM"], 3, 2, np.random.default_rng(0))
    layer.cell.recurrent_activation = keras.activations.hard_sigmoid
    layer.get_config = lambda: {"activation": "tanh", "recurrent_activation": "sigmoid"}
    with pytest.raises(lf.LyapflowError, match="hard_sigmoid"):
        lf.from_keras(layer)


def test_what_does_not_fit_is_not_written():
    rng = np.random.default_rng(0)
    layer = built(KINDS["GRU"], 5, 3, rng)
    for cell, words in (
        (lf.LSTM.random(5, 3, rng=rng), "holds a GRU"),
        (lf.GRUResetBefore.random(5, 3, rng=rng), "holds a GRU"),
        (lf.GRU.random(4, 3, rng=rng), "has 5 units and 3 inputs"),
    ):
        with pytest.raises(lf.LyapflowError, match=words):
            lf.to_keras(cell, layer)
    bare = built(KINDS["LSTM"], 4, 3, rng, use_bias=False)
    with pytest.raises(lf.LyapflowError, match="has no bias"):
        lf.to_keras(lf.LSTM.random(4, 3, rng=rng), bare)


@pytest.mark.filterwarnings("ignore")
def test_preflossing_when_training_begins():
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((None, 2)), L.GRU(8), L.Dense(1)])
    before = lf.from_keras(model)
    model.compile("sgd", "mse")
    flossing = lyapflow.keras.Preflossing(
        model,
        lambda epoch: np.random.default_rng(epoch).standard_normal((30, 2), np.float32),
        k=2,
        epochs=20,
        optimizer=lf.Adam(0.01),
    )
    x = rng.standard_normal((4, 6, 2))
    model.fit(x, rng.standard_normal((4, 1)), epochs=1, verbose=0, callbacks=[flossing])
    losses = flossing.log["loss"]
    assert len(losses) == 20
    assert losses[-1] < losses[0]
    assert lf.digest(lf.from_keras(model)) != lf.digest(before)
