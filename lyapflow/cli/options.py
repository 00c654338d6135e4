"""Arguments and options of the commands: what they are called, what they take, and their help."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lyapflow.cells.registry import CELLS
from lyapflow.errors import LyapflowError
from lyapflow.learning.penalties.registry import PENALTIES
from lyapflow.learning.tasks import TASKS
from lyapflow.runs.random_network import TAKE_LEAK, TAKE_WEIGHTS
from lyapflow.runs.recipe import DTYPES, FLOSS, WEIGHTS, Recipe

# typer reads the choices from these types
if TYPE_CHECKING:
    CellName = str
    TaskName = str
    WeightsName = str
    DtypeName = str
    FlossName = str
    PenaltyName = str
else:
    CellName, TaskName = Literal[tuple(CELLS)], Literal[tuple(TASKS)]
    WeightsName, DtypeName, FlossName = Literal[WEIGHTS], Literal[DTYPES], Literal[FLOSS]
    PenaltyName = Literal[tuple(PENALTIES)]


# options of one panel of --help
_network = partial(typer.Option, rich_help_panel="Network")
_input = partial(typer.Option, rich_help_panel="Input")
_output = partial(typer.Option, rich_help_panel="Output")
_task = partial(typer.Option, rich_help_panel="Task")
_training = partial(typer.Option, rich_help_panel="Training")
_flossing = partial(typer.Option, rich_help_panel="Flossing")
_ending = partial(typer.Option, rich_help_panel="When to stop")
_run = partial(typer.Option, rich_help_panel="Run")


def _picture(place: str) -> Any:
    return _output(
        help="Picture to write, PNG, PDF or SVG by its suffix; an old one is replaced.",
        show_default=f"RUN/{place}.png; lyapflow-{place}.png for a random network",
    )


# a random network
Cell = Annotated[CellName, _network(help="Kind of network.")]
Units = Annotated[int, _network(min=1, help="Units of the network.")]
Gain = Annotated[
    float,
    _network(
        min=0.0,
        help="Gain g of the recurrent weights, of variance g²/units; for LSTM and GRU the largest gain of a gate.",
    ),
]
Weights = Annotated[
    WeightsName,
    _network(
        help=f"Recurrent weights: gaussian or, for {TAKE_WEIGHTS}, g times a random orthogonal matrix.",
    ),
]
Leak = Annotated[
    float | None,
    _network(
        min=0.0,
        max=1.0,
        help=f"Leak dt/τ, above 0, of {TAKE_LEAK} networks.",
        show_default="0.1 for rate, 1 for the others",
    ),
]
Dtype = Annotated[DtypeName, _network(help="Precision of all arithmetic.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random number.")]

# the network of a run, or a random one, and its input
TrainedRun = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN | MODEL]",
        help="Run folder of a network, or a file of one: of lyapflow, PyTorch (.pt, .safetensors), Keras or ONNX.",
        show_default="a random network",
    ),
]
ModelFile = Annotated[
    Path,
    typer.Argument(
        help="File of a network: of lyapflow, PyTorch (.pt, .safetensors), Keras or ONNX."
    ),
]
Name = Annotated[
    str | None,
    _network(
        help="Name or number of the module, layer or node of the file.", show_default="the only one"
    ),
]
Nonlinearity = Annotated[
    str | None,
    _network(
        metavar="tanh|relu",
        help="Nonlinearity of an nn.RNN, if the file has only its weights.",
        show_default="as the file says",
    ),
]
Input = Annotated[
    str | None,
    _input(
        "--input",
        metavar="NAME|FILE",
        help=f"Input: that of a task ({', '.join(TASKS)}), gaussian with unit variance, none, or a file: .npy, .csv, "
        "or .npz:KEY, (T, m) or (T, B, m).",
        show_default="the run's task; gaussian for a file's network; binary-xor for a random one",
    ),
]
Transient = Annotated[int, _input(min=0, help="First steps, which only move the state.")]
TOns = Annotated[int, typer.Option(min=1, help="Steps between reorthonormalisations.")]

# spectrum
SpectrumSteps = Annotated[
    int | None,
    _input(
        min=1,
        help="Length of the input, in steps, transients included.",
        show_default="2000; all of a file",
    ),
]
SpectrumK = Annotated[
    int | None,
    typer.Option("--k", min=1, help="Number of exponents.", show_default="all"),
]
QTransient = Annotated[int, _input(min=0, help="Next steps, which also align the tangent block.")]
UntilStderr = Annotated[
    float | None,
    typer.Option(
        help="Stop once all standard errors are at most this, after --steps at the latest (100000 if not given).",
        show_default=False,
    ),
]
Csv = Annotated[Path | None, _output("--csv", help="File for the table.", show_default=False)]
Json = Annotated[Path | None, _output("--json", help="File for all results.", show_default=False)]
Kept = Annotated[
    Path | None,
    _output(
        "--checkpoint",
        help="File that keeps the results so far, every ten seconds or so; the same command goes on from it.",
        show_default=False,
    ),
]
All = Annotated[
    bool,
    _output("--all", help="Show all exponents, not only the first ten and the last three."),
]
NoPicture = Annotated[bool, _output("--no-picture", help="Draw no picture.")]
SpectrumPicture = Annotated[Path | None, _picture("spectrum")]

# floss
FlossedModel = Annotated[
    Path,
    typer.Option(
        "--out",
        help="File to write: of the same kind as MODEL, or .safetensors; an old one is replaced.",
    ),
]
FlossedK = Annotated[
    int | None,
    typer.Option(
        "--k", min=1, help="Exponents to floss, in each layer.", show_default="as recommended"
    ),
]
FlossingEpochs = Annotated[int, typer.Option("--epochs", min=1, help="Flossing epochs.")]
FlossingSteps = Annotated[
    int,
    typer.Option("--steps", min=1, help="Steps of a flossing epoch, a random piece of the input."),
]
FlossingBatch = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="Pieces of input in a flossing epoch; their exponents are averaged."
    ),
]
FlossingRate = Annotated[float, typer.Option("--lr", min=0.0, help="Learning rate of Adam.")]

# condition
ConditionSteps = Annotated[str, typer.Option(help="Steps of the products, separated by commas.")]
Columns = Annotated[
    int | None,
    typer.Option(
        "--m",
        min=1,
        help="Columns of a random orthonormal block that the product is applied to.",
        show_default="all of T",
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(help="Precision of the products.", show_default="as many as it takes"),
]
ConditionPicture = Annotated[Path | None, _picture("condition")]

# demo
DemoPicture = Annotated[
    Path,
    typer.Option(help="Picture to write, PNG, PDF or SVG by its suffix; an old one is replaced."),
]

# train: the folder
Run = Annotated[
    Path,
    typer.Argument(help="Run folder to write: settings, history, weights, picture."),
]
Force = Annotated[bool, _run("--force", help="Overwrite what the run folder holds.")]
Resume = Annotated[
    bool,
    _run(
        "--resume",
        help="Go on with the run of the folder from its last checkpoint, by its own settings; with these as options, "
        "begin it if it has not begun.",
    ),
]
CheckpointSeconds = Annotated[
    float,
    _run(
        min=0.0,
        help="Least time between checkpoints; longer if they would take more than 1 % of the run.",
    ),
]
CheckpointEpochs = Annotated[
    int | None,
    _run(
        min=1, help="Write a checkpoint after every so many epochs instead.", show_default="by time"
    ),
]

# train: the task
Task = Annotated[TaskName, _task(help="Task.")]
Delay = Annotated[
    int,
    _task(min=1, help="Delay of the task, in steps; even for the two temporal XORs."),
]
Items = Annotated[
    int | None,
    _task(min=1, help="Numbers that item-copy has to keep at a time.", show_default="1"),
]
Epochs = Annotated[int, _training(min=1, help="Training epochs, one update each.")]
Steps = Annotated[int, _training(min=1, help="Length of a training sequence, in steps.")]
Batch = Annotated[int, _training(min=1, help="Sequences per training epoch.")]
LearningRate = Annotated[
    float | None,
    _training(
        min=0.0,
        help="Learning rate of Adam, for training.",
        show_default="0.001; for lstm and gru 0.003",
    ),
]
Clip = Annotated[
    float | None,
    _training(
        min=0.0,
        help="Bound on the norm of each array's gradient; 0: none.",
        show_default="0.03; for lstm and gru 1",
    ),
]
MeasureEvery = Annotated[
    int | None,
    _training(
        min=1,
        help="Epochs between measurements of test loss, singular values of dL/dW and the whole spectrum.",
    ),
]
MeasureVectors = Annotated[
    int | None,
    _training(
        min=1,
        help="Also measure the overlap of the gradient with so many covariant Lyapunov vectors.",
    ),
]

# train: flossing
Floss = Annotated[
    FlossName | None,
    _flossing(
        help="Flossing episodes: none; before training; during it, at epochs 0, 100, …, 400; "
        "throughout, every 100 epochs.",
        show_default="during; for lstm and gru none",
    ),
]
FlossAt = Annotated[
    str | None,
    _flossing(help="Training epochs before which to floss, e.g. 0,500.", show_default="by --floss"),
]
FlossK = Annotated[
    int | None,
    _flossing(
        "--k",
        min=1,
        help="Exponents to floss.",
        show_default="75, or the units of a smaller network; for relu and gru a twentieth of its units, "
        "for lstm an eighth",
    ),
]
FlossEpochs = Annotated[
    int | None,
    _flossing(
        min=1,
        help="Flossing epochs of an episode.",
        show_default="500; for lstm and gru 200",
    ),
]
FlossSteps = Annotated[int, _flossing(min=1, help="Steps of a flossing epoch, transient included.")]
FlossTransient = Annotated[
    int,
    _flossing(
        min=0, help="First of these steps, which align the tangent vectors and do not count."
    ),
]
FlossLearningRate = Annotated[
    float, _flossing(min=0.0, help="Learning rate of Adam, for flossing.")
]
Target = Annotated[
    float,
    _flossing(
        help="Target of the exponents, in nats per step; for other penalties the target of the logarithms of singular "
        "values, or of the spectral radius."
    ),
]
FlossTOns = Annotated[int, _flossing(min=1, help="Steps between reorthonormalisations.")]
FlossPenalty = Annotated[
    PenaltyName,
    _flossing(
        help="Loss that episodes descend: of the exponents, the spectral radius, or the singular values of one-step "
        "Jacobians."
    ),
]

# train: a penalty beside the task's loss
Penalty = Annotated[
    PenaltyName | None,
    _training(
        help="Penalty to add to the task's loss, with --k, --target and --floss-transient.",
        show_default="none",
    ),
]
PenaltyWeight = Annotated[
    float | None,
    _training(min=0.0, help="Weight of the penalty.", show_default="none; needed with one"),
]
PenaltyEvery = Annotated[
    int, _training(min=1, help="Add the penalty in every so many-th training epoch.")
]

# train: when to stop
StopAt = Annotated[
    float | None,
    _ending(
        min=0.0,
        max=1.0,
        help="Stop when the mean accuracy of the last epochs reaches this, between 0 and 1.",
        show_default="never",
    ),
]
StopWindow = Annotated[
    int, _ending(min=1, help="Number of epochs over which --stop-at takes the mean.")
]
StopAfter = Annotated[int, _ending(min=0, help="Epoch before which --stop-at does not apply.")]
TimeLimit = Annotated[
    float | None,
    _ending(min=0.0, help="Stop after so many minutes.", show_default="never"),
]

# sweep
SweepFolder = Annotated[
    Path, typer.Argument(help="Folder of the sweep, with a run folder for each run.")
]
GridFile = Annotated[
    Path | None,
    typer.Argument(
        help="Grid of settings, a TOML file: names are options of train; lists are combined.",
        show_default="--resume: that of the folder",
    ),
]
SweepResume = Annotated[
    bool, typer.Option("--resume", help="Go on with what is left of the folder's sweep.")
]
MoreEpochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Extend all runs to this number of epochs.", show_default="as in the grid"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Worker processes on this machine.", show_default="as many as processors"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads per worker.", show_default="processors are divided; 1 elsewhere"
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Dask scheduler to use instead of processes: tcp://HOST:PORT."
    ),
]
Mpi = Annotated[
    bool,
    typer.Option(
        "--mpi", help="Use MPI instead: mpirun -n N python -m mpi4py.futures -m lyapflow sweep …"
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Allow more than 1000 runs.")]

# compare
SweepFolders = Annotated[list[Path], typer.Argument(help="Folders of sweeps.")]
TableFile = Annotated[
    Path | None, typer.Option(help="Table to write, .csv or .parquet.", show_default="none")
]
HistoriesFile = Annotated[
    Path | None,
    typer.Option(
        help="Histories to write, a row for each epoch, .csv or .parquet.", show_default="none"
    ),
]
Level = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Accuracy, between 0 and 1; the first epoch that reaches it is shown.",
    ),
]
ShownExponents = Annotated[int, typer.Option(min=0, help="Lyapunov exponents to show.")]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextmanager
def named() -> Iterator[None]:
    """Say settings in errors as the options that they are on the command line."""
    try:
        yield
    except LyapflowError as error:
        setting, _, rest = str(error).partition(" ")
        setting = "gain" if setting == "g" else setting
        if setting not in {field.name for field in fields(Recipe)}:
            raise
        raise LyapflowError(f"--{setting.replace('_', '-')} {rest}") from None
