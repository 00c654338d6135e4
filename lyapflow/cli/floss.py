"""``lyapflow floss``: push the exponents of a file's network towards a target, and write it back."""

import os
from typing import Any

import numpy as np

from lyapflow.cells.interface import Cell
from lyapflow.cli import options
from lyapflow.cli.network import Chosen, network_of
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.errors import LyapflowError
from lyapflow.interop.files import check_format, write_network
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import floss as flossed
from lyapflow.learning.recommended import recommended
from lyapflow.learning.streams import stream
from lyapflow.lyapunov.spectrum import lyapunov_spectrum
from lyapflow.progress import counted
from lyapflow.runs.random_network import RandomNetwork


def floss(
    model: options.ModelFile,
    out: options.FlossedModel,
    source: options.Input = None,
    name: options.Name = None,
    nonlinearity: options.Nonlinearity = None,
    k: options.FlossedK = None,
    target: options.Target = 0.0,
    epochs: options.FlossingEpochs = 200,
    steps: options.FlossingSteps = 100,
    batch: options.FlossingBatch = 1,
    lr: options.FlossingRate = 1e-3,
    q_transient: options.FlossTransient = 16,
    seed: options.Seed = 0,
) -> None:
    """Floss the network of a file, and write it as a file of the same kind.

    Each epoch takes random pieces of the input. Shown are the flossed exponents of the whole input,
    before and after."""
    if not os.path.isfile(model):
        raise LyapflowError(
            f"MODEL must be the file of a network, of a run folder its model.safetensors; got {model}"
        )
    check_format(model, out)
    check_writable(out, "network")
    network = network_of(model, RandomNetwork(), seed, source, name, nonlinearity)
    x = network.input(None, seed)
    if len(x) < steps or steps <= q_transient:
        raise LyapflowError(
            f"--steps must be more than --floss-transient, {q_transient}, and at most the input's {len(x)}, got {steps}"
        )
    wanted = recommended(network.cell, floss=True)["flossing"].k if k is None else k
    with counted(console, "flossing") as show:
        after, _ = flossed(
            network.cell,
            lambda epoch: _pieces(x, steps, batch, seed, epoch),
            k=wanted,
            epochs=epochs,
            optimizer=Adam(lr),
            target=target,
            h0=network.h0,
            q_transient=q_transient,
            callbacks=lambda record: show(record.epoch + 1, epochs),
        )
    _print(network, after, x, wanted, q_transient)
    write_network(after, model, out, name)
    console.print(f"network: {out}", soft_wrap=True)


def _pieces(x: np.ndarray, steps: int, batch: int, seed: int, epoch: int) -> np.ndarray:
    """Random pieces (steps, batch, m) of the input, from random sequences where it has several."""
    rng = stream(seed, f"pieces {epoch}")
    sequences = x if x.ndim == 3 else x[:, None]
    starts = rng.integers(len(x) - steps + 1, size=batch)
    which = rng.integers(sequences.shape[1], size=batch)
    return np.stack([sequences[t : t + steps, b] for t, b in zip(starts, which)], axis=1)


def _print(network: Chosen, after: Cell, x: np.ndarray, k: Any, q_transient: int) -> None:
    """The exponents before and after, of the whole input."""
    found = [
        lyapunov_spectrum(cell, x, k, h0=network.h0, q_transient=q_transient)
        for cell in (network.cell, after)
    ]
    table = table_of_numbers("i", "λᵢ before", "± 2 s.e.", "λᵢ after", "± 2 s.e.")
    before, flossed_ones = (zip(of.exponents, 2 * of.stderr) for of in found)
    for i, ((one, its), (other, others)) in enumerate(zip(before, flossed_ones), 1):
        table.add_row(str(i), f"{one:.5f}", f"{its:.5f}", f"{other:.5f}", f"{others:.5f}")
    console.print(f"flossed {network.title}", soft_wrap=True)
    console.print(table)
