"""``lyapflow spectrum``: Lyapunov exponents as a table and a picture."""

import os
from pathlib import Path

from lyapflow.cli import options
from lyapflow.cli.network import chosen
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.lyapunov.spectrum import Spectrum, lyapunov_spectrum
from lyapflow.runs.random_network import RandomNetwork


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
    result = lyapunov_spectrum(
        network.cell,
        network.input(steps, seed),
        k,
        h0=network.h0,
        t_ons=t_ons,
        transient=transient,
        q_transient=q_transient,
    )
    title = f"Lyapunov spectrum: {network.title}"
    _print(result, title)
    write_figure(spectrum_figure(result, title), out)
    console.print(f"picture: {out}", soft_wrap=True)


def _print(result: Spectrum, title: str) -> None:
    table = table_of_numbers("i", "λᵢ (nats/step)", "standard error")
    for i, (value, error) in enumerate(zip(result.exponents, result.stderr), 1):
        table.add_row(str(i), f"{value:.5f}", f"{error:.5f}")
    console.print(title, soft_wrap=True)
    console.print(table)
    console.print(f"steps counted          {result.steps_counted}")
    console.print(f"Kaplan-Yorke dimension {result.kaplan_yorke_dimension:.3f}")
    console.print(f"entropy rate           {result.entropy_rate:.5f} nats per step")
