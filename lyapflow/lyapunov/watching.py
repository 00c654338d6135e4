"""Progress display of library calls that measure spectra."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lyapflow.errors import LyapflowError


@contextmanager
def watched(progress: Any) -> Iterator[Callable[[int, int], object] | None]:
    """What is to be told of steps that are done, and of all: a bar, a function of the user's own, or nothing."""
    if progress is False or progress is None:
        yield None
    elif callable(progress):
        yield progress
    elif progress is True:
        from rich.console import Console  # here: rich takes a while to import
        from rich.errors import LiveError

        from lyapflow.progress import counted

        with ExitStack() as stack:
            try:
                show = stack.enter_context(counted(Console(), "steps"))
            except LiveError:  # another one is shown already
                show = None
            yield show
    else:
        raise LyapflowError(f"progress must be True, False or a function, got {progress!r:.40}")
