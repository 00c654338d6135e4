"""``lyapflow audit``: a certificate of a spectrum, as a table and as JSON."""

import typer

from lyapflow.certificate import DIFFERS, Audit, audit
from lyapflow.cli import options
from lyapflow.cli.network import chosen
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.runs.files import write_atomically
from lyapflow.runs.random_network import RandomNetwork


def audit_command(
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
    to: options.Json = None,
) -> None:
    """Check the spectrum of the network in a run folder or a file, or of a random one: a certificate.

    It compares kernels with differences, the sum of exponents with determinants, and the exponents with those
    of another starting block, of other intervals, of both halves of the run, of float32, and of arbitrary
    precision. The exit code is 1 if a check fails. Options are those of `lyapflow spectrum`."""
    network = chosen(context)
    if to is not None:
        check_writable(to, "certificate")
    found = audit(
        network.cell,
        network.input(steps, seed),
        k,
        h0=network.h0,
        transient=transient,
        q_transient=q_transient,
        t_ons=t_ons,
    )
    _print(found, network.title)
    if to is not None:
        write_atomically(to, found.to_json().encode())
        console.print(f"certificate: {to}", soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)


def _print(found: Audit, title: str) -> None:
    table = table_of_numbers("checked", "error", "limit", "verdict")
    for check in found.checks:
        compared = check.error == check.error
        numbers = [f"{value:.1e}" if compared else "" for value in (check.error, check.limit)]
        style = "bold red" if check.verdict == DIFFERS else None
        table.add_row(check.part, *numbers, check.verdict, style=style)
    console.print(f"Audit of the spectrum: {title}", soft_wrap=True)
    console.print(table)
    for check in found.checks:
        if check.note:
            console.print(f"{check.part}: {check.note}", soft_wrap=True)
    console.print(
        "passed" if found.passed else f"failed: {len(found.failed)} of {len(found.checks)} checks"
    )
