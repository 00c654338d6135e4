"""Bad input: one clear error, before any work, at every public function."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lyapflow as lf

RNG = np.random.default_rng(0)
CELL = lf.TanhRNN.random(6, 2, rng=RNG)
X = RNG.standard_normal((20, 2))
MODEL = lf.Model.random(CELL, 1, rng=RNG)
XB, YB = RNG.standard_normal((20, 3, 2)), RNG.random((20, 3, 1))
TASK = lf.tasks.SpatialXOR(4)
TASK_MODEL = lf.Model.random(lf.TanhRNN.random(6, 3, rng=RNG), 1, rng=RNG)


def bad(array, value):
    array = array.copy()
    array.flat[1] = value
    return array


def spectrum(**changes):
    arguments = {"cell": CELL, "x": X} | changes
    return lf.lyapunov_spectrum(arguments.pop("cell"), arguments.pop("x"), **arguments)


SPECTRUM_ERRORS = [
    ({"cell": CELL._replace(W=np.ones((6, 5)))}, r"W must have shape \(6, 6\), got \(6, 5\)"),
    ({"cell": CELL._replace(V=np.ones((5, 2)))}, r"V must have shape \(6, 2\), got \(5, 2\)"),
    ({"cell": CELL._replace(b=np.ones(5))}, r"b must have shape \(6,\), got \(5,\)"),
    ({"cell": CELL._replace(b=np.ones((6, 1)))}, r"b must have shape \(6,\)"),
    ({"cell": CELL._replace(V=np.ones(6))}, r"the shapes of TanhRNN do not make a cell .*V \(6,\)"),
    (
        {"cell": CELL._replace(W=bad(CELL.W, np.nan))},
        r"W of TanhRNN must be finite, got nan at index \(0, 1\)",
    ),
    (
        {"cell": CELL._replace(b=bad(CELL.b, np.inf))},
        r"b of TanhRNN must be finite, got inf at index \(1,\)",
    ),
    ({"cell": CELL._replace(W=CELL.W.astype(np.float32))}, "one dtype"),
    (
        {"cell": CELL._replace(W=np.ones((6, 6), int))},
        "W of TanhRNN must be of dtype float64 or float32, got int64",
    ),
    ({"cell": CELL._replace(W=CELL.W + 0j)}, "got complex128"),
    ({"cell": CELL._replace(W=CELL.W.astype(np.float16))}, "got float16"),
    ({"cell": CELL._replace(W=None)}, "W of TanhRNN must be an array of numbers, got NoneType"),
    ({"cell": CELL._replace(W=[[1.0], [1.0, 2.0]])}, "W of TanhRNN must be an array, got list"),
    (
        {"cell": lf.TanhRNN(np.empty((0, 0)), np.empty((0, 2)), np.empty(0))},
        r"TanhRNN must have at least one unit, got none \(W has shape \(0, 0\)\)",
    ),
    ({"cell": CELL.W}, "a cell must be one of lyapflow's.*got ndarray"),
    ({"cell": None}, "a cell must be one of lyapflow's.*got NoneType"),
    ({"cell": MODEL}, "this takes a cell, got a Model; pass its .cell"),
    ({"x": X[:, :1]}, r"x must have shape \(T, 2\), got \(20, 1\)"),
    ({"x": X[0]}, r"x must have shape \(T, 2\), got \(2,\)"),
    ({"x": XB[None]}, r"x must have shape \(T, 2\), got \(1, 20, 3, 2\)"),
    ({"x": bad(X, np.nan)}, "x must be finite"),
    ({"x": X.astype(np.float32)}, "one dtype, got x in float32 beside float64"),
    ({"x": X.astype(np.float16)}, "x must be of dtype float64 or float32, got float16"),
    (
        {"x": np.full((20, 2), 2**53 + 1)},
        "x has integers that float64 cannot represent, such as 9007199254740993",
    ),
    ({"x": X[:0]}, "x must have at least one step"),
    ({"x": XB[:, :0]}, "at least one step and one trajectory"),
    ({"x": XB, "h0": np.zeros((2, 6))}, r"h0 must have shape \(3, 6\), got \(2, 6\)"),
    ({"x": [[0.0, 1.0], [2.0]]}, "x must be an array, got list"),
    ({"h0": [[0.0], [1.0, 2.0]]}, "h0 must be an array, got list"),
    ({"q0": [[0.0], [1.0, 2.0]]}, "q0 must be an array, got list"),
    ({"k": 0}, "k must be an integer between 1 and 6 = n_state for this TanhRNN, got 0"),
    ({"k": 7}, "k must be an integer between 1 and 6 = n_state for this TanhRNN, got 7"),
    ({"k": 2.0}, "k must be an integer"),
    ({"k": True}, "k must be an integer"),
    ({"t_ons": 0}, "t_ons must be an integer at least 1, got 0"),
    ({"transient": -1}, "transient must be an integer at least 0"),
    ({"q_transient": 1.5}, "q_transient must be an integer"),
    (
        {"transient": 12, "q_transient": 8},
        "longer than its transients: got 20 steps with transient=12 and q_transient=8",
    ),
    ({"h0": np.zeros(5)}, r"h0 must have shape \(6,\), got \(5,\)"),
    ({"h0": np.full(6, np.nan)}, "h0 must be finite"),
    ({"h0": np.zeros(6, np.float32)}, "one dtype"),
    ({"k": 2, "q0": np.eye(6)}, r"q0 must have shape \(6, 2\)"),
    ({"k": 2, "q0": np.ones((6, 2))}, "q0 must have orthonormal columns"),
]


@pytest.mark.parametrize(("changes", "message"), SPECTRUM_ERRORS)
def test_spectrum_and_flossing(changes, message):
    with pytest.raises(lf.LyapflowError, match=message):
        spectrum(**changes)
    with pytest.raises(lf.LyapflowError, match=message):
        lf.flossing_value_and_grad(**{"cell": CELL, "x": X, "k": 3} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.zeros(2)}, "target must be a finite number or 3 of them"),
        ({"target": np.nan}, "target must be a finite number"),
        ({"target": "zero"}, "target must be a finite number"),
        ({"target": [[0.0], [1.0, 2.0]]}, "target must be a finite number"),
        ({"average": "mean"}, "average must be one of 'exponents', 'loss'"),
        ({"x": XB, "h0": [[0.0], [1.0, 2.0]]}, "h0 must be an array, got list"),
        ({"k": None}, None),
    ],
)
def test_flossing(changes, message):
    arguments = {"cell": CELL, "x": X, "k": 3} | changes
    if message is None:
        assert len(lf.flossing_value_and_grad(**arguments)[2]) == 6  # all exponents
        return
    with pytest.raises(lf.LyapflowError, match=message):
        lf.flossing_value_and_grad(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": CELL}, "model must be a lyapflow.Model, got TanhRNN; make one"),
        ({"model": MODEL._replace(W_out=np.ones((1, 5)))}, r"W_out must have shape \(o, 6\)"),
        (
            {"model": MODEL._replace(W_out=np.empty((0, 6)), b_out=np.empty(0)), "y": YB[..., :0]},
            r"W_out must have a row for each output, at least one, got shape \(0, 6\)",
        ),
        ({"model": MODEL._replace(b_out=np.ones(2))}, r"b_out must have shape \(1,\)"),
        ({"model": MODEL._replace(h0=np.ones(5))}, r"h0 must have shape \(6,\)"),
        ({"model": MODEL._replace(h0=np.ones(6, np.float32))}, "one dtype"),
        (
            {"model": MODEL._replace(cell=CELL._replace(b=np.ones(2)))},
            "the shapes of TanhRNN must fit",
        ),
        ({"x": X}, r"x must have shape \(T, B, 2\)"),
        ({"y": YB[:-1]}, r"y must have shape \(20, 3, 1\)"),
        ({"y": YB + 1}, r"y must lie in \[0, 1\] for the cross-entropy"),
        ({"y": bad(YB, np.nan)}, "y must be finite"),
        ({"first": 20}, "first must be an integer between 0 and 19"),
        ({"loss": "hinge"}, "loss must be one of 'cross_entropy', 'mse', got 'hinge'"),
        ({"loss": ["mse"]}, "loss must be one of"),
        ({"x": XB[:0], "y": YB[:0]}, "at least one step"),
    ],
)
def test_bptt(changes, message):
    arguments = {"model": MODEL, "x": XB, "y": YB} | changes
    with pytest.raises(lf.LyapflowError, match=message):
        lf.bptt_value_and_grad(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": MODEL}, "the model takes 2 inputs, the task .* has 3; make a cell for 3"),
        ({"task": "binary-xor"}, "task must be one of lyapflow.tasks"),
        ({"task": lf.tasks.SpatialXOR}, "task must be one of lyapflow.tasks"),
        ({"epochs": -1}, "epochs must be an integer at least 0"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"T": 4}, "T must be longer than the delay, got T=4 with a delay of 4"),
        ({"batch": 0}, "batch must be an integer at least 1"),
        ({"optimizer": 1e-3}, "optimizer must be a lyapflow.Adam"),
        ({"flossing": 75}, "flossing must be a lyapflow.Flossing or None"),
        ({"flossing": lf.Flossing()}, "k of flossing must be an integer between 1 and 6.*got 75"),
        ({"measure_every": 0}, "measure_every must be an integer at least 1"),
        ({"measure_vectors": 2}, "measure_vectors needs measure_every, got none"),
        (
            {"measure_every": 1, "measure_vectors": 7},
            "measure_vectors must be an integer between 1 and 6 = n_state of this TanhRNN, got 7",
        ),
        ({"callbacks": [None]}, "callbacks must be functions of a record"),
        ({"callbacks": None}, "callbacks must be functions of a record"),
    ],
)
def test_training(changes, message):
    arguments = {"model": TASK_MODEL, "task": TASK, "epochs": 1, "seed": 0, "T": 20} | changes
    with pytest.raises(lf.LyapflowError, match=message):
        lf.train(**arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must be an integer at least 1"),
        ({"epochs": 0}, "epochs must be"),
        (
            {"steps": 16},
            "longer than its transients: got 16 steps with transient=0 and q_transient=16",
        ),
        ({"at": 5}, "at must be the training epochs to floss before"),
        ({"at": (0, -1)}, "each epoch in at must be an integer at least 0"),
        ({"at": "before"}, "each epoch in at"),
        ({"optimizer": None}, "optimizer must be a lyapflow.Adam"),
        ({"batch": 0}, "batch must be"),
        ({"average": "mean"}, "average must be one of 'exponents', 'loss'"),
        ({"t_ons": 0}, "t_ons must be"),
        ({"target": np.nan}, "target must be a finite number"),
    ],
)
def test_flossing_schedules(settings, message):
    with pytest.raises(lf.LyapflowError, match=message):
        lf.Flossing(**settings)


def test_floss():
    for changes, message in [
        ({"inputs": X}, "inputs must be a function of the epoch"),
        ({"inputs": lambda epoch: X[:, :1]}, "x must have shape"),
        ({"epochs": None}, "epochs must be an integer"),
        ({"cell": "garbage", "epochs": 0}, "a cell must be"),
        ({"optimizer": "adam"}, "optimizer must be"),
    ]:
        arguments = {"cell": CELL, "inputs": lambda epoch: X, "k": 2, "epochs": 1} | changes
        with pytest.raises(lf.LyapflowError, match=message):
            lf.floss(**arguments)


def test_random_cells_and_models():
    for arguments, message in [
        ((0, 1, {}), "n must be an integer at least 1"),
        ((3, -1, {}), "m must be an integer at least 0"),
        ((3, 1, {"g": -1.0}), "g must be a finite number at least 0"),
        ((3, 1, {"g": np.inf}), "g must be a finite number"),
        ((3, 1, {"weights": "uniform"}), "weights must be one of 'gaussian', 'orthogonal'"),
        ((3, 1, {"dtype": int}), "dtype must be float64 or float32"),
        ((3, 1, {"g": 10**400}), "g must be a finite number"),
        (
            (3, 1, {"g": 1e39, "dtype": "float32"}),
            "g must be a finite number at least 0.0 and at most",
        ),
        ((3, 1, {"weights": np.array(["gaussian"] * 2)}), "weights must be one of"),
        ((3, 1, {"dtype": "f8,,("}), "dtype must be float64 or float32"),
        ((3, 1, {"dtype": "quad"}), "dtype must be float64 or float32, got 'quad'"),
        ((3, 1, {"rng": 0}), "rng must be a numpy.random.Generator"),
    ]:
        n, m, keywords = arguments
        with pytest.raises(lf.LyapflowError, match=message):
            lf.TanhRNN.random(n, m, **{"rng": RNG} | keywords)
    with pytest.raises(lf.LyapflowError, match="n_outputs must be"):
        lf.Model.random(CELL, 0, rng=RNG)


def test_random_gates_and_relu():
    for function, message in [
        (lambda: lf.LSTM.random(0, 1, rng=RNG), "n must be an integer at least 1"),
        (lambda: lf.LSTM.random(2, 1, rng=RNG, g=-1.0), "g must be a finite number at least 0"),
        (lambda: lf.GRU.random(2, -1, rng=RNG), "m must be an integer at least 0"),
        (lambda: lf.GRU.random(2, 1, rng=None), "rng must be a numpy.random.Generator"),
        (lambda: lf.GRU.random(2, 1, rng=RNG, dtype="int"), "dtype must be float64 or float32"),
        (lambda: lf.ReluRNN.random(2, 1, rng=RNG, mean=np.nan), "mean must be a finite number"),
        (lambda: lf.LinearRNN.random(2, 1, rng=RNG, weights=None), "weights must be one of"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            function()


def test_gated_cells_of_wrong_shapes():
    lstm, gru = lf.LSTM.random(3, 2, rng=RNG), lf.GRU.random(3, 2, rng=RNG)
    for cell, message in [
        (lstm._replace(W=lstm.W[:3]), r"W must have shape \(4, 3, 3\), got \(3, 3, 3\)"),
        (lstm._replace(W=lstm.W.reshape(12, 3)), r"W must have shape \(4, 3, 3\), got \(12, 3\)"),
        (
            lstm._replace(V=lstm.V.reshape(12, 2)),
            r"the shapes of LSTM do not make a cell .*V \(12, 2\)",
        ),
        (lstm._replace(b=lstm.b.ravel()), r"b must have shape \(4, 3\), got \(12,\)"),
        (gru._replace(b_n=gru.b), r"b_n must have shape \(3,\), got \(3, 3\)"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            lf.lyapunov_spectrum(cell, X)


def test_stacks():
    other = lf.TanhRNN.random(5, 2, rng=RNG)
    both = lf.stack([CELL, CELL])
    for function, message in [
        (lambda: lf.stack([]), "at least one member, got none"),
        (lambda: lf.stack(3), "stack takes a sequence of cells or of Models, got int"),
        (
            lambda: lf.stack(CELL),
            r"stack takes a sequence of cells .* got one of ndarray in a TanhRNN",
        ),
        (
            lambda: lf.stack([both, both]),
            "stack takes a sequence of cells .* got one of Ensemble in a list",
        ),
        (
            lambda: lf.stack([CELL, other]),
            r"the first has W float64 \(6, 6\), member 1 has W float64 \(5, 5\)",
        ),
        (lambda: lf.stack([CELL, MODEL]), "the first has TanhRNN, member 1 has Model"),
        (lambda: lf.stack([CELL, CELL._replace(b=CELL.b.astype("f4"))]), "member 1 has b float32"),
        (
            lambda: lf.lyapunov_spectrum(both, X),
            r"x must lead with the member axis, of length 2 here, got shape \(20, 2\)",
        ),
        (
            lambda: lf.lyapunov_spectrum(both, 1.0),
            "x must lead with the member axis, of length 2 here, got 1.0",
        ),
        (lambda: lf.lyapunov_spectrum(both, [X, bad(X, np.nan)]), "^member 1: x must be finite"),
        (
            lambda: lf.lyapunov_spectrum(both, [X, X[:-1]]),
            "x must have the same shape for every member",
        ),
        (lambda: both[2:], "an ensemble has at least one member"),
        (
            lambda: lf.lyapunov_spectrum(both, [X, X], h0=np.zeros(6)),
            "h0 must lead with the member axis",
        ),
        (
            lambda: lf.flossing_value_and_grad(both, [X, X], 9),
            "^member 0: k must be an integer between 1 and 6",
        ),
        (
            lambda: lf.floss(both, lambda epoch: X, k=2, epochs=1),
            r"inputs\(epoch\) must lead with the member axis",
        ),
        (lambda: lf.trajectory(both, X), "x must lead with the member axis"),
        (
            lambda: lf.jacobian(both, np.zeros(6), np.zeros((2, 2))),
            "h must lead with the member axis",
        ),
        (
            lambda: lf.bptt_value_and_grad(both, [XB, XB], [YB, YB]),
            "member 0: model must be a lyapflow.Model",
        ),
        (
            lambda: lf.train(lf.stack([TASK_MODEL] * 2), TASK, epochs=1, seed=0, T=20),
            "seed must be one integer for each of the 2",
        ),
        (
            lambda: lf.train(lf.stack([TASK_MODEL] * 2), TASK, epochs=1, seed=[0, -1], T=20),
            "seed must be an integer",
        ),
        (
            lambda: lf.Adam().update(lf.Adam().init(both), both, CELL),
            "grads must lead with the member axis",
        ),
        (
            lambda: lf.Adam().update(lf.Adam().init(CELL), both, both),
            "state must lead with the member axis",
        ),
        (lambda: lf.Adam().update([1, 2], both, both), "member 0: state must come from init"),
        (
            lambda: lf.Adam().update(lf.Adam().init(CELL), CELL, None),
            "grads must be a cell or Model",
        ),
        (
            lambda: lf.lyapunov_spectrum([CELL, CELL], X),
            "make one ensemble of many cells with lyapflow.stack",
        ),
        (
            lambda: lf.Model.random(both, 1, rng=RNG),
            "a cell must be one of lyapflow's.*got Ensemble",
        ),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            function()


def test_matrices():
    A = RNG.standard_normal((4, 2))
    Q, R = lf.qr(A)
    for function, message in [
        (lambda: lf.qr(A.T), "at least as many rows as columns"),
        (lambda: lf.qr(A[:, 0]), r"A must have shape \(..., n, k\), got \(4,\)"),
        (lambda: lf.qr(np.ones((4, 2))), "column 1 is a combination"),
        (lambda: lf.qr(np.stack([A, 0 * A])), r"column 0 of matrix \(.*1.*\) is"),
        (lambda: lf.qr(A.astype(int)), "dtype"),
        (lambda: lf.qr(bad(A, np.nan)), "finite"),
        (lambda: lf.qr_pullback(Q, R[:1], Q, R), r"R must have shape \(2, 2\)"),
        (lambda: lf.qr_pullback(Q, -R, Q, R), "R must have a positive diagonal"),
        (lambda: lf.qr_pullback(Q, R, A.T, R), r"Q_bar must have shape \(4, 2\)"),
        (lambda: lf.qr_pullback(Q.T, R, Q.T, R), "Q must have at least as many rows as columns"),
        (lambda: lf.qr_pullback(Q[:, :0], R[:0, :0], Q[:, :0], R[:0, :0]), "and a column"),
        (lambda: lf.jacobian(CELL, np.zeros(5), np.zeros(2)), r"h must have shape \(6,\)"),
        (lambda: lf.jacobian(CELL, np.zeros(6), np.zeros(1)), r"x must have shape \(2,\)"),
        (lambda: lf.trajectory(CELL, X, np.zeros(5)), r"h0 must have shape \(6,\)"),
        (lambda: lf.trajectory(CELL, X[:0]), "at least one step"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            function()


def test_the_array_to_convert_is_the_one_that_differs():
    single = lf.TanhRNN(*(a.astype(np.float32) for a in CELL))
    for cell, x, message in [
        (
            single._replace(W=CELL.W),
            X,
            "got W of TanhRNN in float64 beside float32; convert it with .*float32",
        ),
        (
            single._replace(b=CELL.b),
            X,
            "got b of TanhRNN in float64 beside float32; convert it with .*float32",
        ),
        (
            single._replace(W=np.ones((6, 6), int)),
            X,
            "W of TanhRNN must be .* got int64; convert it with .*float32",
        ),
        (
            CELL._replace(W=single.W),
            X,
            "got W of TanhRNN in float32 beside float64; convert it with .*float64",
        ),
        (single, X, "got x in float64 beside float32; convert it with .*float32"),
        (single, X.astype(np.float16), "x must be .* got float16; convert it with .*float32"),
        (single._replace(V=CELL.V.tolist()), X, "got V of TanhRNN in float64 beside float32"),
    ]:
        with pytest.raises(lf.LyapflowError, match=message):
            lf.lyapunov_spectrum(cell, x)


LAYOUT = (
    r"^x is \(T, B, m\), time first: shape \(4, 9, 2\) was taken as 4 steps of 9 trajectories; "
    r"if it is 4 trajectories of 9 steps, give x.transpose\(1, 0, 2\)$"
)


def test_fewer_steps_than_trajectories_are_doubted():
    x, both = np.ones((4, 9, 2)), lf.stack([CELL, CELL])
    for call in (
        lambda: lf.trajectory(CELL, x),
        lambda: lf.lyapunov_spectrum(CELL, x, 2),
        lambda: lf.flossing_value_and_grad(CELL, x, 2),
        lambda: lf.floss(CELL, lambda epoch: x, k=2, epochs=3),  # once
        lambda: lf.floss(both, lambda epoch: [x, x], k=2, epochs=3),
        lambda: lf.lyapunov_spectrum(both, [x, x], 2),
    ):
        with pytest.warns(lf.LyapflowWarning) as caught:
            call()
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert re.match(LAYOUT, str(caught[0].message).removeprefix("members 0, 1: "))


def test_what_is_time_first_is_not_doubted():
    """Warnings are errors here."""
    square, own = np.ones((9, 9, 2)), lf.TanhRNN.random(3, 0, rng=RNG)
    lf.trajectory(CELL, square)
    lf.trajectory(CELL, X[:1])
    lf.lyapunov_spectrum(own, steps=4, h0=RNG.standard_normal((9, 3)))
    lf.bptt_value_and_grad(MODEL, np.ones((4, 9, 2)), np.ones((4, 9, 1)))
    flossing = lf.Flossing(k=2, epochs=1, steps=5, batch=9, q_transient=0, at=(0,))
    lf.train(TASK_MODEL, TASK, epochs=1, seed=0, T=7, batch=9, flossing=flossing)


def test_masked_arrays():
    def masked(array):
        return np.ma.masked_greater(array, np.sort(array, axis=None)[-2])

    both, W = lf.stack([CELL, CELL]), masked(CELL.W)
    for function, name in [
        (lambda: lf.lyapunov_spectrum(CELL, masked(X)), "x"),
        (lambda: lf.lyapunov_spectrum(CELL, list(masked(X))), "x"),
        (lambda: lf.lyapunov_spectrum(CELL._replace(W=W), X), "W of TanhRNN"),
        (lambda: lf.trajectory(CELL, X, masked(MODEL.h0 + np.arange(6))), "h0"),
        (lambda: lf.lyapunov_spectrum(both, masked(np.stack([X, 2 * X]))), "member 1: x"),
        (lambda: lf.stack([CELL, CELL._replace(W=W)]), "W of member 1"),
        (lambda: lf.flossing_value_and_grad(CELL, X, 3, target=masked(np.arange(3.0))), "target"),
        (lambda: lf.bptt_value_and_grad(MODEL, XB, masked(YB)), "y"),
        (
            lambda: lf.Adam().update(lf.Adam().init(CELL), CELL, CELL._replace(W=W)),
            "the gradient of W",
        ),
        (lambda: lf.predicted_condition(masked(np.arange(3.0)), 5), "exponents"),
        (lambda: lf.qr(masked(RNG.standard_normal((4, 2)))), "A"),
    ]:
        with pytest.raises(
            lf.LyapflowError, match=rf"^{name} must have no masked entries.*fill them"
        ):
            function()
    expected = lf.lyapunov_spectrum(CELL, X, 3).exponents
    np.testing.assert_array_equal(
        lf.lyapunov_spectrum(CELL, np.ma.asarray(X), 3).exponents, expected
    )


def test_a_t_ons_beyond_the_input_is_one_interval():
    expected = lf.lyapunov_spectrum(CELL, X, 3, t_ons=20).exponents
    np.testing.assert_array_equal(lf.lyapunov_spectrum(CELL, X, 3, t_ons=2**70).exponents, expected)


def test_tasks_of_a_users_own():
    class Bad(lf.tasks.SpatialXOR):
        def sample(self, rng, T, batch, dtype=np.float64):
            x, y, first = super().sample(rng, T, batch, dtype)
            nonlocal drawn
            drawn += 1
            return (x, y, first) if drawn < 3 else change(x, y, first)

    changes = [
        (lambda x, y, first: (x[:, :1], y, first), r"y must have shape \(20, 1, 1\)"),
        (lambda x, y, first: (x, y[:, :1], first), r"y must have shape \(20, 16, 1\)"),
        (lambda x, y, first: (x[..., :2], y, first), r"x must have shape \(T, B, 3\)"),
        (lambda x, y, first: (x.astype(np.float32), y, first), "one dtype"),
        (lambda x, y, first: (x, y * np.nan, first), "y must be finite"),
        (lambda x, y, first: (x, y, 10**6), "first must be an integer between 0 and 19"),
    ]
    for change, message in changes:  # noqa: B007
        drawn = 0
        with pytest.raises(lf.LyapflowError, match=message):
            lf.train(TASK_MODEL, Bad(4), epochs=5, seed=0, T=20)
    drawn = 0
    change = lambda x, y, first: tuple(map(np.asfortranarray, (x, y))) + (first,)  # noqa: E731
    expected, _ = lf.train(TASK_MODEL, TASK, epochs=5, seed=0, T=20)
    found, _ = lf.train(TASK_MODEL, Bad(4), epochs=5, seed=0, T=20)
    np.testing.assert_array_equal(found.cell.W, expected.cell.W)

    class Narrow(lf.tasks.SpatialXOR):
        def inputs(self, rng, T, batch, dtype=np.float64):
            return super().inputs(rng, T, batch, dtype)[..., :1]

    with pytest.raises(
        lf.LyapflowError, match=r"task.inputs must have shape \(55, 1, 3\), got \(55, 1, 1\)"
    ):
        lf.train(TASK_MODEL, Narrow(4), epochs=5, seed=0, T=20, flossing=lf.Flossing(k=3, at=(3,)))


def test_an_empty_stack_of_matrices_is_one():
    Q, R = lf.qr(np.empty((0, 4, 2)))
    assert Q.shape == (0, 4, 2)
    assert R.shape == (0, 2, 2)


def test_layouts_and_read_only_arrays_do_not_matter():
    expected = lf.flossing_value_and_grad(CELL, X, 3)
    twisted = lf.TanhRNN(
        np.asfortranarray(CELL.W), np.repeat(CELL.V, 2, axis=0)[::2], CELL.b.copy()
    )
    twisted.W.setflags(write=False)
    x = np.asfortranarray(X)
    x.setflags(write=False)
    found = lf.flossing_value_and_grad(twisted, x, 3)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1].W, expected[1].W)
    # lists will do, too
    assert (
        lf.lyapunov_spectrum(lf.TanhRNN(*(a.tolist() for a in CELL)), X.tolist(), 3).exponents[0]
        == expected[2][0]
    )


ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=3),
)


@given(
    st.dictionaries(
        st.sampled_from(["x", "k", "h0", "q0", "t_ons", "transient", "q_transient", "target"]),
        ANY,
        min_size=1,
    )
)
def test_whatever_comes_the_error_is_ours(changes):
    arguments = {"cell": CELL, "x": X, "k": 3} | changes
    try:
        lf.flossing_value_and_grad(**arguments)
    except lf.LyapflowError as error:
        assert len(str(error).splitlines()) == 1


def test_nothing_of_the_users_is_changed():
    kept = [a.copy() for a in (*CELL, X, XB, YB, MODEL.h0)]
    lf.flossing_value_and_grad(CELL, X, 3)
    lf.bptt_value_and_grad(MODEL, XB, YB)
    lf.lyapunov_spectrum(CELL, X, 3, h0=MODEL.h0)
    for a, b in zip((*CELL, X, XB, YB, MODEL.h0), kept):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [int, np.uint8, bool])
def test_integers_and_booleans_are_inputs(dtype):
    bits = np.random.default_rng(0).integers(2, size=(20, 2))
    found = lf.lyapunov_spectrum(CELL, bits.astype(dtype), h0=np.zeros(6, int))
    assert found == lf.lyapunov_spectrum(CELL, bits.astype(float))
    y = bits[:, :1].astype(dtype)
    loss, _ = lf.bptt_value_and_grad(MODEL, bits.astype(dtype)[:, None], y[:, None])
    assert loss == lf.bptt_value_and_grad(MODEL, bits[:, None] * 1.0, y[:, None] * 1.0)[0]
