"""Ctrl-C and SIGTERM end a run after its epoch, so that nothing of it is lost."""

import signal
from types import TracebackType
from typing import Any

from lyapflow._engine.compiling import compiles_here


class EndOnSignal:
    """Ends a run after its epoch when SIGINT or SIGTERM comes, and at once when a second one comes.

    A context manager, within which signals are taken, and a callback of the run. The second signal
    raises KeyboardInterrupt, and so does the first where the epoch waits for kernels to compile.
    Only the main thread may use it: no other can take signals in Python.

    Attributes
    ----------
    first : signal.Signals or None
        The first signal that came.
    reason : str
        Why it ended the run, the signal's name; empty as long as it has not.

    Examples
    --------
    ::

        with EndOnSignal() as signals:
            lf.train(model, task, epochs=10_000, seed=0, folder="runs/first", callbacks=signals)
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.reason = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "EndOnSignal":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self, record: Any) -> bool:
        if self.first is not None:
            self.reason = self.first.name
        return bool(self.reason)

    def _take(self, number: int, frame: Any) -> None:
        again = self.first is not None
        self.first = self.first or signal.Signals(number)
        if again or compiles_here():
            raise KeyboardInterrupt
