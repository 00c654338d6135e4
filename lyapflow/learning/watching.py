"""Progress display of library calls that train or floss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lyapflow.learning.history import Recorder


@contextmanager
def watched(
    record: Recorder, progress: bool, epochs: int, at: Sequence[int], episode: int
) -> Iterator[None]:
    """Show the records of a run, if that is wanted; arguments as of `lyapflow.progress.Plan`."""
    if not progress:
        yield
        return
    from rich.console import Console

    from lyapflow.progress import Plan, Progress  # here: rich takes a while to import

    plan = Plan(epochs, at, episode, record.history)
    with Progress(Console(), {"network": plan}) as display:
        record.callbacks = (display.callback("network"), *record.callbacks)
        yield
