"""Networks of layers against PyTorch's, and the union of the layers' exponents against the joint spectrum.

    python -m pip install ".[validation]" && python -m validation.layers

Of `nn.RNN`, `nn.LSTM` and `nn.GRU` with two and three layers and copied weights, in float64: states
of every layer, and the gradients of a task's loss in all weights and in the input, relative to the
largest entry. Limits: 1e-14 and 1e-12.

Of 24 networks, of every kind and mixed, with two and three layers: exponents by a QR of the joint
Jacobian (its blocks from PyTorch's automatic differentiation), over T steps, against the union; the
root mean square of the differences, in nats per step and in standard errors of both, and the
difference of the sums. Limits: 2 standard errors, and 1e-7, which plain QR of exponents down to -20
nats per step takes. Exit code 1 if one is passed; some three minutes."""

import itertools
import sys

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.lyapunov.error_bars import error_bars

N, M, T, BATCH = 12, 3, 60, 4
LENGTHS = (300, 1200)
TRANSIENT = 100
KINDS = {"RNN": lf.ElmanRNN, "LSTM": lf.LSTM, "GRU": lf.GRU}

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def of_torch(module: torch.nn.RNNBase) -> lf.Layers:
    """The layers of a module, with its weights."""
    cells = []
    for number in range(module.num_layers):
        W, V, b_hh, b_ih = (
            getattr(module, f"{name}_l{number}").detach().numpy()
            for name in ("weight_hh", "weight_ih", "bias_hh", "bias_ih")
        )
        if isinstance(module, torch.nn.RNN):
            cells.append(lf.ElmanRNN(W, V, b_hh + b_ih, np.ones(len(W))))
            continue
        gates = len(W) // N
        W, V = W.reshape(gates, N, N), V.reshape(gates, N, -1)
        b_hh, b_ih = b_hh.reshape(gates, N), b_ih.reshape(gates, N)
        if isinstance(module, torch.nn.LSTM):
            cells.append(lf.LSTM(W, V, b_hh + b_ih))
        else:
            b = np.vstack([b_hh[:2] + b_ih[:2], b_ih[2:]])
            cells.append(lf.GRU(W, V, b, b_hh[2]))
    return lf.layers(*cells)


def against_torch(kind: str, layers: int, seed: int) -> tuple[float, float]:
    """Largest relative difference of states, and of gradients."""
    torch.manual_seed(seed)
    module = getattr(torch.nn, kind)(M, N, layers)
    readout = torch.nn.Linear(N, 2)
    network = of_torch(module)
    model = lf.Model(
        network,
        readout.weight.detach().numpy(),
        readout.bias.detach().numpy(),
        np.zeros(lf.Model.random(network, 1, rng=np.random.default_rng(0)).h0.size),
    )
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((T, BATCH, M)), rng.standard_normal((T, BATCH, 2))
    drive = torch.tensor(x, requires_grad=True)
    top, _ = module(drive)
    states = network.split(lf.trajectory(network, x))
    # the hidden states of a lower layer are those of a module cut off above it
    off = []
    for number in range(layers):
        cut = getattr(torch.nn, kind)(M, N, number + 1)
        cut.load_state_dict({name: module.state_dict()[name] for name in cut.state_dict()})
        off.append(np.abs(cut(drive)[0].detach().numpy() - states[number][..., :N]).max())
    torch.nn.functional.mse_loss(readout(top), torch.tensor(y)).backward()
    _, gradient, x_bar = lf.bptt_value_and_grad(model, x, y, loss="mse", input_gradient=True)

    pairs = [
        (x_bar, drive.grad),
        (gradient.W_out, readout.weight.grad),
        (gradient.b_out, readout.bias.grad),
    ]
    for number, layer in enumerate(gradient.cell.layers):
        names = {"W": "weight_hh", "V": "weight_ih", "b": "bias_ih"}
        for field, name in names.items():
            theirs = getattr(module, f"{name}_l{number}").grad
            pairs.append((getattr(layer, field).reshape(theirs.shape), theirs))
        if kind == "GRU":
            pairs.append((layer.b_n, getattr(module, f"bias_hh_l{number}").grad[2 * N :]))
    return max(off), max(
        float(np.abs(ours - theirs.numpy()).max() / theirs.abs().max()) for ours, theirs in pairs
    )


