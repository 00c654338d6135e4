"""The flossing loss and exponents as PyTorch sees them: values and gradients against its own, and how it is used."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import lyapflow as lf
import lyapflow.torch
from lyapflow.interop.torch_layout import problem
from lyapflow.torch import Flossing, Monitor, flossing_loss, lyapunov_spectrum
from tests.extras import torch_oracle

torch.set_num_threads(1)
WIDE = torch.float64


def seeded(make, *args, **kw):
    torch.manual_seed(0)
    return make(*args, dtype=WIDE, **kw)


@st.composite
def problems(draw):
    """A module that loses no direction, and an input in its layout."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    make = draw(st.sampled_from([nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell]))
    dtype = draw(st.sampled_from([WIDE, WIDE, torch.float32]))
    m, n, batch = draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(1, 3))
    options = {"bias": draw(st.booleans())}
    if issubclass(make, nn.RNNBase):
        options |= {"num_layers": draw(st.integers(1, 2)), "batch_first": draw(st.booleans())}
    x = torch.randn(draw(st.integers(4, 9)), batch, m, dtype=WIDE)
    return make(m, n, dtype=dtype, **options), x, draw(st.integers(1, 2)), draw(st.integers(0, 2))


def in_its_layout(module, x, unbatched):
    if unbatched and x.shape[1] == 1:
        return x[:, 0]
    return x.transpose(0, 1) if getattr(module, "batch_first", False) else x


@settings(max_examples=60)
@given(problems(), st.booleans())
def test_losses_exponents_and_gradients_are_torchs_own(drawn, unbatched):
    module, x, k, q_transient = drawn
    fine = next(module.parameters()).dtype == WIDE
    x = x.requires_grad_()
    given_x = in_its_layout(module, x, unbatched).to(next(module.parameters()).dtype)
    loss, found = flossing_loss(module, given_x, k, target=-0.1, q_transient=q_transient)
    got = torch.autograd.grad(loss, [x, *module.parameters()])
    spectrum = lyapunov_spectrum(module, given_x, k, q_transient=q_transient)

    twin = type(module)(
        *(getattr(module, name) for name in ("input_size", "hidden_size")),
        bias=module.bias,
        dtype=WIDE,
        **({"num_layers": module.num_layers} if hasattr(module, "num_layers") else {}),
    )
    twin.load_state_dict(module.state_dict())
    exponents = torch_oracle.exponents(twin, x, k, q_transient).mean(0)
    wanted = (exponents + 0.1).square().sum()
    reference = torch.autograd.grad(wanted, [x, *twin.parameters()])
    limit = 1e-12 if fine else 2e-3
    torch.testing.assert_close(found.double(), exponents, rtol=0, atol=1e-12 if fine else 1e-4)
    torch.testing.assert_close(loss.double(), wanted, rtol=0, atol=1e-11 if fine else 1e-4)
    for one, other in zip(got, reference):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=limit * scale)
    ordered = spectrum.exponents if len(exponents) == k else spectrum.exponents.sort().values
    against = exponents if len(exponents) == k else exponents.sort().values
    torch.testing.assert_close(ordered.double(), against, rtol=0, atol=1e-12 if fine else 1e-4)


def called(module, loss):
    """A function of an input and all parameters, for gradcheck."""
    holder = nn.Module()
    holder.module = module
    holder.forward = lambda x: loss(module, x)
    names = [name for name, _ in holder.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for p in holder.parameters()]
    return lambda x, *values: functional_call(holder, dict(zip(names, values)), (x,)), parameters


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "make, options",
    [(nn.RNN, {}), (nn.LSTM, {}), (nn.GRU, {}), (nn.LSTM, {"proj_size": 3})],
)
def test_gradcheck(make, options, layers):
    module = seeded(make, 2, 4, num_layers=layers, **options)
    x = torch.randn(10, 2, 2, dtype=WIDE, requires_grad=True)
    function, parameters = called(module, lambda m, x: flossing_loss(m, x, 2, q_transient=2)[0])
    assert torch.autograd.gradcheck(function, (x, *parameters))
    function, parameters = called(module, lambda m, x: lyapunov_spectrum(m, x, 2).exponents)
    assert torch.autograd.gradcheck(function, (x, *parameters))


