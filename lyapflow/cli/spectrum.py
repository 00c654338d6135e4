"""``lyapflow spectrum``: Lyapunov exponents as a table and a picture."""

import json
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from lyapflow.cli import options
from lyapflow.cli.network import chosen
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.lyapunov.spectrum import Spectrum, lyapunov_spectrum
from lyapflow.runs.files import write_atomically
from lyapflow.runs.random_network import RandomNetwork
from lyapflow.runs.resumable import resumable_spectrum

USUAL, MOST = 2000, 100_000  # steps, and at most until bars are small


def spectrum(
    run: options.TrainedRun = None,
    cell: options.Cell = RandomNetwork.cell,
    units: options.Units = RandomNetwork.units,
    gain: options.Gain = RandomNetwork.gain,
    weights: options.Weights = RandomNetwork.weights,
    leak: options.Leak = None,
    dtype: options.Dtype = RandomNetwork.dtype,
    seed: options.Seed = 0,
    source: options.Input = None,
    steps: options.SpectrumSteps = None,
    name: options.Name = None,
    nonlinearity: options.Nonlinearity = None,
    k: options.SpectrumK = None,
    transient: options.Transient = 100,
    q_transient: options.QTransient = 100,
    t_ons: options.TOns = 1,
    until_stderr: options.UntilStderr = None,
    checkpoint: options.Kept = None,
    csv_file: options.Csv = None,
    json_file: options.Json = None,
    out: options.SpectrumPicture = None,
) -> None:
    """Lyapunov exponents of the network in a run folder or a file, or of a random one, as a table and a picture.

    The options of a random network (--cell, --units, --gain, --weights, --leak, --dtype) are not used with
    a run folder or a file; --name and --nonlinearity are for files."""
    from lyapflow.plotting import spectrum_figure, write_figure

    if out is None:
        out = (
            run / "spectrum.png"
            if run is not None and os.path.isdir(run)
            else Path("lyapflow-spectrum.png")
        )
    random = RandomNetwork(cell, units, gain, weights, dtype, leak)
    network = chosen(run, random, seed, source, name, nonlinearity)
    check_writable(out)
    for path in (csv_file, json_file, checkpoint):
        if path is not None:
            check_writable(path, "checkpoint" if path is checkpoint else "table")
    measure = lyapunov_spectrum if checkpoint is None else partial(resumable_spectrum, checkpoint)
    result = measure(
        network.cell,
        network.input(steps, seed, USUAL if until_stderr is None else MOST),
        k,
        h0=network.h0,
        t_ons=t_ons,
        until_stderr=until_stderr,
        transient=transient,
        q_transient=q_transient,
    )
    title = f"Lyapunov spectrum: {network.title}"
    _print(result, title)
    write_figure(spectrum_figure(result, title), out)
    console.print(f"picture: {out}", soft_wrap=True)
    for path, written in ((csv_file, _csv), (json_file, _json)):
        if path is not None:
            write_atomically(path, written(result, network.title).encode())
            console.print(f"numbers: {path}", soft_wrap=True)


def _csv(result: Spectrum, title: str) -> str:
    rows = zip(range(1, len(result.exponents) + 1), result.exponents, result.stderr)
    lines = [f"{i},{float(value)!r},{float(error)!r}" for i, value, error in rows]
    return "\n".join(["number,exponent,stderr", *lines, ""])


def _json(result: Spectrum, title: str) -> str:
    """Numbers that are not finite are null; exponents of -inf are lost directions, which come last."""

    def numbers(values: Iterable[float]) -> list[float | None]:
        return [float(value) if np.isfinite(value) else None for value in values]

    found = {
        "network": title,
        "exponents": numbers(result.exponents),
        "stderr": numbers(result.stderr),
        "lost": int(np.isneginf(result.exponents).sum()),
        "steps_counted": result.steps_counted,
        "kaplan_yorke_dimension": numbers(
            [result.kaplan_yorke_dimension, result.kaplan_yorke_stderr]
        ),
        "entropy_rate": numbers([result.entropy_rate, result.entropy_rate_stderr]),
    }
    return json.dumps(found, indent=1)


def _print(result: Spectrum, title: str) -> None:
    table = table_of_numbers("i", "λᵢ (nats/step)", "standard error")
    for i, (value, error) in enumerate(zip(result.exponents, result.stderr), 1):
        table.add_row(str(i), f"{value:.5f}", f"{error:.5f}")
    console.print(title, soft_wrap=True)
    console.print(table)
    console.print(f"steps counted          {result.steps_counted}")
    console.print(f"Kaplan-Yorke dimension {result.kaplan_yorke_dimension:.3f}")
    console.print(f"entropy rate           {result.entropy_rate:.5f} nats per step")