def step(cell: lf.LSTM | lf.ElmanRNN | lf.GRU, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One step of a cell from its equations."""
    W, V, b = (torch.tensor(getattr(cell, name)) for name in ("W", "V", "b"))
    if isinstance(cell, lf.ElmanRNN):
        return torch.tanh(W @ h + V @ x + b)
    if isinstance(cell, lf.LSTM):
        h, c = h.chunk(2)
        i, f, g, o = W @ h + V @ x + b
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c])
    r, z = torch.sigmoid(W[:2] @ h + V[:2] @ x + b[:2])
    new = torch.tanh(V[2] @ x + b[2] + r * (W[2] @ h + torch.tensor(cell.b_n)))
    return (1 - z) * new + z * h


def joint_step(network: lf.Layers, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    found = []
    sizes = [part.size for part in network.split(np.empty(h.numel()))]
    for layer, part in zip(network.layers, h.split(sizes)):
        found.append(step(layer, part, x))
        x = found[-1][:N]
    return torch.cat(found)


def union_and_joint(kinds: tuple[str, ...], seed: int) -> list[tuple[float, float, float]]:
    """For each length: rms difference, in nats per step and in standard errors, and that of the sums."""
    rng = np.random.default_rng(seed)
    network = lf.layers(
        *(KINDS[kind].random(N, M if i == 0 else N, rng=rng, g=1.5) for i, kind in enumerate(kinds))
    )
    x = rng.standard_normal((TRANSIENT + max(LENGTHS), M))
    states = lf.trajectory(network, x)
    n = states.shape[1]
    Q, log_R = np.linalg.qr(rng.standard_normal((n, n)))[0], []
    for h, drive in zip(np.vstack([np.zeros(n), states]), x):
        D = torch.func.jacfwd(joint_step, argnums=1)(network, torch.tensor(h), torch.tensor(drive))
        Q, R = np.linalg.qr(D.numpy() @ Q)
        log_R.append(np.log(np.abs(np.diagonal(R))))
    found = []
    for length in LENGTHS:
        steps = slice(TRANSIENT, TRANSIENT + length)
        joint = np.mean(log_R[steps], axis=0)
        bars = error_bars(np.array(log_R)[None, steps], np.ones(length, int), np.zeros(1, int))
        order = np.argsort(-joint, kind="stable")
        union = lf.lyapunov_spectrum(network, x[: steps.stop], q_transient=TRANSIENT)
        off = union.exponents - joint[order]
        scatter = np.hypot(union.stderr, bars.stderr[order])
        rms = [float(np.sqrt(np.mean(values**2))) for values in (off, off / scatter)]
        found.append((*rms, abs(float(off.sum()))))
    return found


def main() -> int:
    console, passed = Console(), True
    table = Table("module", "layers", "states", "gradients", title="against PyTorch, 3 seeds")
    for kind, layers in itertools.product(KINDS, (2, 3)):
        worst = np.max([against_torch(kind, layers, seed) for seed in range(3)], axis=0)
        passed &= bool(worst[0] <= 1e-14 and worst[1] <= 1e-12)
        table.add_row(f"nn.{kind}", str(layers), *(f"{value:.1e}" for value in worst))
    console.print(table)

    networks = [(kind,) * layers for kind, layers in itertools.product(KINDS, (2, 3))] + [
        ("LSTM", "RNN"),
        ("RNN", "GRU", "LSTM"),
    ]
    of = np.array(
        [union_and_joint(kinds, seed) for kinds, seed in itertools.product(networks, range(3))]
    )
    table = Table("steps", "rms, nats", "largest", "in standard errors", "largest", "of the sums")
    for length, numbers in zip(LENGTHS, of.swapaxes(0, 1)):
        mean = np.sqrt((numbers[:, :2] ** 2).mean(axis=0))
        largest = numbers.max(axis=0)
        passed &= bool(largest[1] < 2.0 and largest[2] < 1e-7)
        row = (mean[0], largest[0], mean[1], largest[1], largest[2])
        table.add_row(str(length), *(f"{value:.2g}" for value in row))
    table.title = f"union of {len(of)} networks against their joint spectra"
    console.print(table)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
