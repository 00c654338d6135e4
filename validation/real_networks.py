"""Published networks read from PyPI's packages, measured, flossed, and run again by the programs they came from.

    python -m pip install ".[torch,keras,onnx]" && python -m validation.real_networks

Downloads packages that are not shipped here to validation/out/real_networks, once and without installing: g2p_en (a
GRU that reads words and one that says their phonemes, 256 units each, plain arrays), silero-vad (an LSTM of 128
units that hears whether somebody speaks, TorchScript and ONNX), Resemblyzer (an LSTM of three layers with 256 units
that tells speakers apart), textgenrnn (a language model of two LSTMs with 128 units, HDF5 in CuDNN's layout, whose
program needs TensorFlow and is written again here) and sleepecg (four GRUs of 8 units that score sleep, a `.keras`
file); and ten seconds of speech from webrtcvad-wheels. Weights are not unpickled; of textgenrnn and webrtcvad-wheels
source archives are read, and pip runs the setup.py of those to learn their names.

Limits, for every network:

- states: those of the original, in float32, on a real input, off by at most 1e-5 of the largest
- written back as it was: the original says what it said, to the bit
- λ₁: the figure noted for it earlier, with an input that was not noted, lies within three standard errors of λ₁ on one
  of the inputs here, or between those of two inputs
- flossed: Σ λ² of the first exponents, on the input it was flossed on, is less than half of what it was
- read again from where it was written: the flossed network, to rounding

and the loss of textgenrnn on five titles is below 1.5 with weights read as CuDNN's, and above 20 read as Keras's;
silero's ONNX holds the TorchScript's weights, and its safetensors others. Exit code 1 if one is passed. How much
flossing changes what the original says is printed, without a limit. Three to five minutes.

The rate of learning of sleepecg's flossing is ten times that of the others, with which its loss had not halved."""

import os
import sys
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.layers import each_layer, split_states
from validation.published import (
    OUT,
    Network,
    g2p,
    resemblyzer,
    silero,
    sleepecg,
    textgenrnn,
)


def largest(cell: Any, x: np.ndarray) -> list[tuple[float, float]]:
    """λ₁ of each layer and its standard error."""
    times = {"transient": 20, "q_transient": min(150, len(x) // 3)}
    spectrum = lf.lyapunov_spectrum(cell, x.astype(float), 4, **times)
    layers = getattr(spectrum, "by_layer", None) or [spectrum]
    return [(of.exponents.max(), of.stderr[of.exponents.argmax()]) for of in layers]


def shown(pairs: list[tuple[float, float]]) -> str:
    return "  ".join(f"{value:.4f} ± {bar:.4f}" for value, bar in pairs)


def measured(network: Network, table: Table) -> bool:
    """A row for each input, and whether the figures noted are found."""
    found = []
    for number, (name, x) in enumerate(network.inputs.items()):
        found.append(largest(network.cell, x))
        first = number == 0
        noted = "  ".join(f"{value:g}" for value in network.noted) if first else ""
        pairs = zip(found[-1], network.noted)
        off = "  ".join(f"{(value - figure) / bar:+.1f}" for (value, bar), figure in pairs)
        row = (network.name if first else "", name, str(len(x)), shown(found[-1]), noted, off)
        table.add_row(*row)
    value, bar = np.moveaxis(np.array(found), 2, 0)
    figures = np.array(network.noted or value[0])
    low, high = (value - 3 * bar).min(axis=0), (value + 3 * bar).max(axis=0)
    return bool(((low <= figures) & (figures <= high)).all())


def flossed_and_back(network: Network, table: Table) -> bool:
    """A row of what flossing does to the original, and whether all of it is within the limits."""
    cell, real = network.cell, next(iter(network.inputs.values()))
    states = lf.trajectory(cell, real.astype(float))
    units = split_states(cell, states)[-1]
    theirs = network.units(real)
    off = float(np.abs(units[:, : theirs.shape[1]] - theirs).max() / np.abs(states).max())
    said = network.says()
    network.write(cell)
    as_before = bool((network.says() == said).all())

    settings: dict[str, Any] = {"k": 4, "q_transient": 50}
    x = real[:250].astype(float)
    flossed, _ = lf.floss(
        cell, lambda epoch: x, epochs=40, optimizer=lf.Adam(network.rate), **settings
    )
    losses = [lf.flossing_value_and_grad(of, x, **settings)[0] for of in (cell, flossed)]
    network.write(flossed)
    read = network.read()
    pairs = zip(each_layer(read), each_layer(flossed))
    arrays = [(a, b) for of in pairs for a, b in zip(*of)]
    back = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in arrays)
    change = network.changed(said, network.says())
    network.write(cell)
    holds = off <= 1e-5 and as_before and losses[1] < losses[0] / 2 and back < 1e-6
    table.add_row(
        network.name,
        f"{off:.0e}",
        str(as_before),
        f"{losses[0]:.2g} to {losses[1]:.2g}",
        shown(largest(flossed, real)),
        f"{back:.0e}",
        change,
    )
    return holds


def main() -> int:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    OUT.mkdir(parents=True, exist_ok=True)
    console, passed = Console(width=200), True
    spectra = Table(
        "network", "input", "steps", "λ₁, of each layer", "noted earlier", "off, in standard errors"
    )
    cures = Table(
        "network",
        "states off",
        "written back",
        "Σ λ², flossed on 250 steps",
        "λ₁ then, on all steps",
        "read again",
        "says otherwise",
    )
    others = Table("else", "found", "as it must be")
    for package in (g2p, silero, resemblyzer, textgenrnn, sleepecg):
        networks, facts = package()
        for network in networks:
            # both, so that a table has all of its rows
            for holds in (measured(network, spectra), flossed_and_back(network, cures)):
                passed &= holds
        for fact in facts:
            passed &= fact.holds
            others.add_row(fact.what, fact.found, str(fact.holds))
    for table in (spectra, cures, others):
        console.print(table)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
