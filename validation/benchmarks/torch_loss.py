"""The flossing loss of PyTorch modules by lyapflow.torch, beside the same loss written in PyTorch
alone.

    python -m pip install ".[torch]" && python -m validation.benchmarks.torch_loss

A loss and its backward pass: nn.RNN and nn.LSTM of n units, k = n / 8 and n / 2 exponents, 55 steps
of one sequence, as in a training loop; float64 and float32, at one thread and at all. PyTorch alone
has eager loops and torch.linalg.qr. Medians of turns. Goals: 8 times as fast up to 64 units, 2.5 at
128. Exit code 1 where one is missed. Five minutes."""

import itertools
import os
import sys
import warnings

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.lyapunov.problem import default_block
from lyapflow.torch import flossing_loss
from validation.benchmarks import torch_peer
from validation.benchmarks.measure import side_by_side

STEPS, INPUTS, ROUNDS = 55, 1, 5
GOALS = {16: 8.0, 64: 8.0, 128: 2.5}  # by units


def calls(make, n: int, k: int, dtype: torch.dtype) -> dict:
    torch.manual_seed(0)
    module = make(INPUTS, n, dtype=dtype)
    cell = lf.from_torch(module)
    x = np.random.default_rng(0).standard_normal((STEPS, INPUTS)).astype(cell.b.dtype)
    given = torch.from_numpy(x)
    block = default_block(len(lf.trajectory(cell, x)[0]), k, cell.b.dtype).T.copy()

    def ours() -> float:
        module.zero_grad()
        loss, _ = flossing_loss(module, given, k)
        loss.backward()
        return loss.item()

    peer = torch_peer.flossing(cell, x, block)
    one, other = ours(), float(peer()[0])
    if not abs(one - other) <= (1e-9 if dtype == torch.float64 else 1e-3) * abs(other):
        raise SystemExit(f"the losses differ: {one} and {other}")
    return {"lyapflow.torch": ours, "torch": peer}


def main() -> int:
    warnings.simplefilter("ignore", lf.LyapflowWarning)  # of short inputs
    table = Table("module", "n", "k", "dtype", "threads", "ours, ms", "torch, ms", "ratio", "goal")
    missed = False
    cases = itertools.product(
        sorted({1, len(os.sched_getaffinity(0))}),
        (torch.nn.RNN, torch.nn.LSTM),
        GOALS,
        (8, 2),
        (torch.float64, torch.float32),
    )
    for threads, make, n, part, dtype in cases:
        torch.set_num_threads(threads)
        lf.set_threads(threads)
        found = side_by_side(calls(make, n, n // part, dtype), ROUNDS)
        ours, peer = found.values()
        missed |= peer / ours < GOALS[n]
        name = str(dtype).removeprefix("torch.")
        numbers = (f"{1000 * ours:.2f}", f"{1000 * peer:.1f}", f"{peer / ours:.1f}")
        row = (make.__name__, n, n // part, name, threads, *numbers, GOALS[n])
        table.add_row(*map(str, row))
    Console().print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
