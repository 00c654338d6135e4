"""``lyapflow condition``: condition numbers of long-term Jacobians as a table and a picture."""

import numpy as np
import typer

from lyapflow import _checks
from lyapflow.cli import options
from lyapflow.cli.network import chosen, picture_of
from lyapflow.cli.show import console, table_of_numbers
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.trajectory import trajectory
from lyapflow.precision.condition import ConditionNumber, condition_number
from lyapflow.progress import long_product
from lyapflow.runs.random_network import RandomNetwork


def condition(
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
    steps: options.ConditionSteps = "1,2,5,10,20,50,100",
    m: options.Columns = None,
    bits: options.Bits = None,
    transient: options.Transient = 100,
    name: options.Name = None,
    nonlinearity: options.Nonlinearity = None,
    out: options.ConditionPicture = None,
    no_picture: options.NoPicture = False,
) -> None:
    """Condition number of the long-term Jacobian, in arbitrary precision, and the one that Lyapunov exponents predict.

    The network comes from a run folder or a file, or is random: --cell, --units, --gain, --weights, --leak and
    --dtype are for random networks, --name and --nonlinearity for files. Exponents are measured over at least
    1000 steps, or over the whole input file."""
    wanted = sorted(set(_checks.integers("--steps", steps, "numbers of steps")))
    if wanted[0] < 0:
        raise LyapflowError(f"--steps must be numbers of steps from 0 on, got {steps}")
    network = chosen(context)
    place = picture_of(context, "condition")
    x, h0 = network.input(None, seed, transient + max(1000, wanted[-1])), network.h0
    if x.ndim == 3 or len(x) < transient + wanted[-1]:
        raise LyapflowError(
            f"the input must be one sequence (T, m) of at least {transient + wanted[-1]} steps, got shape {x.shape}"
        )
    if transient:
        h0 = trajectory(network.cell, x[:transient], h0)[-1]
    with long_product(console, wanted[-1]) as progress:
        found = condition_number(
            network.cell, x[transient:], steps=wanted, h0=h0, m=m, bits=bits, progress=progress
        )
    title = f"Condition number of the long-term Jacobian: {network.title}"
    _print(found, title)
    if place is not None:
        from lyapflow.plotting import condition_figure, write_figure

        write_figure(condition_figure(found, title), place)
        console.print(f"picture: {place}", soft_wrap=True)


def _print(found: ConditionNumber, title: str) -> None:
    table = table_of_numbers("t - τ", "log κ", "predicted", "log₁₀ κ", "rank", "relative error")
    for t, log_kappa, predicted, rank, error in zip(
        found.steps, found.log_kappa, found.predicted, found.rank, found.error
    ):
        seen = [f"{log_kappa:.4f}", f"{log_kappa / np.log(10):.4f}", f"{error:.1e}"]
        natural, decimal, bound = ["out of sight", "", ""] if np.isnan(log_kappa) else seen
        table.add_row(str(t), natural, f"{predicted:.4f}", decimal, str(rank), bound)
    console.print(title, soft_wrap=True)
    console.print(
        "κ: largest over smallest singular value of the product of t - τ Jacobians; "
        "predicted: (λ₁ - λₘ)(t - τ), as log κ",
        soft_wrap=True,
    )
    console.print(table)
    proof = "proved" if found.proved else "estimated (python-flint would prove them)"
    console.print(f"{found.bits} bits; errors {proof}")
    if found.reason:
        console.print(found.reason)
