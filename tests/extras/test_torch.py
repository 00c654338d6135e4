"""PyTorch's modules as cells, and back: all kinds, options and layouts, and every known trap."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lyapflow as lf
from lyapflow.interop.check import check_states
from tests.extras.torch_oracle import flat

torch.set_num_threads(1)
KINDS = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {}),
    (nn.LSTM, {"proj_size": 2}),
    (nn.GRU, {}),
]
CELLS = [
    (nn.RNNCell, {}),
    (nn.RNNCell, {"nonlinearity": "relu"}),
    (nn.LSTMCell, {}),
    (nn.GRUCell, {}),
]
scripting = pytest.mark.filterwarnings("ignore:.*torch.jit")
ignore_onednn = pytest.mark.filterwarnings("ignore:LSTM with projections")


def seeded(make, *args, **kw):
    torch.manual_seed(0)
    return make(*args, **kw)


@st.composite
def modules(draw):
    torch.manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    m, n = draw(st.integers(1, 4)), draw(st.integers(3, 6))
    bias = draw(st.booleans())
    if draw(st.integers(0, 5)) == 0:
        make, options = draw(st.sampled_from(CELLS))
        return make(m, n, bias=bias, dtype=dtype, **options)
    make, options = draw(st.sampled_from(KINDS))
    return make(
        m,
        n,
        num_layers=draw(st.integers(1, 3)),
        bias=bias,
        bidirectional=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        dtype=dtype,
        **options,
    )


@ignore_onednn
@settings(max_examples=180)
@given(modules(), st.integers(0, 2), st.booleans(), st.booleans())
def test_any_module_comes_in_and_goes_back(module, layer, reverse, whole):
    both = getattr(module, "bidirectional", False)
    depth = getattr(module, "num_layers", 1)
    reverse = reverse and both
    wanted = None if whole and (depth == 1 or not both) else layer % depth
    cell = lf.from_torch(module, layer=wanted, reverse=reverse)  # compares states step by step
    before = {name: value.clone() for name, value in module.state_dict().items()}
    arrays = {name: value.numpy() for name, value in before.items()}
    given_kind = {"nonlinearity": getattr(module, "nonlinearity", "tanh")}
    alike = lf.from_torch(arrays, layer=wanted, reverse=reverse, **given_kind)
    assert lf.digest(alike) == lf.digest(cell)
    if getattr(module, "proj_size", 0):
        with pytest.raises(lf.LyapflowError, match="projection"):
            lf.to_torch(cell, module, layer=wanted or 0, reverse=reverse)
        return
    lf.to_torch(cell, module, layer=wanted or 0, reverse=reverse)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("make, options", [*KINDS[:3], KINDS[4]])
def test_whole_sequences_have_the_modules_states(make, options):
    module = seeded(make, 3, 5, num_layers=2, batch_first=True, dtype=torch.float64, **options)
    x = torch.randn(4, 9, 3, dtype=torch.float64)
    out, last = module(x)
    states = lf.trajectory(lf.from_torch(module), x.transpose(0, 1).numpy())
    parts = lf.from_torch(module).split(states)
    np.testing.assert_allclose(
        parts[1][:, :, :5], out.detach().transpose(0, 1).numpy(), rtol=0, atol=1e-12
    )
    for part, state in zip(parts, flat(last)):
        np.testing.assert_allclose(part[-1], state.detach().numpy(), rtol=0, atol=1e-12)


def test_a_reversed_layer_reads_from_the_end():
    module = seeded(nn.GRU, 3, 5, bidirectional=True, dtype=torch.float64)
    x = torch.randn(9, 3, dtype=torch.float64)
    states = lf.trajectory(lf.from_torch(module, reverse=True), x.flip(0).numpy())
    np.testing.assert_allclose(states[::-1], module(x)[0][:, 5:].detach().numpy(), atol=1e-12)


def test_a_changed_cell_comes_back_as_it_was():
    rng = np.random.default_rng(0)
    for make, bias in itertools.product((nn.RNN, nn.LSTM, nn.GRU, nn.GRUCell), (True, False)):
        module = seeded(make, 3, 5, bias=bias, dtype=torch.float64)
        cell = lf.from_torch(module)
        changed = cell._replace(W=cell.W + 0.1 * rng.standard_normal(cell.W.shape))
        if bias:
            changed = changed._replace(b=cell.b + 0.1 * rng.standard_normal(cell.b.shape))
        held = [value.clone() for name, value in module.named_parameters() if "bias_hh" in name]
        lf.to_torch(changed, module)
        assert lf.digest(lf.from_torch(module)) == lf.digest(changed)
        # the bias of the state keeps its numbers
        now = [value for name, value in module.named_parameters() if "bias_hh" in name]
        for one, other in zip(held, now):
            assert ((one - other).abs() < 1e-15).double().mean() > 0.8


def test_biases_that_no_sum_reaches_are_not_split():
    module = nn.GRU(1, 2, dtype=torch.float64)
    with torch.no_grad():
        module.bias_hh_l0.fill_(1.0)
    cell = lf.from_torch(module)
    tiny = cell._replace(b=np.full_like(cell.b, 1e-20))
    lf.to_torch(tiny, module)
    assert lf.digest(lf.from_torch(module)) == lf.digest(tiny)
    assert (module.bias_hh_l0[-2:] == 1.0).all()


def test_files_keep_what_is_not_recurrent(tmp_path):
    model = seeded(nn.ModuleDict, {"rnn": nn.LSTM(3, 4), "out": nn.Linear(4, 2)})
    torch.save(model.state_dict(), tmp_path / "model.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    cell = lf.from_torch(model)
    for name in ("model.pt", "checkpoint.pt"):
        assert lf.digest(lf.from_torch(tmp_path / name)) == lf.digest(cell)
    from safetensors.torch import load_file, save_file

    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    changed = cell._replace(W=2 * cell.W)
    lf.to_torch(changed, path)
    read = load_file(path)
    assert torch.equal(read["out.weight"], model["out"].weight)
    nn.ModuleDict(model).load_state_dict(read)
    assert lf.digest(lf.from_torch(model)) == lf.digest(changed)


@scripting
def test_scripted_modules_are_read_too():
    one = seeded(nn.RNN, 3, 4, 2, nonlinearity="relu", batch_first=True)
    within = nn.Sequential(nn.Linear(3, 3), one)
    for module in (torch.jit.script(one), torch.jit.script(within)):
        assert lf.digest(lf.from_torch(module)) == lf.digest(lf.from_torch(one))


@scripting
def test_nothing_is_drawn_from_torchs_random_numbers():
    module = seeded(nn.LSTM, 3, 4)
    scripted = torch.jit.script(module)
    before = torch.get_rng_state()
    lf.from_torch(module)
    lf.from_torch(scripted)
    assert torch.equal(torch.get_rng_state(), before)


class Swapped(nn.LSTM):
    """Takes its inputs in another order than it says."""

    def forward(self, x, hx=None):
        return super().forward(x.flip(-1), hx)


class Doubled(nn.GRU):
    """Remembers half of what it should."""

    def forward(self, x, hx=None):
        out, h = super().forward(x, hx)
        return 0.5 * out, 0.5 * h


@pytest.mark.parametrize("cls", [Swapped, Doubled])
def test_a_module_that_does_something_else_is_refused(cls):
    module = seeded(cls, 3, 4)
    with pytest.raises(
        lf.LyapflowError, match="states are not those of the original: at step 0 unit"
    ):
        lf.from_torch(module)
    assert lf.from_torch(module, check=False).W.shape[-1] == 4


def test_the_layer_that_is_wrong_is_named():
    module = seeded(nn.LSTM, 3, 4, 2, dtype=torch.float64)
    right = lf.from_torch(module)
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    units = [part[:, :, :4] for part in right.split(lf.trajectory(right, x))]
    wrong = right.layers[1]._replace(V=right.layers[1].V[[0, 3, 1, 2]])
    with pytest.raises(lf.LyapflowError, match=r"layer 1: the states .* step 0 unit \d is off by"):
        check_states([right.layers[0], wrong], x, None, units)


def test_tied_weights_are_one_tensor_and_stay_so():
    module = seeded(nn.GRU, 4, 4, 2, dtype=torch.float64)
    module.weight_hh_l1 = module.weight_hh_l0
    network = lf.from_torch(module)
    lf.to_torch(network, module)
    first = network.layers[0]
    changed = first._replace(W=2 * first.W)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for cell in (changed, lf.layers(changed, network.layers[1])):
        with pytest.raises(lf.LyapflowError, match="are one tensor, and would"):
            lf.to_torch(cell, module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    both = network.layers[1]._replace(W=2 * first.W)
    lf.to_torch(lf.layers(changed, both), module)
    assert (module.weight_hh_l1 == 2 * before["weight_hh_l1"]).all()


def test_an_expanded_parameter_is_not_written():
    module = seeded(nn.GRU, 4, 4)
    module.bias_hh_l0 = nn.Parameter(torch.zeros(1).expand(12))
    before = module.weight_hh_l0.clone()
    cell = lf.from_torch(module)
    with pytest.raises(lf.LyapflowError, match="bias_hh_l0 is expanded"):
        lf.to_torch(cell._replace(W=2 * cell.W), module)
    assert torch.equal(module.weight_hh_l0, before)


def test_computed_weights_are_read_and_not_written():
    module = nn.utils.parametrizations.orthogonal(seeded(nn.RNN, 3, 4), "weight_hh_l0")
    cell = lf.from_torch(module)
    np.testing.assert_array_equal(cell.W, module.weight_hh_l0.detach().numpy())
    with pytest.raises(lf.LyapflowError, match="computes weight_hh_l0 from other parameters"):
        lf.to_torch(cell, module)


@pytest.mark.filterwarnings("ignore")
def test_traced_modules_have_weights_and_cannot_be_run():
    module = seeded(nn.GRU, 3, 4, batch_first=True)
    traced = torch.jit.trace(module, torch.randn(2, 5, 3))
    with pytest.raises(lf.LyapflowError, match="a traced module"):
        lf.from_torch(traced)
    assert lf.digest(lf.from_torch(traced, check=False)) == lf.digest(lf.from_torch(module))


def test_a_checkpoint_comes_back_flossed_whole(command):
    model = seeded(nn.ModuleDict, {"rnn": nn.GRU(3, 4)})
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, "model.pt")
    np.save("x.npy", np.random.default_rng(0).standard_normal((100, 3)))
    args = ("--input", "x.npy", "--k", "1", "--epochs", "1", "--steps", "30")
    code, _, err = command("floss", "model.pt", "--out", "model.pt", *args)
    assert (code, err) == (0, "")
    found = torch.load("model.pt", weights_only=True)
    assert found["epoch"] == 3
    assert not torch.equal(found["state_dict"]["rnn.weight_hh_l0"], model["rnn"].weight_hh_l0)


BAD = {
    "dropout between layers": lambda: nn.LSTM(2, 3, 2, dropout=0.5),
    "on the meta device": lambda: nn.LSTM(2, 3, device="meta"),
    "float16": lambda: nn.LSTM(2, 3).half(),
    "bfloat16": lambda: nn.LSTM(2, 3).bfloat16(),
    "the Linear has no RNN": lambda: nn.Linear(2, 3),
    "several recurrent modules": lambda: nn.Sequential(nn.LSTM(2, 2), nn.GRU(2, 2)),
    "takes a torch.nn.Module": lambda: 3,
    "bidirectional module of several layers": lambda: nn.LSTM(2, 3, 2, bidirectional=True),
    "must be finite, got nan": lambda: nan_module(),
}


def nan_module():
    module = nn.GRU(2, 3)
    with torch.no_grad():
        module.weight_hh_l0[1, 2] = torch.nan
    return module


@pytest.mark.parametrize("words", BAD)
def test_bad_modules(words):
    match = {"dropout between layers": "drops units between its layers"}.get(words, words)
    with pytest.raises(lf.LyapflowError, match=match) as caught:
        lf.from_torch(BAD[words]())
    assert "\n" not in str(caught.value)


class Harmful:
    """What a pickled file could do."""

    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@scripting
def test_pickled_programs_are_not_executed(tmp_path):
    for name, content in (("harm.pt", {"weight_hh_l0": Harmful()}), ("whole.pt", nn.LSTM(2, 3))):
        torch.save(content, tmp_path / name)
        with pytest.raises(lf.LyapflowError, match="not executed"):
            lf.from_torch(tmp_path / name)
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(lf.LyapflowError, match="TorchScript"), pytest.warns(UserWarning):
        lf.from_torch(tmp_path / "script.pt")


def test_names_choose_a_module():
    model = seeded(nn.ModuleDict, {"a": nn.LSTM(2, 3), "b": nn.GRU(2, 3)})
    assert isinstance(lf.from_torch(model, name="b"), lf.GRU)
    assert isinstance(lf.from_torch(model.state_dict(), name="b"), lf.GRU)
    for source in (model, model.state_dict()):
        with pytest.raises(
            lf.LyapflowError, match="no recurrent module named 'c'; it has 'a', 'b'"
        ):
            lf.from_torch(source, name="c")


def test_what_does_not_fit_is_not_written():
    rng = np.random.default_rng(0)
    module = seeded(nn.GRU, 3, 5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for cell, words in (
        (lf.LSTM.random(5, 3, rng=rng), "holds a GRU"),
        (lf.GRU.random(4, 3, rng=rng), "has 5 units and 3 inputs, the cell 4 units"),
        (lf.TanhRNN.random(5, 3, rng=rng), "other libraries have no TanhRNN"),
        (lf.layers(*[lf.GRU.random(5, m, rng=rng) for m in (3, 5)]), "has 1 layers, the network 2"),
    ):
        with pytest.raises(lf.LyapflowError, match=words):
            lf.to_torch(cell, module)
    leaky = lf.ElmanRNN.random(5, 3, rng=rng, leak=0.5, dtype=np.float32)
    with pytest.raises(lf.LyapflowError, match="leaks below 1"):
        lf.to_torch(leaky, nn.RNN(3, 5))
    with pytest.raises(lf.LyapflowError, match="has no biases"):
        lf.to_torch(
            lf.GRU.random(5, 3, rng=rng)._replace(b=np.ones((3, 5))), nn.GRU(3, 5, bias=False)
        )
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_module_is_no_cell_and_the_error_says_what_to_do():
    with pytest.raises(lf.LyapflowError, match=r"make it one with lyapflow\.from_torch"):
        lf.lyapunov_spectrum(nn.LSTM(2, 3), np.zeros((9, 2)))
