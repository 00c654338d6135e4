"""The command line: parse, call the library, show."""

import functools
import io
import os
import shlex
import signal
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lyapflow
from lyapflow import _checks
from lyapflow.cells.gru import GRU
from lyapflow.cells.interface import sizes
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.relu import ReluRNN
from lyapflow.cells.tanh import TanhRNN
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError, collected_warnings
from lyapflow.learning import tasks
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.history import History
from lyapflow.learning.model import Model
from lyapflow.learning.recommended import recommended
from lyapflow.learning.streams import stream
from lyapflow.learning.training import Training
from lyapflow.lyapunov.spectrum import lyapunov_spectrum
from lyapflow.lyapunov.trajectory import trajectory
from lyapflow.precision.condition import condition_number
from lyapflow.progress import Progress, add_column, long_product
from lyapflow.runs.folder import RunFolder

TASKS: dict[str, Callable[[int], tasks.Task]] = {
    "copy": tasks.DelayedCopy,
    "temporal-xor": tasks.TemporalXOR,
    "binary-xor": tasks.BinaryTemporalXOR,
    "spatial-xor": tasks.SpatialXOR,
}
CELLS: dict[str, Any] = {"tanh": TanhRNN, "relu": ReluRNN, "linear": LinearRNN, "lstm": LSTM, "gru": GRU}
CellName = Literal["tanh", "relu", "linear", "lstm", "gru"]
TaskName = Literal["copy", "temporal-xor", "binary-xor", "spatial-xor"]
InputName = Literal["copy", "temporal-xor", "binary-xor", "spatial-xor", "gaussian", "none"]
Weights = Literal["gaussian", "orthogonal"]
Precision = Literal["float64", "float32"]
When = Literal["none", "before", "during", "throughout"]

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lyapunov spectra of recurrent networks: measured, differentiated by hand, and controlled (flossing).",
)
console = Console(highlight=False, markup=False)

