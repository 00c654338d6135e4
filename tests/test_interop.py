"""Weights of other programs without those programs: gates in any order, state dicts, files, and known mistakes."""

import itertools

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import lyapflow as lf
from lyapflow.interop.files import input_of_file
from lyapflow.interop.gates import KINDS, split_bias
from lyapflow.interop.keras_names import cell_of, layer_of

N, M = 5, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, M))


def drawn(kind, dtype=float):
    gates = len(KINDS[kind].gates)
    shapes = ((gates * N, N), (gates * N, M), (gates * N,))
    return tuple(RNG.standard_normal(shape).astype(dtype) for shape in shapes)


def units(cell, x=X):
    return lf.trajectory(cell, x)[:, :N]


def hard_lstm(W, V, b, x):
    """An LSTM with Keras 2's hard_sigmoid."""
    h, c, found = np.zeros(N), np.zeros(N), []
    for step in x:
        i, f, g, o = np.split(W @ h + V @ step + b, 4)
        i, f, o = (np.clip(0.2 * a + 0.5, 0, 1) for a in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        found.append(h)
    return np.stack(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [False, True])
def test_every_order_and_axis(kind, columns):
    W, V, b = drawn(kind)
    wanted = lf.from_gates(kind, W, V, b)
    gates = KINDS[kind].gates
    for order in itertools.permutations(gates):
        places = [gates.index(letter) for letter in order]
        parts = [
            np.concatenate([np.split(array, len(gates))[p] for p in places]) for array in (W, V, b)
        ]
        turned = [part.T if columns else part for part in parts]
        cell = lf.from_gates(
            kind, *turned, order="".join(order), columns=columns, check=(X, units(wanted))
        )
        assert lf.digest(cell) == lf.digest(wanted)


def test_names_of_gates_elsewhere():
    for kind, one, other in (
        ("lstm", "iofg", "iofc"),
        ("lstm", "ifgo", "ifjo"),
        ("gru", "zrn", "urh"),
    ):
        arrays = drawn(kind)
        same = [lf.digest(lf.from_gates(kind, *arrays, order=order)) for order in (one, other)]
        assert same[0] == same[1]


def test_biases():
    W, V, b = drawn("gru")
    other = RNG.standard_normal(3 * N)
    both = lf.from_gates("gru", W, V, (b, other))
    np.testing.assert_array_equal(both.b_n, other[2 * N :])
    np.testing.assert_array_equal(both.b, [*(b + other).reshape(3, N)[:2], b[2 * N :]])
    assert lf.digest(lf.from_gates("gru", W, V, np.stack([b, other]))) == lf.digest(both)
    assert not lf.from_gates("gru", W, V, b).b_n.any()
    assert not lf.from_gates("gru", W, V).b.any()
    W, V, b = drawn("lstm")
    raised = lf.from_gates("lstm", W, V, b, forget_bias=1.0)
    np.testing.assert_array_equal(raised.b[1], b[N : 2 * N] + 1)
    np.testing.assert_array_equal(raised.b[2], b[2 * N : 3 * N])


def mistaken(kind, taken, original):
    """The error of a cell that was taken over wrongly."""
    arrays = drawn(kind)
    with pytest.raises(lf.LyapflowError) as caught:
        lf.from_gates(kind, *arrays, **taken, check=(X, original(*arrays)))
    assert "at step " in str(caught.value)
    assert " unit " in str(caught.value)
    return str(caught.value)


MISTAKES = {
    "order of ONNX": (
        ("lstm", {}, lambda W, V, b: units(lf.from_gates("lstm", W, V, b, order="iofc"))),
        'in the order "iofg" ("iofc" in ONNX)',
    ),
    "forget bias of TensorFlow 1": (
        (
            "lstm",
            {"order": "icfo"},
            lambda *a: units(lf.from_gates("lstm", *a, order="icfo", forget_bias=1.0)),
        ),
        "adds 1 to the bias of the forget gate",
    ),
    "order and forget bias of DyNet": (
        ("lstm", {}, lambda *a: units(lf.from_gates("lstm", *a, order="ifog", forget_bias=1.0))),
        '"ifog" (DyNet) and the program adds 1',
    ),
    "reset gate before the product": (
        ("gru", {}, lambda *a: units(lf.from_gates("gru-reset-before", *a))),
        "its reset gate acts before the product",
    ),
    "reset gate after the product": (
        ("gru-reset-before", {}, lambda *a: units(lf.from_gates("gru", *a))),
        "its reset gate acts after the product",
    ),
    "order of Keras's GRU": (
        ("gru", {}, lambda *a: units(lf.from_gates("gru", *a, order="zrh"))),
        'in the order "zrn" ("zrh" in Keras and ONNX)',
    ),
    "hard_sigmoid": (("lstm", {}, lambda *a: hard_lstm(*a, X)), "hard_sigmoid(a) = clip(0.2 a"),
    "relu": (
        ("tanh", {}, lambda *a: units(lf.from_gates("relu", *a))),
        "activation is relu, not tanh",
    ),
    "transposed": (
        ("tanh", {}, lambda W, V, b: units(lf.from_gates("tanh", W.T, V, b))),
        "recurrent weights are transposed",
    ),
    "reversed": (
        ("gru", {}, lambda *a: units(lf.from_gates("gru", *a), X[::-1])),
        "reads its input from the end",
    ),
    "both reversed": (
        ("gru", {}, lambda *a: units(lf.from_gates("gru", *a), X[::-1])[::-1]),
        "in the reverse of time",
    ),
    "late": (
        ("gru", {}, lambda *a: np.vstack([np.zeros(N), units(lf.from_gates("gru", *a))[:-1]])),
        "come a step later",
    ),
    "other weights": (
        ("gru", {}, lambda *a: units(lf.GRU.random(N, M, rng=np.random.default_rng(9)))),
        "no mistake that is known here explains it",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    case, words = MISTAKES[name]
    assert words in mistaken(*case)


@pytest.mark.parametrize("n", [16, 128])
def test_recurrent_weights_are_compared_in_float32_too(n):
    rng = np.random.default_rng(0)
    W = np.concatenate([np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in "ifgo"])
    arrays = [W, rng.standard_normal((4 * n, M)) / 2, np.zeros(4 * n)]
    W, V, b = (array.astype(np.float32) for array in arrays)
    seen = lf.trajectory(lf.from_gates("lstm", W, V, b), X.astype(np.float32))[:, :n]
    turned = W.reshape(4, n, n).transpose(0, 2, 1).reshape(4 * n, n)
    with pytest.raises(lf.LyapflowError, match=r"at step 1 .* recurrent weights are transposed"):
        lf.from_gates("lstm", turned, V, b, check=(X.astype(np.float32), seen))


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_is_no_mistake(kind):
    for gain in (0.1, 1.0, 5.0):
        W, V, b = (gain * array for array in drawn(kind))
        x = X if kind != "relu" else 0.1 * X
        wide = lf.from_gates(kind, W, V, b)
        narrow = tuple(array.astype(np.float32) for array in (W, V, b))
        fine = units(lf.from_gates(kind, *(a.astype(float) for a in narrow)), x)
        lf.from_gates(kind, *narrow, check=(x.astype(np.float32), fine))
        lf.from_gates(kind, W, V, b, check=(x, units(wide, x)))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "rnn"}, "kind must be one of"),
        ({"order": "ifg"}, "letters i, f, g, o of a lstm once each, got 'ifg'"),
        ({"order": 3}, "letters i, f, g, o"),
        (
            {"recurrent": np.zeros((5, 20))},
            r"shape \(4n, n\) for lstm, got \(5, 20\); give columns=True",
        ),
        ({"recurrent": np.zeros((7, 5))}, r"shape \(4n, n\)"),
        ({"columns": True}, r"shape \(n, 4n\) .* give columns=False"),
        ({"inputs": np.zeros((5, 3))}, "inputs must have 20 rows"),
        ({"bias": np.zeros(5)}, r"bias must have shape \(20,\)"),
        ({"bias": (np.zeros(20), np.zeros(5))}, r"bias\[1\] must have shape"),
        ({"recurrent": np.full((20, 5), np.nan)}, "recurrent must be finite"),
        ({"recurrent": np.zeros((20, 5), np.float16)}, "float64 or float32, got float16"),
        ({"kind": "gru", "forget_bias": 1.0}, "recurrent must have shape"),
        ({"forget_bias": np.inf}, "forget_bias must be"),
        ({"check": 3}, "check must be a pair of arrays"),
        ({"check": (X, np.zeros((4, 5)))}, "the units of check must have shape"),
        ({"check": (np.zeros((20, 4)), np.zeros((20, 5)))}, "the input of check must have shape"),
    ],
)
def test_bad_gates(change, words):
    W, V, b = drawn("lstm")
    settings = {"kind": "lstm", "recurrent": W, "inputs": V, "bias": b} | change
    with pytest.raises(lf.LyapflowError, match=words) as caught:
        lf.from_gates(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", [None, "IOFC"])
def test_long_inputs_and_capitals_are_compared_as_well(order):
    W, V, _ = drawn("lstm")
    x = RNG.standard_normal((2000, M))
    said = units(lf.from_gates("lstm", W, V), x)
    if order is None:
        lf.from_gates("lstm", W, V, check=(x, said))  # warnings of overflow are errors here
    else:
        with pytest.raises(lf.LyapflowError, match='in the order "ifgo"'):
            lf.from_gates("lstm", W, V, order=order, check=(x, said))


def test_a_forget_bias_is_an_lstms():
    with pytest.raises(lf.LyapflowError, match="forget_bias is a setting of an LSTM"):
        lf.from_gates("gru", *drawn("gru"), forget_bias=1.0)


def state_dict(kind, layers=1, prefix="", dtype=np.float32):
    found = {}
    for layer in range(layers):
        W, V, b = drawn(kind, dtype)
        V = V if layer == 0 else drawn(kind, dtype)[0]
        parts = {"weight_ih": V, "weight_hh": W, "bias_ih": b, "bias_hh": drawn(kind, dtype)[2]}
        found |= {f"{prefix}{name}_l{layer}": array for name, array in parts.items()}
    return found


def test_state_dicts_and_files_need_no_torch(tmp_path):
    weights = state_dict("lstm", 2, "encoder.rnn.") | {"out.weight": np.zeros((2, 5), np.float32)}
    save_file(weights, tmp_path / "model.safetensors")
    for source in (weights, tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        network = lf.from_torch(source)
        assert len(network.layers) == 2
    one = lf.from_torch(weights, layer=1, dtype=np.float64)
    assert one.W.dtype == np.float64
    summed = weights["encoder.rnn.bias_ih_l1"].astype(float) + weights["encoder.rnn.bias_hh_l1"]
    np.testing.assert_array_equal(one.b.ravel(), summed)
    changed = network.layers[1]._replace(W=2 * network.layers[1].W)
    lf.to_torch(changed, tmp_path / "model.safetensors", layer=1)
    read = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        read["encoder.rnn.weight_hh_l1"], 2 * weights["encoder.rnn.weight_hh_l1"]
    )
    for name in ("encoder.rnn.bias_hh_l1", "encoder.rnn.weight_hh_l0", "out.weight"):
        np.testing.assert_array_equal(read[name], weights[name])


@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
def test_new_files_have_torchs_names(kind, tmp_path):
    network = lf.layers(
        lf.from_gates(kind, *drawn(kind)), lf.from_gates(kind, *drawn(kind)[:1] * 2)
    )
    lf.to_torch(network, tmp_path / "new.safetensors", name="rnn")
    assert "rnn.bias_hh_l1" in load_file(tmp_path / "new.safetensors")
    again = lf.from_torch(
        tmp_path / "new.safetensors", nonlinearity=kind if kind in ("tanh", "relu") else None
    )
    assert lf.digest(again) == lf.digest(network)


def test_a_projection_is_multiplied_out():
    weights = state_dict("lstm", dtype=float)
    W, P = RNG.standard_normal((20, 2)), RNG.standard_normal((2, 5))
    weights |= {"weight_hh_l0": W, "weight_hr_l0": P}
    cell = lf.from_torch(weights)
    np.testing.assert_allclose(cell.W.reshape(20, 5), W @ P, rtol=1e-15)
    with pytest.raises(lf.LyapflowError, match="projection"):
        lf.to_torch(cell, weights)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda w: w.pop("weight_hh_l0"), "weight_hh_l0 is missing"),
        (lambda w: w.pop("bias_hh_l0"), "one of bias_ih and bias_hh is missing"),
        (lambda w: w.update(weight_ih_l2=w["weight_ih_l0"]), "weights of layer 1"),
        (
            lambda w: w.update(weight_hh_l0=np.zeros((20, 4))),
            "1, 3 or 4 times as many rows as units",
        ),
        (lambda w: w.update(bias_ih_l0=np.zeros(3)), "biases of"),
        (lambda w: w.update(weight_ih_l0=np.zeros((2, 2, 2))), "no recurrent layer's"),
        (lambda w: w.clear(), "has no weights of a recurrent layer with PyTorch's names"),
        (lambda w: w.update(**{"b." + k: v for k, v in w.items()}), "several recurrent modules"),
        (lambda w: w.update(weight_hh_l0=np.full((20, 5), np.nan)), "must be finite, got nan"),
        (lambda w: w.update(weight_hh_l0=w["weight_hh_l0"].astype(np.float16)), "got float16"),
    ],
)
def test_bad_state_dicts(change, words):
    weights = state_dict("lstm")
    change(weights)
    with pytest.raises(lf.LyapflowError, match=words) as caught:
        lf.from_torch(weights)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_torchs_are_no_weights():
    weights = {f"encoder_{name}": array for name, array in state_dict("lstm").items()}
    with pytest.raises(lf.LyapflowError, match="no weights of a recurrent layer"):
        lf.from_torch(weights)


