"""``lyapflow train``: a training run in a folder, from which it can go on."""

import functools
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import typer

import lyapflow
from lyapflow import _checks
from lyapflow.cells.interface import sizes
from lyapflow.cells.registry import CELLS
from lyapflow.cli import options, settings
from lyapflow.cli.network import RandomNetwork
from lyapflow.cli.progress import Progress, updates
from lyapflow.cli.show import console, exponents, print_summary
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.history import History
from lyapflow.learning.model import Model
from lyapflow.learning.stopping import AccuracyReached, StopRule, TimeLimit
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import TASKS
from lyapflow.learning.training import Training
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.signals import EndOnSignal


@dataclass(frozen=True)
class Run:
    """A run that is about to begin, or to go on.

    Attributes
    ----------
    folder : Path
    training : Training
    start : Model
        Before the first epoch.
    recorded : History
        Of the epochs that are done.
    go : callable
        Takes callbacks, and does the epochs that are left.
    """

    folder: Path
    training: Training
    start: Model
    recorded: History
    go: Callable[..., tuple[Model, History]]

    @property
    def label(self) -> str:
        return self.folder.resolve().name

    @property
    def left(self) -> int:
        """Training and flossing epochs that are not done yet."""
        done = len(self.recorded.training) + len(self.recorded.flossing)
        return updates(self.training.epochs, self.training.flossing) - done

    @property
    def advice(self) -> str:
        return f"go on with it: lyapflow train --resume {shlex.quote(str(self.folder))}"


