"""``lyapflow spectrum``: Lyapunov exponents as a table and a picture."""

import json
from collections.abc import Iterable
from functools import partial

import numpy as np
import typer

from lyapflow.cli import options
from lyapflow.cli.network import chosen, picture_of
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.lyapunov.presented import with_bar
from lyapflow.lyapunov.spectrum import Spectrum, lyapunov_spectrum
from lyapflow.progress import counted
from lyapflow.runs.files import write_atomically
from lyapflow.runs.random_network import RandomNetwork
from lyapflow.runs.resumable import resumable_spectrum

USUAL, MOST = 2000, 100_000  # steps, and at most until bars are small
FIRST, LAST = 10, 3  # exponents that are shown of many
NEEDS_MORE = "not known from so few exponents; ask for a larger --k"


def spectrum(
    context: typer.Context,
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
    every: options.All = False,
    csv_file: options.Csv = None,
    json_file: options.Json = None,
    out: options.SpectrumPicture = None,
    no_picture: options.NoPicture = False,
) -> None:
    """Lyapunov exponents of the network in a run folder or a file, or of a random one, as a table and a picture.

    --cell, --units, --gain, --weights, --leak and --dtype are for random networks, --name and --nonlinearity
    for files."""
    network = chosen(context)
    place = picture_of(context, "spectrum")
    for path in (csv_file, json_file, checkpoint):
        if path is not None:
            check_writable(path, "checkpoint" if path is checkpoint else "table")
    with counted(console, "steps") as watch:
        measure = (
            lyapunov_spectrum if checkpoint is None else partial(resumable_spectrum, checkpoint)
        )
        result = measure(
            network.cell,
            network.input(steps, seed, USUAL if until_stderr is None else MOST),
            k,
            h0=network.h0,
            t_ons=t_ons,
            until_stderr=until_stderr,
            transient=transient,
            q_transient=q_transient,
            progress=watch,
        )
    title = f"Lyapunov spectrum: {network.title}"
    _print(result, title, every)
    if place is not None:
        from lyapflow.plotting import spectrum_figure, write_figure

        write_figure(spectrum_figure(result, title), place)
        console.print(f"picture: {place}", soft_wrap=True)
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


def _print(result: Spectrum, title: str, every: bool) -> None:
    """Exponents with two standard errors: all, or the first, the last, and how many are between."""
    there = int(np.isfinite(result.exponents).sum())
    shown = list(range(there))
    if not every and there > FIRST + LAST + 1:
        del shown[FIRST:-LAST]
    table = table_of_numbers("i", "λᵢ (nats/step)", "± 2 standard errors")
    for i in shown:
        if i == there - LAST and len(shown) < there:
            table.add_row("...", f"{there - len(shown)} more", "--all shows them")
        value, bar = with_bar(result.exponents[i], result.stderr[i])
        table.add_row(str(i + 1), value, bar)
    console.print(title, soft_wrap=True)
    console.print(table)
    lost = len(result.exponents) - there
    dimension = " ± ".join(with_bar(result.kaplan_yorke_dimension, result.kaplan_yorke_stderr))
    entropy = " ± ".join(with_bar(result.entropy_rate, result.entropy_rate_stderr))
    lines = {
        "steps counted": str(result.steps_counted),
        "Kaplan-Yorke dimension": dimension if dimension[0] != "n" else NEEDS_MORE,
        "entropy rate": f"{entropy} nats per step" if entropy[0] != "n" else NEEDS_MORE,
    }
    if lost:
        lines = {"exponents of -inf": f"{lost}, directions that are lost at once"} | lines
    for name, said in lines.items():
        console.print(f"{name:22} {said}", soft_wrap=True)