def test_numbers_that_numpy_does_not_have(tmp_path):
    head = b'{"weight_hh_l0":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path = tmp_path / "half.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))
    with pytest.raises(lf.LyapflowError, match="no numbers of type 'BF16'; write them as float32"):
        lf.from_torch(path)


def test_weights_do_not_say_the_nonlinearity_of_an_rnn():
    weights = state_dict("tanh")
    with pytest.raises(lf.LyapflowError, match="do not say whether it is tanh or relu"):
        lf.from_torch(weights)
    assert isinstance(lf.from_torch(weights, nonlinearity="relu"), lf.ElmanReluRNN)
    with pytest.raises(lf.LyapflowError, match="nonlinearity must be one of"):
        lf.from_torch(weights, nonlinearity="sigmoid")


def test_bad_files(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    for path, words in (
        (tmp_path / "missing.safetensors", "cannot read"),
        (tmp_path, "cannot read"),
        (tmp_path / "other.safetensors", "no weights of a recurrent layer"),
    ):
        with pytest.raises(lf.LyapflowError, match=words):
            lf.from_torch(path)
    with pytest.raises(lf.LyapflowError, match="cannot write"):
        lf.to_torch(lf.from_gates("lstm", *drawn("lstm")), tmp_path / "no" / "where.safetensors")
    with pytest.raises(lf.LyapflowError, match=r"writes .safetensors files, got .*new.pt"):
        lf.to_torch(lf.from_gates("lstm", *drawn("lstm")), tmp_path / "new.pt")
    with pytest.raises(lf.LyapflowError, match="PyTorch has no GRU whose reset gate"):
        cell = lf.from_gates("gru-reset-before", *drawn("gru"))
        lf.to_torch(cell, tmp_path / "new.safetensors")


def test_split_biases():
    total, inputs, state = RNG.standard_normal((3, 10_000))
    one, other = split_bias(total, inputs, state)
    np.testing.assert_array_equal(one + other, total)
    assert (np.abs(other - state) < 1e-15).mean() > 0.7
    same = split_bias(inputs + state, inputs, state)
    np.testing.assert_array_equal(same, [inputs, state])


def test_shapes_that_are_no_layer_of_keras():
    good = [np.zeros((3, 20)), np.zeros((5, 20)), np.zeros(20)]
    for arrays, words in (
        (good[:1], "must have a kernel"),
        ([good[0], np.zeros((5, 10)), good[2]], "weights of no SimpleRNN, LSTM or GRU"),
        ([*good[:2], np.zeros(7)], "the bias of rnn must have shape"),
    ):
        with pytest.raises(lf.LyapflowError, match=words):
            cell_of(layer_of("rnn", None, {}, arrays), "tanh", "sigmoid", None)
    with pytest.raises(lf.LyapflowError, match="would not have 4 gates"):
        layer_of("rnn", "GRU", {}, good)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = {name: array / 2 for name, array in state_dict("gru", prefix="rnn.").items()}
    save_file(weights, "model.safetensors")
    np.save("x.npy", RNG.standard_normal((300, M)))
    np.savez("two.npz", a=RNG.standard_normal((200, 2, M)), b=np.zeros(3))
    np.savetxt("x.csv", RNG.standard_normal((200, M)), delimiter=",", header="a,b,c", comments="")
    return tmp_path


@pytest.mark.parametrize("source", ["x.npy", "two.npz:a", "x.csv", "gaussian"])
def test_the_command_line_reads_files(command, files, source):
    args = ("--k", "2", "--transient", "5", "--q-transient", "5")
    code, out, err = command("spectrum", "model.safetensors", "--input", source, *args)
    assert (code, err) == (0, "")
    assert f"network of model.safetensors, input {source}" in out
    assert (files / "lyapflow-spectrum.png").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("1,2\n1,2,3\n4,5,6\n", "columns changed from 2 to 3"),  # a line cut short, no header
        ("1,2x,3\n4,5,6\n", "could not convert string '2x'"),
        ("", "holds no numbers"),
        ("a,b,c\n", "holds no numbers"),
    ],
)
def test_no_line_of_numbers_is_left_out(text, message, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(lf.LyapflowError, match=message):
        input_of_file(str(tmp_path / "x.csv"))


def test_a_byte_order_mark_is_no_header(tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n3,4\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(input_of_file(str(tmp_path / "x.csv")), [[1, 2], [3, 4]])


def test_a_file_comes_back_flossed(command, files):
    args = ("--input", "x.npy", "--k", "2", "--epochs", "60", "--lr", "0.02", "--steps", "40")
    code, out, err = command("floss", "model.safetensors", "--out", "flossed.safetensors", *args)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith(("1 ", "2 "))]
    assert len(rows) == 2
    before, after = (sum(float(row[column]) ** 2 for row in rows) for column in (1, 3))
    assert after < 0.5 * before
    assert set(load_file("flossed.safetensors")) == set(load_file("model.safetensors"))
    cell = lf.from_torch("flossed.safetensors")
    found = lf.lyapunov_spectrum(cell, np.load("x.npy").astype(np.float32), 2, q_transient=16)
    assert f"{found.exponents[0]:.5f}" in out
    code, out, err = command("condition", "flossed.safetensors", "--steps", "1,3", "--bits", "128")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "spectrum model.safetensors --input two.npz",
            "has several arrays; give one, two.npz:KEY: a, b",
        ),
        ("spectrum model.safetensors --input two.npz:c", "has no array 'c'"),
        (
            "spectrum model.safetensors --input two.npz:b",
            "the network takes 3 inputs, two.npz:b has 1",
        ),
        ("spectrum model.safetensors --input none.npy", "cannot read none.npy"),
        ("spectrum model.safetensors --input x.txt", "--input must be one of"),
        (
            "spectrum model.safetensors --input x.npy --steps 400",
            "x.npy has 300 steps, 400 are asked for",
        ),
        ("spectrum model.safetensors --name other", "no recurrent module named 'other'"),
        ("spectrum missing.pt", "there is no run folder and no file missing.pt"),
        ("floss model.safetensors --out out.pt", "--out must end in .safetensors"),
        ("floss no.pt --out out.pt", "MODEL must be the file of a network"),
        ("floss model.safetensors --out no/out.safetensors", "the network's folder must exist"),
        (f"condition {300 * 'x'}", "there is no run folder and no file"),
        ("floss model.safetensors --out out.safetensors --steps 9", "--steps must be more than"),
        ("condition model.safetensors --input x.csv --steps 500", "at least 600 steps"),
    ],
)
def test_bad_files_on_the_command_line(command, files, words, message):
    code, _, err = command(*words.split())
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_model_comes_back_flossed_as_a_model(command, files):
    model = lf.Model.random(
        lf.GRU.random(4, M, rng=np.random.default_rng(0)), 2, rng=np.random.default_rng(0)
    )
    lf.save("own.safetensors", model)
    args = ("--input", "x.npy", "--k", "1", "--epochs", "1", "--steps", "30")
    code, _, err = command("floss", "own.safetensors", "--out", "own.safetensors", *args)
    assert (code, err) == (0, "")
    flossed = lf.load("own.safetensors")
    np.testing.assert_array_equal(flossed.W_out, model.W_out)
    assert (flossed.cell.W != model.cell.W).any()