def train(
    context: typer.Context,
    run: options.Run,
    task: options.Task = "binary-xor",
    delay: options.Delay = 40,
    cell: options.Cell = RandomNetwork.cell,
    units: options.Units = RandomNetwork.units,
    gain: options.Gain = RandomNetwork.gain,
    weights: options.Weights = RandomNetwork.weights,
    dtype: options.Dtype = RandomNetwork.dtype,
    seed: options.Seed = 0,
    epochs: options.Epochs = 1000,
    steps: options.Steps = Training.T,
    batch: options.Batch = Training.batch,
    lr: options.LearningRate = None,
    clip: options.Clip = None,
    floss: options.Floss = None,
    floss_at: options.FlossAt = None,
    k: options.FlossK = None,
    floss_epochs: options.FlossEpochs = None,
    floss_steps: options.FlossSteps = Flossing.steps,
    floss_transient: options.FlossTransient = Flossing.q_transient,
    floss_lr: options.FlossLearningRate = cast(float, Adam.lr),
    target: options.Target = 0.0,
    t_ons: options.TOns = Flossing.t_ons,
    measure_every: options.MeasureEvery = 100,
    stop_at: options.StopAt = None,
    time_limit: options.TimeLimit = None,
    checkpoint_seconds: options.CheckpointSeconds = 10.0,
    checkpoint_epochs: options.CheckpointEpochs = None,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Train a network on a task, with flossing, and keep the run in a folder, from which it can go on.

    A first Ctrl-C, or SIGTERM, ends the run after its epoch; --resume goes on with it, to the same
    bits."""
    checkpoints: dict[str, Any] = {
        "checkpoint_seconds": checkpoint_seconds,
        "checkpoint_epochs": checkpoint_epochs,
    }
    if resume:
        _only_given(context, "run", "resume", "stop_at", "time_limit", *checkpoints)
        _train_and_show(_resumed(run, **checkpoints), stop_at, time_limit)
        return
    chosen = settings.task(task, delay, steps)
    network, rng = RandomNetwork(cell, units, gain, weights, dtype), stream(seed, "weights")
    start = Model.random(network.draw(chosen.n_inputs, rng), chosen.n_outputs, rng=rng)
    flossing = settings.flossing(
        start,
        epochs,
        floss,
        floss_at,
        k=k,
        epochs=floss_epochs,
        steps=floss_steps,
        q_transient=floss_transient,
        optimizer=Adam(floss_lr),
        target=target,
        t_ons=t_ons,
    )
    optimizer = settings.optimizer(start.cell, lr, clip)
    training = Training(chosen, epochs, seed, flossing, steps, batch, optimizer, measure_every)
    kept: dict[str, Any] = {"folder": run, "force": force, "about": asdict(network)}
    go = functools.partial(lyapflow.train, start, **vars(training), **kept, **checkpoints)
    _train_and_show(Run(run, training, start, History(), go), stop_at, time_limit)


def _only_given(context: typer.Context, *names: str) -> None:
    """Refuse options on the command line but those of these names."""
    for name in context.params.keys() - set(names):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LyapflowError(
                f"--resume goes on by the settings of the run; leave out --{name.replace('_', '-')}"
            )


def _resumed(path: Path, **checkpoints: Any) -> Run:
    folder = RunFolder(path)
    training, start, recorded = folder.training(), folder.start(), folder.history()
    if isinstance(start, Ensemble):
        raise LyapflowError(
            f"{path} is the run of an ensemble; go on with it from Python, lyapflow.resume(...)"
        )
    go = functools.partial(lyapflow.resume, path, **checkpoints)
    return Run(path, training, start, recorded, go)


def _stop_rules(run: Run, stop_at: float | None, time_limit: float | None) -> list[StopRule]:
    """What may end the run early; the clock of a time limit starts here."""
    rules: list[StopRule] = []
    if time_limit is not None:
        rules.append(TimeLimit(_checks.number("--time-limit", time_limit, 0.0)))
    if stop_at is not None:
        goal = _checks.number("--stop-at", stop_at, 0.0, 1.0)
        if run.training.task.loss != "cross_entropy":
            graded = [name for name, kind in TASKS.items() if kind(2).loss == "cross_entropy"]
            raise LyapflowError(f"--stop-at needs a task with an accuracy, {' or '.join(graded)}")
        rules.append(AccuracyReached(goal, before=run.recorded.training))
    return rules


def _train_and_show(run: Run, stop_at: float | None, time_limit: float | None) -> None:
    rules = _stop_rules(run, stop_at, time_limit)
    with EndOnSignal() as signals:
        stops: list[StopRule] = [signals, *rules]  # of several reasons the first is told
        display = Progress(console, {run.label: run.left}, run.training.epochs)
        with _advice_on_errors(run, signals), display:
            trained, history = run.go(callbacks=(display.callback(run.label), *stops))
        reason = next((rule.reason for rule in stops if rule.reason), "")
        if reason:
            done = len(history.training)
            console.print(
                f"stopped after {done} training epochs: {reason}; {run.advice}", soft_wrap=True
            )
            if signals.first is not None:
                raise typer.Exit(128 + signals.first)
        _show(run, trained, history, display.seconds())


@contextmanager
def _advice_on_errors(run: Run, signals: EndOnSignal) -> Iterator[None]:
    """Say what is left of a run that ends with an error."""
    try:
        yield
    except LyapflowError as error:
        if isinstance(error, Diverged):
            print(
                f"lyapflow: the run folder {run.folder} holds the last good epoch", file=sys.stderr
            )
        raise
    except BaseException as error:
        words = f"lyapflow: the run folder {run.folder} holds the last whole epoch; {run.advice}"
        print(words, file=sys.stderr)
        if signals.first is not None and isinstance(error, KeyboardInterrupt):
            raise typer.Exit(128 + signals.first) from None
        raise


def _show(run: Run, trained: Model, history: History, seconds: float) -> None:
    from lyapflow.plotting import Shown, training_figure, write_figure

    training = run.training
    before, after = (
        exponents(model, training.task, training.seed) for model in (run.start, trained)
    )
    kind = next(name for name, cls in CELLS.items() if isinstance(trained.cell, cls))
    title = f"{training.task}, {sizes(trained.cell).units} {kind} units, seed {training.seed}"
    figure = training_figure({"network": Shown(history, after)}, before, title)
    write_figure(figure, run.folder / "picture.png")
    print_summary({run.label: (history, after)}, before)
    console.print(f"run folder: {run.folder}   ({seconds:.0f} s)", soft_wrap=True)
    console.print(f"digest of the weights: {lyapflow.digest(trained)}")
