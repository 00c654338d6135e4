"""``lyapflow train``: a training run in a folder, from which it can go on."""

import functools
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import typer

import lyapflow
from lyapflow import _checks
from lyapflow.cells.interface import sizes
from lyapflow.cells.registry import CELLS
from lyapflow.cli import options
from lyapflow.cli.show import OUT_OF_TIME, console, exponents, print_summary
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.history import History
from lyapflow.learning.model import Model
from lyapflow.learning.stopping import StopRule, TimeLimit
from lyapflow.learning.training import Training, plan
from lyapflow.progress import Plan, Progress
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.signals import EndOnSignal

# options that --resume takes whatever the run's settings are
RESUMABLE = {
    "run",
    "resume",
    "epochs",
    "stop_at",
    "stop_window",
    "stop_after",
    "time_limit",
    "checkpoint_seconds",
    "checkpoint_epochs",
}


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
    def advice(self) -> str:
        return f"go on with it: lyapflow train --resume {shlex.quote(str(self.folder))}"


def train(
    context: typer.Context,
    run: options.Run,
    task: options.Task = Recipe.task,
    delay: options.Delay = Recipe.delay,
    items: options.Items = Recipe.items,
    cell: options.Cell = Recipe.cell,
    units: options.Units = Recipe.units,
    gain: options.Gain = Recipe.gain,
    weights: options.Weights = Recipe.weights,
    leak: options.Leak = Recipe.leak,
    dtype: options.Dtype = Recipe.dtype,
    seed: options.Seed = Recipe.seed,
    epochs: options.Epochs = Recipe.epochs,
    steps: options.Steps = Recipe.steps,
    batch: options.Batch = Recipe.batch,
    lr: options.LearningRate = Recipe.lr,
    clip: options.Clip = Recipe.clip,
    floss: options.Floss = Recipe.floss,
    floss_at: options.FlossAt = None,
    k: options.FlossK = Recipe.k,
    floss_epochs: options.FlossEpochs = Recipe.floss_epochs,
    floss_steps: options.FlossSteps = Recipe.floss_steps,
    floss_transient: options.FlossTransient = Recipe.floss_transient,
    floss_lr: options.FlossLearningRate = Recipe.floss_lr,
    target: options.Target = Recipe.target,
    t_ons: options.FlossTOns = Recipe.t_ons,
    floss_penalty: options.FlossPenalty = Recipe.floss_penalty,
    penalty: options.Penalty = Recipe.penalty,
    penalty_weight: options.PenaltyWeight = Recipe.penalty_weight,
    penalty_every: options.PenaltyEvery = Recipe.penalty_every,
    measure_every: options.MeasureEvery = Recipe.measure_every,
    measure_vectors: options.MeasureVectors = Recipe.measure_vectors,
    stop_at: options.StopAt = Recipe.stop_at,
    stop_window: options.StopWindow = Recipe.stop_window,
    stop_after: options.StopAfter = Recipe.stop_after,
    time_limit: options.TimeLimit = None,
    checkpoint_seconds: options.CheckpointSeconds = 10.0,
    checkpoint_epochs: options.CheckpointEpochs = None,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Train a network on a task, with flossing, and keep the run in a folder, from which it can go on.

    A first Ctrl-C, or SIGTERM, ends the run after its epoch. --resume goes on with it and ends with the bits
    of an uninterrupted run; with --epochs it extends the run. Given together with the options of the run,
    --resume begins it if it has not begun, so that a job that is submitted repeatedly needs a single line.

    Exit codes: 0 done; 75 stopped by --time-limit; 128 plus the number of a signal; 1 if the network
    diverges; 2 for what cannot be done."""
    checkpoints: dict[str, Any] = {
        "checkpoint_seconds": checkpoint_seconds,
        "checkpoint_epochs": checkpoint_epochs,
    }
    given = {field.name: context.params[field.name] for field in fields(Recipe)}
    with options.named():
        recipe = Recipe(**given)
    others = [name for name in context.params.keys() - RESUMABLE if options.is_given(context, name)]
    if resume and (RunFolder(run).begun or not others):
        _refuse_other_settings(run, recipe, others)
        if options.is_given(context, "epochs"):
            _extend(run, epochs)
        _train_and_show(_resumed(run, **checkpoints), recipe, time_limit)
        return
    with options.named():
        start = recipe.start()
        training = recipe.training(start)
    kept: dict[str, Any] = {"folder": run, "force": force, "about": asdict(recipe.network)}
    go = functools.partial(lyapflow.train, start, **vars(training), **kept, **checkpoints)
    _train_and_show(Run(run, training, start, History(), go), recipe, time_limit)


def _refuse_other_settings(path: Path, recipe: Recipe, others: list[str]) -> None:
    """Refuse options that --resume would ignore: all but those that the run began with."""
    if not others or ("force" not in others and _began_with(path, recipe)):
        return
    raise LyapflowError(
        f"--resume goes on by the settings of the run; leave out --{min(others).replace('_', '-')}"
    )


def _began_with(path: Path, recipe: Recipe) -> bool:
    """Whether a run has the settings and the start of a recipe, whatever the number of epochs."""
    folder = RunFolder(path)
    with options.named():
        start = recipe.start()
        wanted = replace(recipe.training(start), epochs=folder.training().epochs)
    return lyapflow.digest(start) == lyapflow.digest(folder.start()) and folder.has(wanted)


def _extend(path: Path, epochs: int) -> None:
    """Let the run of a folder go on to more epochs."""
    folder = RunFolder(path)
    training = folder.training()
    if epochs < training.epochs:
        raise LyapflowError(
            f"--epochs must be at least the {training.epochs} of the run, got {epochs}"
        )
    with folder.alone():
        folder.extend(replace(training, epochs=epochs))


def _resumed(path: Path, **checkpoints: Any) -> Run:
    folder = RunFolder(path)
    training, start, recorded = folder.training(), folder.start(), folder.history()
    if isinstance(start, Ensemble):
        raise LyapflowError(
            f"{path} is the run of an ensemble; go on with it from Python, lyapflow.resume(...)"
        )
    go = functools.partial(lyapflow.resume, path, **checkpoints)
    return Run(path, training, start, recorded, go)


def _stop_rules(run: Run, recipe: Recipe, time_limit: float | None) -> list[StopRule]:
    """What may end the run early; the clock of a time limit starts here."""
    rules: list[StopRule] = []
    if time_limit is not None:
        rules.append(TimeLimit(_checks.number("--time-limit", time_limit, 0.0)))
    with options.named():
        return [*rules, *recipe.stop_rules(run.training.task, run.recorded.training)]


def _train_and_show(run: Run, recipe: Recipe, time_limit: float | None) -> None:
    rules = _stop_rules(run, recipe, time_limit)
    with EndOnSignal() as signals:
        stops: list[StopRule] = [signals, *rules]  # of several reasons the first is told
        whole = plan(run.training.epochs, run.training.flossing)
        display = Progress(console, {run.label: Plan(*whole, run.recorded)})
        with _advice_on_errors(run, signals), display:
            trained, history = run.go(callbacks=(display.callback(run.label), *stops))
        ended = next((rule for rule in stops if rule.reason), None)
        if ended is not None:
            done = len(history.training)
            console.print(
                f"stopped after {done} training epochs: {ended.reason}; {run.advice}",
                soft_wrap=True,
            )
            if signals.first is not None:
                raise typer.Exit(128 + signals.first)
        _show(run, trained, history, display.seconds())
        if isinstance(ended, TimeLimit):
            raise typer.Exit(OUT_OF_TIME)


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
    console.print(f"picture: {run.folder / 'picture.png'}", soft_wrap=True)
    console.print("equal digests are equal weights, to the bit")
    console.print(f"digest of the weights: {lyapflow.digest(trained)}")
