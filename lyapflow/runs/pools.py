"""The executor of a sweep: the user's, or processes of our own."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from lyapflow.errors import LyapflowError
from lyapflow.runs.worker import begin_process

GO_ON = "what was done is kept, go on with the sweep (grid=None)"


class Died(Exception):
    """An executor takes nothing any more; its cause says why."""


class Pool:
    """An executor of the user's."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        yield

    def submitted(self, function: Callable, *arguments: Any) -> Future:
        """A call that is handed out; raises `Died` if nothing is taken any more."""
        try:
            return self.executor.submit(function, *arguments)
        except RuntimeError as error:  # a BrokenExecutor, or one that was shut down
            raise Died from error

    def abandon(self) -> None:
        """End what goes on, at once, as far as it is ours."""

    def renew(self, error: BaseException) -> None:
        """Go on after a worker has died."""
        raise LyapflowError(f"the executor died ({type(error).__name__}: {error}); {GO_ON}")


class Processes(Pool):
    """Processes of this machine, spawned, in whose place others come when one dies."""

    def __init__(self, count: int) -> None:
        self.count, self.others = count, set(multiprocessing.active_children())
        super().__init__(self._new())

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.count, context, begin_process)

    def abandon(self) -> None:
        for process in set(multiprocessing.active_children()) - self.others:
            process.kill()

    def renew(self, error: BaseException) -> None:
        self.executor.shutdown()
        self.executor = self._new()

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abandon()
            raise
        finally:
            self.executor.shutdown(cancel_futures=True)