def test_gradcheck_of_relu():
    module = seeded(nn.RNN, 2, 5, nonlinearity="relu")
    with torch.no_grad():
        module.bias_ih_l0.fill_(1.0)  # no unit is silent
    x = 0.3 * torch.randn(8, 1, 2, dtype=WIDE)
    function, parameters = called(module, lambda m, x: flossing_loss(m, x, 2)[0])
    assert torch.autograd.gradcheck(function, (x.requires_grad_(), *parameters))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which opcheck looks at
@pytest.mark.parametrize("packed", [False, True])
def test_opcheck(packed):
    module = seeded(nn.GRU, 2, 4, num_layers=2)
    x = torch.randn(8, 3, 2, dtype=WIDE)
    whole = pack_padded_sequence(x, [8, 6, 5]) if packed else x
    given_problem = problem(module, whole, None, False, None)
    arrays = [a.detach().requires_grad_() for a in given_problem.arrays]
    common = (
        arrays,
        given_problem.x.detach().requires_grad_(),
        given_problem.h0,
        given_problem.lengths,
    )
    aims, weights = torch.zeros(4, dtype=WIDE), torch.ones(4, dtype=WIDE)
    settings_ = ("exponents", False, 1, 0, 0, False, True)
    torch.library.opcheck(
        torch.ops.lyapflow.flossing.default,
        (*common, "gru,gru", [2, 2], aims, weights, *settings_),
    )
    torch.library.opcheck(
        torch.ops.lyapflow.exponents.default, (*common, "gru,gru", [2, 2], 1, 0, 0)
    )


def test_packed_sequences_are_as_each_alone():
    module = seeded(nn.LSTM, 2, 4, num_layers=2)
    x = torch.randn(12, 3, 2, dtype=WIDE, requires_grad=True)
    lengths = torch.tensor([7, 12, 9])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    loss, exponents = flossing_loss(module, packed, 2)
    alone = torch.stack([flossing_loss(module, x[:end, b], 2)[1] for b, end in enumerate(lengths)])
    mean = (alone * lengths[:, None]).sum(0) / lengths.sum()
    torch.testing.assert_close(exponents, mean, rtol=0, atol=1e-12)
    loss.backward()
    assert (x.grad[7:, 0] == 0).all()
    assert (x.grad[:7, 0] != 0).any()


def test_both_directions_of_packed_sequences():
    module = seeded(nn.GRU, 2, 4, bidirectional=True)
    one = lf.from_torch(module, reverse=True)
    x = torch.randn(12, 2, 2, dtype=WIDE)
    packed = pack_padded_sequence(x, [12, 8])
    _, exponents = flossing_loss(module, packed, 2, reverse=True)
    turned = torch.stack([x[:, 0].flip(0), torch.cat([x[:8, 1].flip(0), x[8:, 1]])], dim=1)
    wanted = lf.flossing_value_and_grad(one, turned.numpy(), 2, lengths=np.array([12, 8]))[2]
    np.testing.assert_allclose(exponents.numpy(), wanted, rtol=0, atol=1e-13)


def test_initial_states_are_the_modules():
    module = seeded(nn.LSTM, 2, 3, num_layers=2, batch_first=True)
    x = torch.randn(4, 9, 2, dtype=WIDE)
    hx = tuple(torch.randn(2, 4, 3, dtype=WIDE) for _ in range(2))
    h0 = torch.cat([hx[0][0], hx[1][0], hx[0][1], hx[1][1]], dim=1).numpy()
    wanted = lf.flossing_value_and_grad(lf.from_torch(module), x.transpose(0, 1).numpy(), 2, h0=h0)[
        2
    ]
    np.testing.assert_allclose(
        flossing_loss(module, x, 2, hx=hx)[1].numpy(), wanted, rtol=0, atol=1e-13
    )
    alone = tuple(part[:, 0] for part in hx)
    np.testing.assert_allclose(
        flossing_loss(module, x[0], 2, hx=alone)[1].numpy(),
        lf.flossing_value_and_grad(lf.from_torch(module), x[0].numpy(), 2, h0=h0[0])[2],
        rtol=0,
        atol=1e-13,
    )