Seed = Annotated[int, typer.Option(min=0, help="Seed of every random number.")]
Cell = Annotated[CellName, typer.Option(help="Kind of network.")]
Units = Annotated[int, typer.Option(min=1, help="Units of the network.")]
Gain = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Gain g of the recurrent weights, whose variance is g²/units; LSTM and GRU draw a gain up to g per gate.",
    ),
]
Kind = Annotated[
    Weights,
    typer.Option(help="Recurrent weights: gaussian or, for tanh and linear, g times a random orthogonal matrix."),
]
Dtype = Annotated[Precision, typer.Option(help="Floating-point numbers of the whole computation.")]
Trained = Annotated[Path | None, typer.Argument(help="Run folder of a network.", show_default="a random network")]
Transient = Annotated[int, typer.Option(min=0, help="First steps, which move the state alone.")]
Source = Annotated[
    InputName | None,
    typer.Option(
        "--input",
        help="Input: that of a task, gaussian with unit variance, or none.",
        show_default="the run's task; binary-xor for a random network",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what the run folder holds.")]


def _random_cell(
    name: str, units: int, inputs: int, rng: np.random.Generator, gain: float, weights: str, dtype: Any
) -> Any:
    options = {"weights": weights} if name in ("tanh", "linear") else {}
    if weights != "gaussian" and not options:
        raise LyapflowError(f"--weights {weights} is for tanh and linear networks, got --cell {name}")
    return CELLS[name].random(units, inputs, rng=rng, g=gain, dtype=dtype, **options)


def _exponents(model: Model, task: tasks.Task, seed: Any) -> np.ndarray:
    """The whole spectrum under the task's input; NaN where states do not stay finite."""
    x = task.inputs(stream(seed, "picture"), 400, 1, model.h0.dtype)[:, 0]
    try:
        with collected_warnings():  # of error bars, which nobody will see
            return lyapunov_spectrum(model.cell, x, h0=model.h0, q_transient=100).exponents
    except Diverged:
        return np.full(model.h0.shape, np.nan)


def _print_summary(runs: Mapping[str, tuple[History, np.ndarray]], before: np.ndarray) -> None:
    from lyapflow.plotting import WINDOW, smooth

    table = Table(box=None, pad_edge=False)
    for name in ("network", "loss", "accuracy", "95 % at epoch", "λ₁ before", "λ₁ after", "‖dL/dh₀‖"):
        add_column(table, name)
    for label, (history, exponents) in runs.items():
        log = history.training
        score = smooth(log["accuracy"]) if len(log) else np.array([np.nan])
        reached = np.flatnonzero(score >= 0.95)
        table.add_row(
            Text(label),
            f"{smooth(log['loss'])[-1]:.4f}" if len(log) else "",
            "" if np.isnan(score[-1]) else f"{100 * score[-1]:.1f} %",
            "" if np.isnan(score[-1]) else str(reached[0] + 1) if reached.size else "never",
            f"{before[0]:.3f}",
            "diverged" if np.isnan(exponents[0]) else f"{exponents[0]:.3f}",
            f"{np.median(log['h0_gradient_norm']):.1e}" if len(log) else "",
        )
    console.print(table)
    console.print(f"means of the last {WINDOW} epochs; λ in nats per step; ‖dL/dh₀‖: median of all epochs")


def _writable(path: Path) -> None:
    try:
        if not path.parent.is_dir():
            raise LyapflowError(f"the picture's folder must exist, got {path.parent}")
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(path).st_mode):
                raise LyapflowError(f"the picture must be a file, {path} is a folder")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise LyapflowError(f"cannot write the picture {path}: {error.strerror}") from None


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Picture to write (PNG); an old one is replaced.")] = Path(
        "lyapflow-demo.png"
    ),
    seed: Seed = 0,
) -> None:
    """Train two networks from the same seed, one flossed and one not, and show the difference.

    Binary temporal XOR with a delay of 40 steps, 80 tanh units, 800 epochs, five episodes of flossing. About a minute.
    """
    from lyapflow.plotting import Shown, training_figure, write_figure

    _writable(out)
    epochs, delay = 800, 40
    task = tasks.BinaryTemporalXOR(delay)
    rng = stream(seed, "weights")
    model = Model.random(TanhRNN.random(80, task.n_inputs, rng=rng), task.n_outputs, rng=rng)
    flossings = {"with flossing": Flossing(), "without flossing": None}
    work = {name: epochs + (len(f.at) * f.epochs if f else 0) for name, f in flossings.items()}
    console.print(f"Binary temporal XOR, delay {delay}: is bit t-{delay // 2} different from bit t-{delay}?")
    console.print("A first run compiles for some twenty seconds. λ₁ @ 50: measured at epoch 50.")
    stop = threading.Event()
    with Progress(console, work, epochs) as display, ThreadPoolExecutor(len(flossings)) as pool:

        def run(name: str) -> tuple[Model, History, np.ndarray]:
            trained, history = lyapflow.train(
                model,
                task,
                epochs=epochs,
                seed=seed,
                flossing=flossings[name],
                measure_every=50,
                callbacks=(display.callback(name), lambda record: stop.is_set()),
            )
            return trained, history, _exponents(trained, task, seed)

        try:
            futures = {name: pool.submit(run, name) for name in flossings}
            runs = {name: future.result() for name, future in futures.items()}
        except BaseException:
            stop.set()
            raise
    before = _exponents(model, task, seed)
    _print_summary({name: (history, exponents) for name, (_, history, exponents) in runs.items()}, before)
    for name, (trained, _, _) in runs.items():
        console.print(f"digest of the weights {name}: {lyapflow.digest(trained)}")
    shown = {name: Shown(history, exponents) for name, (_, history, exponents) in runs.items()}
    title = f"Binary temporal XOR over {delay} steps: the same tanh network (80 units), with and without flossing"
    write_figure(training_figure(shown, before, title), out)
    console.print(f"picture: {out}   ({display.seconds():.0f} s)")


