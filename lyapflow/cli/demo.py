"""``lyapflow demo``: one network trained with and without flossing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import lyapflow
from lyapflow.cells.tanh import TanhRNN
from lyapflow.cli import options
from lyapflow.cli.show import check_writable, console, exponents, print_summary
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.model import Model
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import BinaryTemporalXOR
from lyapflow.learning.training import plan
from lyapflow.progress import Plan, Progress

if TYPE_CHECKING:
    from lyapflow.plotting import Shown  # imports Matplotlib, which takes a while

DELAY, EPOCHS = 40, 800
RUNS = {"with flossing": Flossing(), "without flossing": None}


def demo(
    out: options.DemoPicture = Path("lyapflow-demo.png"),
    seed: options.Seed = 0,
) -> None:
    """Train two networks from the same seed, one flossed and one not, and show the difference.

    Binary temporal XOR with a delay of 40 steps, 80 tanh units, 800 epochs, five episodes of
    flossing. About a minute."""
    from lyapflow.plotting import training_figure, write_figure

    check_writable(out)
    task = BinaryTemporalXOR(DELAY)
    rng = stream(seed, "weights")
    start = Model.random(TanhRNN.random(80, task.n_inputs, rng=rng), task.n_outputs, rng=rng)
    console.print(
        f"Binary temporal XOR, delay {DELAY}: is bit t-{DELAY // 2} different from bit t-{DELAY}?"
    )
    plans = {name: Plan(*plan(EPOCHS, flossing)) for name, flossing in RUNS.items()}
    with Progress(console, plans) as display:
        runs = _side_by_side(start, task, seed, display)
    before = exponents(start, task, seed)
    shown = {name: run for name, (_, run) in runs.items()}
    print_summary(shown, before)
    for name, (trained, _) in runs.items():
        console.print(f"digest of the weights {name}: {lyapflow.digest(trained)}")
    title = f"Binary temporal XOR over {DELAY} steps: the same tanh network (80 units), with and without flossing"
    write_figure(training_figure(shown, before, title), out)
    console.print(f"picture: {out}   ({display.seconds():.0f} s)")


def _side_by_side(
    start: Model,
    task: BinaryTemporalXOR,
    seed: int,
    display: Progress,
) -> dict[str, tuple[Model, "Shown"]]:
    """All runs at once, each in a thread; where one fails the others end after their epoch."""
    from lyapflow.plotting import Shown

    stop = threading.Event()

    def run(name: str) -> tuple[Model, Shown]:
        trained, history = lyapflow.train(
            start,
            task,
            epochs=EPOCHS,
            seed=seed,
            flossing=RUNS[name],
            measure_every=50,
            callbacks=(display.callback(name), lambda record: stop.is_set()),
        )
        return trained, Shown(history, exponents(trained, task, seed))

    with ThreadPoolExecutor(len(RUNS)) as pool:
        try:
            futures = {name: pool.submit(run, name) for name in RUNS}
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            stop.set()
            raise