def test_layers_that_count():
    module = seeded(nn.GRU, 2, 4, num_layers=3)
    x = torch.randn(9, 2, 2, dtype=WIDE)
    both = flossing_loss(module, x, (1, 2), layers=(0, 2), target=[0.0, 0.1, 0.2])
    every = flossing_loss(module, x, (1, 1, 2))[1]
    torch.testing.assert_close(both[1], every[[0, 2, 3]], rtol=0, atol=0)
    aims = torch.tensor([0.0, 0.1, 0.2], dtype=WIDE)
    torch.testing.assert_close(both[0], (both[1] - aims).square().sum())
    flossing_loss(module, x, 1, layers=1)[0].backward()
    assert module.weight_hh_l0.grad.abs().max() > 0  # by way of the input of the layer above
    assert module.weight_hh_l2.grad is None


def test_embeddings_in_front_are_flossed():
    embedding, module = nn.Embedding(5, 3), nn.GRU(3, 6)
    loss, _ = flossing_loss(module, embedding(torch.randint(5, (20, 2))), 2)
    loss.backward()
    assert embedding.weight.grad.abs().max() > 0


def test_half_precision_is_refused_and_autocast_is_not():
    module = nn.GRU(3, 6)
    x = torch.randn(20, 3)
    with pytest.raises(lf.LyapflowError, match="weights must be float64 or float32"):
        flossing_loss(nn.GRU(3, 6).half(), x.half(), 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = nn.Linear(3, 3)(x)
        assert encoded.dtype == torch.bfloat16
        loss, _ = flossing_loss(module, encoded, 2)
    assert loss.dtype == torch.float32
    loss.backward()
    assert module.weight_hh_l0.grad.isfinite().all()


def test_gradients_accumulate_and_no_grad_has_none():
    module = seeded(nn.GRU, 2, 4)
    x = torch.randn(9, 2, dtype=WIDE)
    flossing_loss(module, x, 2)[0].backward()
    once = module.weight_hh_l0.grad.clone()
    flossing_loss(module, x, 2)[0].backward()
    torch.testing.assert_close(module.weight_hh_l0.grad, 2 * once, rtol=0, atol=0)
    with torch.no_grad():
        loss, exponents = flossing_loss(module, x, 2)
    assert not loss.requires_grad
    assert not exponents.requires_grad


def test_second_derivatives_are_refused():
    module = seeded(nn.GRU, 2, 4)
    x = torch.randn(9, 2, dtype=WIDE)
    for value in (flossing_loss(module, x, 2)[0], lyapunov_spectrum(module, x, 2).exponents.sum()):
        first = torch.autograd.grad(value, module.weight_hh_l0, create_graph=True)[0]
        with pytest.raises(lf.LyapflowError, match="second derivatives"):
            first.square().sum().backward()


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_under_compile(fullgraph):
    module = seeded(nn.GRU, 2, 4)
    x = torch.randn(9, 2, dtype=WIDE)

    def both(x):
        return 0.1 * flossing_loss(module, x, 2)[0] + module.weight_hh_l0.square().sum()

    with torch._dynamo.config.patch(allow_rnn=fullgraph):
        loss = torch.compile(both, fullgraph=fullgraph, backend="aot_eager")(x)
    loss.backward()
    got, module.weight_hh_l0.grad = module.weight_hh_l0.grad, None
    both(x).backward()
    torch.testing.assert_close(got, module.weight_hh_l0.grad)


def test_lost_exponents():
    module = nn.RNN(1, 3, nonlinearity="relu")
    with torch.no_grad():
        module.bias_ih_l0.fill_(-100.0)
    x = torch.randn(9, 2, 1)
    with pytest.raises(lf.Diverged, match="lost rank"):
        flossing_loss(module, x, 1)
    with pytest.warns(lf.LyapflowWarning, match="left out"):
        loss, exponents = flossing_loss(module, x, 1, on_lost="skip")
    assert loss == 0
    assert exponents.isnan().all()
    loss.backward()
    assert (module.weight_hh_l0.grad == 0).all()


def test_flossing_beside_a_task():
    module, readout = nn.GRU(1, 6), nn.Linear(6, 1)
    flossing = Flossing(module, k=2, weight=0.1, every=2)
    assert list(flossing.parameters()) == []
    x = torch.randn(15, 4, 1)
    for due in (True, False, True):
        out, _ = module(x)
        added = flossing()
        assert bool(added) == due
        assert added.requires_grad == due
        (readout(out).square().mean() + added).backward()
    torch.testing.assert_close(flossing.exponents, flossing_loss(module, x, 2)[1])
    assert flossing() == 0  # of one pass once
    module.eval()
    module(x)
    assert flossing() == 0


@pytest.mark.parametrize("reentrant", [False, True])
def test_passes_that_checkpointing_repeats_do_not_count(reentrant):
    module, rows = nn.GRU(1, 6), []
    flossing = Flossing(module, k=2, every=2)
    Monitor(module, 1, lambda step, row: rows.append(step), every=3)
    due = []
    for _ in range(5):
        x = torch.randn(15, 4, 1, requires_grad=True)
        out = checkpoint(lambda x: module(x)[0], x, use_reentrant=reentrant)
        added = flossing()
        due.append(added.requires_grad)
        (out.square().mean() + added).backward()
    assert due == [True, False, True, False, True]
    assert rows == [0, 3]


def test_a_model_with_a_flossing_is_copied_at_any_time():
    model = nn.Module()
    model.encoder, model.rnn = nn.Linear(1, 2), nn.GRU(2, 4)
    model.flossing = Flossing(model.rnn, k=2)
    for copied in (copy.deepcopy, lambda of: pickle.loads(pickle.dumps(of))):
        model.rnn(model.encoder(torch.randn(9, 3, 1)))
        other = copied(model)
        assert other.flossing() == 0
        other.rnn(other.encoder(torch.randn(9, 3, 1)))
        other.flossing().backward()
        assert other.rnn.weight_hh_l0.grad is not None
        assert model.rnn.weight_hh_l0.grad is None
        assert model.flossing() > 0


def test_from_torch_is_no_step_of_a_training():
    module = nn.GRU(2, 4)
    flossing = Flossing(module, k=2)
    x = torch.randn(9, 3, 2)
    module(x)
    lf.from_torch(module)
    torch.testing.assert_close(flossing(), flossing_loss(module, x, 2)[0], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_compiled_modules_are_watched():
    module, rows = nn.LSTM(2, 4), []
    compiled = torch.compile(module, backend="eager")
    Monitor(compiled, 2, lambda step, row: rows.append(row))
    x, zeros = torch.randn(9, 3, 2), [torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)]
    for hx in ((), (zeros,)):
        compiled(x, *hx)[0].square().mean().backward()
    assert rows[0]["h0_gradient_norm"] > 0
    _, exponents = flossing_loss(compiled, x, 2)
    assert [rows[0]["lambda_1"], rows[0]["lambda_2"]] == pytest.approx(exponents.tolist())


@pytest.mark.parametrize("watch", [lambda of: Flossing(of, 2), lambda of: Monitor(of, 2, print)])
@pytest.mark.parametrize(
    "module, words",
    [
        (nn.GRUCell(2, 4), "got a GRUCell, which sees one step at a time"),
        (nn.Sequential(nn.Linear(3, 2), nn.GRU(2, 4)), "give that one, .1 of the Sequential"),
        (3, "got int"),
    ],
)
def test_what_sees_no_sequences_is_not_watched(watch, module, words):
    with pytest.raises(lf.LyapflowError, match=words):
        watch(module)


@pytest.mark.parametrize("shape", [(3, 2, 4), (4, 1, 4), (2, 1, 4), (2, 4), (2, 3, 5), ()])
def test_states_of_another_shape(shape):
    with pytest.raises(lf.LyapflowError, match=r"hx must have shape \(2, 3, 4\), got"):
        flossing_loss(nn.GRU(2, 4, 2), torch.randn(9, 3, 2), 2, hx=torch.zeros(shape))
    with pytest.raises(lf.LyapflowError, match=r"hx must have shape \(3, 4\), got"):
        flossing_loss(nn.GRUCell(2, 4), torch.randn(9, 3, 2), 2, hx=torch.zeros(shape))


def test_monitor():
    module, rows = nn.LSTM(1, 6, batch_first=True), []
    monitor = Monitor(module, 2, lambda step, row: rows.append((step, row)), every=2)
    x = torch.randn(4, 15, 1)
    for _ in range(3):
        module(x)[0].square().mean().backward()
    assert [step for step, _ in rows] == [0, 2]
    h0 = torch.zeros(1, 4, 6, requires_grad=True)
    monitor.remove()
    module(x, (h0, torch.zeros(1, 4, 6)))[0].square().mean().backward()
    row = rows[0][1]
    assert row["h0_gradient_norm"] == pytest.approx(float(h0.grad.norm()))
    wanted = flossing_loss(module, x, 2)[1]
    assert [row["lambda_1"], row["lambda_2"]] == pytest.approx(wanted.tolist())
    assert len(rows) == 2


@pytest.mark.parametrize(
    "change, words",
    [
        ({"k": 0}, "k must be an integer at least 1"),
        ({"k": (1, 1)}, "k must be one number, or 1"),
        ({"k": 9}, "k must be"),
        ({"target": [0.0]}, "target must be one number or 2"),
        ({"target": ["a", 0.0]}, "each target must be a finite number"),
        ({"layers": 1}, "layers must be an integer between 0 and 0"),
        ({"layers": (1, 0), "module": nn.GRU(2, 4, 2)}, "layers must ascend, each layer once"),
        ({"t_ons": 1.5}, "t_ons must be an integer at least 1"),
        ({"q_transient": None}, "q_transient must be an integer at least 0"),
        ({"x": torch.zeros(9, 2, dtype=torch.complex64)}, "x must be a PackedSequence or"),
        ({"module": nn.GRU(2, 4, device="meta")}, "on the meta device"),
        (
            {"module": nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 4))},
            "x is the input of the recurrent",
        ),
        ({"on_lost": "ignore"}, "on_lost must be one of"),
        ({"q_transient": 9}, "transient"),
        ({"hx": 3}, "hx must be a tensor h_0"),
        ({"x": torch.zeros(9, 3)}, "x must be a PackedSequence or a tensor of 2 inputs"),
        ({"x": np.zeros((9, 2))}, "got ndarray"),
        ({"module": nn.Linear(2, 2)}, "the Linear has no RNN"),
        ({"module": nn.GRU(2, 4, 2, dropout=0.1)}, "drops units between its layers"),
        ({"module": nn.GRU(2, 4, 2, bidirectional=True)}, "bidirectional module of several layers"),
    ],
)
def test_bad_input(change, words):
    settings_ = {"module": nn.GRU(2, 4), "x": torch.randn(9, 2), "k": 2} | change
    with pytest.raises(lf.LyapflowError, match=words) as caught:
        flossing_loss(settings_.pop("module"), settings_.pop("x"), settings_.pop("k"), **settings_)
    assert "\n" not in str(caught.value)


def test_nothing_of_torch_comes_with_the_package():
    import subprocess
    import sys

    code = "import sys, lyapflow; print({'torch', 'keras', 'onnx', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert lyapflow.torch.flossing_loss is flossing_loss