@app.command()
def train(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run folder to write: settings, history, weights, picture.")],
    task: Annotated[TaskName, typer.Option(help="Task.")] = "binary-xor",
    delay: Annotated[
        int, typer.Option(min=1, help="Delay of the task, in steps; even for the two temporal XORs.")
    ] = 40,
    cell: Cell = "tanh",
    units: Units = 80,
    gain: Gain = 1.0,
    weights: Kind = "gaussian",
    dtype: Dtype = "float64",
    seed: Seed = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs, one update each.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Length of a training sequence, in steps.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Sequences per training epoch.")] = 16,
    lr: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Learning rate of Adam, for training.", show_default="0.001; for lstm and gru 0.003"
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Bound on the norm of each array's gradient; 0: none.",
            show_default="0.03; for lstm and gru 1",
        ),
    ] = None,
    floss: Annotated[
        When | None,
        typer.Option(
            help="Flossing episodes: none; before training; during it, at epochs 0, 100, …, 400; "
            "throughout, every 100 epochs.",
            show_default="during; for lstm and gru none",
        ),
    ] = None,
    floss_at: Annotated[
        str | None, typer.Option(help="Epochs to floss before, such as 0,500.", show_default="by --floss")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=1,
            help="Exponents to floss.",
            show_default="75, or the units of a smaller network; for relu and gru a twentieth of its units, for lstm "
            "an eighth",
        ),
    ] = None,
    floss_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Flossing epochs of an episode.", show_default="500; for lstm and gru 200"),
    ] = None,
    floss_steps: Annotated[int, typer.Option(min=1, help="Steps of a flossing epoch, transient included.")] = 55,
    floss_transient: Annotated[
        int, typer.Option(min=0, help="First steps of these, which move state and tangent vectors but do not count.")
    ] = 16,
    floss_lr: Annotated[float, typer.Option(min=0.0, help="Learning rate of Adam, for flossing.")] = 1e-3,
    target: Annotated[float, typer.Option(help="Exponents to floss towards, in nats per step.")] = 0.0,
    t_ons: Annotated[int, typer.Option(min=1, help="Steps between reorthonormalisations.")] = 1,
    measure_every: Annotated[
        int,
        typer.Option(
            min=1, help="Epochs between measurements of test loss, singular values of dL/dW and the whole spectrum."
        ),
    ] = 100,
    stop_at: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Stop when the mean accuracy of 20 epochs reaches this, a share of 1.",
            show_default="never",
        ),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after so many minutes.", show_default="never")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0.0, help="Time between checkpoints, at least; longer where they would take over 1 %.")
    ] = 10.0,
    checkpoint_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Write one after every so many epochs instead.", show_default="by time"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run of the folder from its last checkpoint, by its own settings."
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Train a network on a task, with flossing, and keep the run in a folder, from which it can go on.

    A first Ctrl-C, or SIGTERM, ends the run after its epoch; --resume goes on with it, to the same bits.
    """
    from lyapflow.plotting import WINDOW, Shown, training_figure, write_figure

    checkpoints: dict[str, Any] = {"checkpoint_seconds": checkpoint_seconds, "checkpoint_epochs": checkpoint_epochs}
    recorded = History()
    if resume:
        _only_given(
            context,
            "--resume goes on by the settings of the run",
            "run",
            "resume",
            "stop_at",
            "time_limit",
            *checkpoints,
        )
        folder = RunFolder(run)
        training, start, recorded = folder.training(), folder.start(), folder.history()
        if isinstance(start, Ensemble):
            raise LyapflowError(f"{run} is the run of an ensemble; go on with it from Python, lyapflow.resume(...)")
        go: Callable[..., tuple[Any, History]] = functools.partial(lyapflow.resume, run, **checkpoints)
    else:
        chosen = TASKS[task](delay)
        if steps <= delay:
            raise LyapflowError(f"--steps must be more than the delay, got {steps} steps with a delay of {delay}")
        rng = stream(seed, "weights")
        network = _random_cell(cell, units, chosen.n_inputs, rng, gain, weights, dtype)
        start = Model.random(network, chosen.n_outputs, rng=rng)
        if k is not None and k > len(start.h0):
            raise LyapflowError(
                f"--k must be between 1 and {len(start.h0)}, the length of the network's state, got {k}"
            )
        flossing, adam = recommended(network, floss=True).values()
        advised = flossing.at if recommended(network)["flossing"] else ()
        episodes = _episodes(floss, floss_at, epochs, advised)
        schedule = replace(
            flossing,
            k=flossing.k if k is None else k,
            epochs=flossing.epochs if floss_epochs is None else floss_epochs,
            steps=floss_steps,
            q_transient=floss_transient,
            at=episodes,
            optimizer=Adam(floss_lr),
            target=target,
            t_ons=t_ons,
        )
        optimizer = Adam(
            adam.lr if lr is None else lr,
            clip_norm=adam.clip_norm if clip is None else clip or None,  # 0: none
        )
        training = Training(
            chosen, epochs, seed, schedule if episodes else None, steps, batch, optimizer, measure_every
        )
        about = {"cell": cell, "units": units, "gain": gain, "weights": weights, "dtype": dtype}
        go = functools.partial(
            lyapflow.train, start, **vars(training), folder=run, force=force, about=about, **checkpoints
        )
    if time_limit is not None:
        _checks.number("--time-limit", time_limit, 0.0)
    if stop_at is not None:
        _checks.number("--stop-at", stop_at, 0.0, 1.0)
        if training.task.loss != "cross_entropy":
            raise LyapflowError("--stop-at needs a task with an accuracy, binary-xor or spatial-xor")
    flossed = (
        training.flossing.epochs * sum(at < training.epochs for at in training.flossing.at) if training.flossing else 0
    )
    left = training.epochs + flossed - len(recorded.training) - len(recorded.flossing)
    label = run.resolve().name
    reason = ""

    def stop(record: Any) -> bool:
        nonlocal reason
        getattr(recorded, record.kind).append(record)
        last = recorded.training[-WINDOW:]
        if stop_at is not None and len(last) == WINDOW and float(last["accuracy"].mean()) >= stop_at:
            reason = f"accuracy {stop_at:g}"
        if time_limit is not None and display.seconds() >= 60 * time_limit:
            reason = f"time limit of {time_limit:g} minutes"
        if signals:
            reason = signal.Signals(signals[0]).name
        return bool(reason)

    how = f"go on with it: lyapflow train --resume {shlex.quote(str(run))}"
    with _end_on_signal() as signals:
        try:
            with Progress(console, {label: left}, training.epochs) as display:
                trained, history = go(callbacks=(display.callback(label), stop))
        except LyapflowError as error:
            if isinstance(error, Diverged):
                print(f"lyapflow: the run folder {run} holds the last good epoch", file=sys.stderr)
            raise
        except BaseException as error:
            print(f"lyapflow: the run folder {run} holds the last whole epoch; {how}", file=sys.stderr)
            if signals and isinstance(error, KeyboardInterrupt):
                raise typer.Exit(128 + signals[0]) from None
            raise
        if reason:
            console.print(f"stopped after {len(history.training)} training epochs: {reason}; {how}", soft_wrap=True)
            if signals:
                raise typer.Exit(128 + signals[0])
        before, after = (_exponents(model, training.task, training.seed) for model in (start, trained))
        kind = next(name for name, cls in CELLS.items() if isinstance(trained.cell, cls))
        title = f"{training.task}, {sizes(trained.cell).units} {kind} units, seed {training.seed}"
        write_figure(training_figure({"network": Shown(history, after)}, before, title), run / "picture.png")
        _print_summary({label: (history, after)}, before)
        console.print(f"run folder: {run}   ({display.seconds():.0f} s)", soft_wrap=True)
        console.print(f"digest of the weights: {lyapflow.digest(trained)}")


def _only_given(context: typer.Context, rule: str, *names: str) -> None:
    """Refuse options on the command line but those of these names."""
    for name in context.params.keys() - set(names):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LyapflowError(f"{rule}; leave out --{name.replace('_', '-')}")


@contextmanager
def _end_on_signal() -> Iterator[list[int]]:
    """The signals that ask a run to end after its epoch, as they come; a second one ends it at once."""
    came: list[int] = []

    def take(number: int, _: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _integers(option: str, text: str, what: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise LyapflowError(f"{option} must be {what} separated by commas, got {text!r}") from None


def _episodes(floss: When | None, floss_at: str | None, epochs: int, advised: Sequence[int]) -> tuple[int, ...]:
    if floss_at is not None:
        episodes = _integers("--floss-at", floss_at, "epochs")
        if not 0 <= min(episodes) <= max(episodes) < epochs:
            raise LyapflowError(f"--floss-at must be epochs from 0 to {epochs - 1}, got {floss_at}")
        return episodes
    every = {"none": (), "before": (0,), "during": range(0, 500, 100), "throughout": range(0, epochs, 100)}
    return tuple(advised if floss is None else every[floss])


@app.command()
def spectrum(
    run: Trained = None,
    cell: Cell = "tanh",
    units: Units = 80,
    gain: Gain = 1.0,
    weights: Kind = "gaussian",
    dtype: Dtype = "float64",
    seed: Seed = 0,
    source: Source = None,
    steps: Annotated[int, typer.Option(min=1, help="Length of the input, in steps, transients included.")] = 2000,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Number of exponents.", show_default="all")] = None,
    transient: Transient = 100,
    q_transient: Annotated[int, typer.Option(min=0, help="Next steps, which also align the tangent block.")] = 100,
    t_ons: Annotated[int, typer.Option(min=1, help="Steps between reorthonormalisations.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Picture to write (PNG); an old one is replaced.",
            show_default="RUN/spectrum.png; lyapflow-spectrum.png for a random network",
        ),
    ] = None,
) -> None:
    """Lyapunov exponents of the network in a run folder, or of a random one, as a table and a picture.

    The options of a random network (--cell, --units, --gain, --weights, --dtype) are not used with a run folder.
    """
    from lyapflow.plotting import spectrum_figure, write_figure

    if out is None:
        out = Path("lyapflow-spectrum.png") if run is None else run / "spectrum.png"
    network, h0, name, what = _chosen(run, cell, units, gain, weights, dtype, seed, source)
    _writable(out)
    x = _input(name, steps, sizes(network).inputs, network[0].dtype, seed)
    result = lyapunov_spectrum(network, x, k, h0=h0, t_ons=t_ons, transient=transient, q_transient=q_transient)
    table = Table(box=None, pad_edge=False)
    for column in ("i", "λᵢ (nats/step)", "standard error"):
        table.add_column(column, justify="right")
    for i, (value, error) in enumerate(zip(result.exponents, result.stderr), 1):
        table.add_row(str(i), f"{value:.5f}", f"{error:.5f}")
    title = f"Lyapunov spectrum: {what}, input {name}"
    console.print(title, soft_wrap=True)
    console.print(table)
    console.print(f"steps counted          {result.steps_counted}")
    console.print(f"Kaplan-Yorke dimension {result.kaplan_yorke_dimension:.3f}")
    console.print(f"entropy rate           {result.entropy_rate:.5f} nats per step")
    write_figure(spectrum_figure(result, title), out)
    console.print(f"picture: {out}", soft_wrap=True)


@app.command()
def condition(
    run: Trained = None,
    cell: Cell = "tanh",
    units: Units = 80,
    gain: Gain = 1.0,
    weights: Kind = "gaussian",
    dtype: Dtype = "float64",
    seed: Seed = 0,
    source: Source = None,
    steps: Annotated[str, typer.Option(help="Steps of the products, separated by commas.")] = "1,2,5,10,20,50,100",
    m: Annotated[
        int | None,
        typer.Option("--m", min=1, help="Columns of a random orthonormal block to multiply.", show_default="all of T"),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(help="Precision of the products.", show_default="as many as it takes")
    ] = None,
    transient: Transient = 100,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Picture to write (PNG); an old one is replaced.",
            show_default="RUN/condition.png; lyapflow-condition.png for a random network",
        ),
    ] = None,
) -> None:
    """Condition number of the long-term Jacobian, in arbitrary precision, beside what Lyapunov exponents predict.

    Of the network in a run folder, or of a random one; the options of a random network (--cell, --units, --gain,
    --weights, --dtype) are not used with a run folder. The exponents are those of at least 1000 steps.
    """
    from lyapflow.plotting import condition_figure, write_figure

    if out is None:
        out = Path("lyapflow-condition.png") if run is None else run / "condition.png"
    wanted = sorted(set(_integers("--steps", steps, "numbers of steps")))
    if wanted[0] < 0:
        raise LyapflowError(f"--steps must be numbers of steps from 0 on, got {steps}")
    network, h0, name, what = _chosen(run, cell, units, gain, weights, dtype, seed, source)
    _writable(out)
    x = _input(name, transient + max(1000, wanted[-1]), sizes(network).inputs, network[0].dtype, seed)
    if transient:
        h0 = trajectory(network, x[:transient], h0)[-1]
    with long_product(console, wanted[-1]) as progress:
        found = condition_number(network, x[transient:], steps=wanted, h0=h0, m=m, bits=bits, progress=progress)
    table = Table(box=None, pad_edge=False)
    for column in ("t - τ", "log κ", "predicted", "log₁₀ κ", "rank", "relative error"):
        table.add_column(column, justify="right")
    for t, log_kappa, predicted, rank, error in zip(
        found.steps, found.log_kappa, found.predicted, found.rank, found.error
    ):
        seen = [f"{log_kappa:.4f}", f"{log_kappa / np.log(10):.4f}", f"{error:.1e}"]
        natural, decimal, bound = ["out of sight", "", ""] if np.isnan(log_kappa) else seen
        table.add_row(str(t), natural, f"{predicted:.4f}", decimal, str(rank), bound)
    title = f"Condition number of the long-term Jacobian: {what}, input {name}"
    console.print(title, soft_wrap=True)
    console.print(table)
    console.print(
        f"{found.bits} bits; errors {'proved' if found.proved else 'estimated (python-flint would prove them)'}"
    )
    if found.reason:
        console.print(found.reason)
    write_figure(condition_figure(found, title), out)
    console.print(f"picture: {out}", soft_wrap=True)


def _chosen(
    run: Path | None, cell: str, units: int, gain: float, weights: str, dtype: Any, seed: int, source: str | None
) -> tuple[Any, np.ndarray, str, str]:
    """Network, state, name of the input and a description: of a run folder, or random."""
    if run is None:
        name = source or "binary-xor"
        inputs = TASKS[name](2).n_inputs if name in TASKS else int(name == "gaussian")
        network = _random_cell(cell, units, inputs, stream(seed, "weights"), gain, weights, dtype)
        h0 = stream(seed, "state").standard_normal(sizes(network).state).astype(network.b.dtype)
        return network, h0, name, f"random {cell} network, {units} units, g = {gain:g}, {weights} weights"
    folder = RunFolder(run)
    model = folder.model()
    if isinstance(model, Ensemble):
        raise LyapflowError(f"{run} is the run of an ensemble; take one of its networks from Python")
    if source is None:
        used = type(folder.training().task)
        source = next(name for name, cls in TASKS.items() if cls is used)
    return model.cell, model.h0, source, f"network of {run}"


def _input(name: str, steps: int, m: int, dtype: np.dtype, seed: int) -> np.ndarray:
    _checks.affordable(f"an input of {steps} steps", steps * max(1, m))
    if name == "none":
        return np.zeros((steps, m), dtype)
    rng = stream(seed, "input")
    if name == "gaussian":
        return rng.standard_normal((steps, m)).astype(dtype)
    task = TASKS[name](2)
    if task.n_inputs != m:
        raise LyapflowError(f"the network takes {m} inputs, {name} has {task.n_inputs}; choose another with --input")
    return task.inputs(rng, steps, 1, dtype)[:, 0]


@app.callback()
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if show:
        console.print(lyapflow.__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; errors of the user's making are one line and exit code 2, a run that diverged exits with 1."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # λ and ‖ must not end a run where the terminal lacks them
    warnings.showwarning = lambda message, *_: print(f"lyapflow: {message}", file=sys.stderr)
    try:
        app()
    except Diverged as error:
        sys.exit(_complain(error, 1))
    except LyapflowError as error:
        sys.exit(_complain(error, 2))
    except MemoryError as error:
        sys.exit(_complain(error, 1))


def _complain(error: Exception, code: int) -> int:
    print(f"lyapflow: {error}", file=sys.stderr)
    return code
