"""While kernels compile: tell the user, and handle signals once it is safe."""

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from numba.core import event

from lyapflow._engine.outside import PACKAGE

PATIENCE = 3.0  # seconds of compilation before anything is said
WORD = "compiling kernels for this processor, which takes up to twenty seconds; later runs find them in a cache"


class _Word:
    """Said once in a process, while one of its kernels compiles, when all together have taken so long."""

    def __init__(self) -> None:
        self.say: Callable[[str], Any] | None = logging.getLogger("lyapflow").warning
        self.patience = PATIENCE
        self._spent, self._since = 0.0, 0.0

    def begin(self) -> None:
        self._since = time.monotonic()

    def end(self) -> None:
        self._spent += time.monotonic() - self._since

    def now(self) -> None:
        """Say it, if it is time."""
        if self.say and self._spent + time.monotonic() - self._since >= self.patience:
            say, self.say = self.say, None
            say(WORD)


class _Signals:
    """Those that come within a pass of the compiler are handled after it.

    LLVM calls back into Python, where an exception would be lost, and the kernel with it."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._come: list[tuple[int, Any]] = []

    def begin(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # no other thread handles signals
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, lambda *come: self._come.append(come))

    def end(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        try:
            self.now()
        finally:  # where a handler raises, the rest is not for later kernels
            self._come.clear()
            self._handlers.clear()

    def now(self) -> None:
        """Handle what has come."""
        while self._come:
            number, frame = self._come.pop(0)
            self._handlers[number](number, frame)


class _Compilation(event.Listener):
    """Of a kernel with all that it calls.

    Python's collector of cyclic garbage would take a sixth of the time."""

    def __init__(self) -> None:
        self.word, self.signals = _Word(), _Signals()
        self.thread: int | None = None
        self._depth, self._collects = 0, False

    def on_start(self, event: event.Event) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        self._collects = gc.isenabled()
        gc.disable()
        module = event.data["dispatcher"].py_func.__module__
        if module.partition(".")[0] == PACKAGE:  # else neither word nor signals are ours
            self.thread = threading.get_ident()
            self.word.begin()
            self.signals.begin()

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        if self._collects:
            gc.enable()
        if self.thread is not None:
            self.word.end()
            try:
                self.signals.end()
            finally:
                self.thread = None


class _Pass(event.Listener):
    """Of the compiler, of which there are thousands."""

    def on_start(self, event: event.Event) -> None:
        if compiles_here():
            compilation.word.now()
            compilation.signals.now()

    def on_end(self, event: event.Event) -> None:
        pass


compilation = _Compilation()


def listen() -> None:
    """To Numba, from here on."""
    event.register("numba:compile", compilation)
    event.register("numba:run_pass", _Pass())


def compiles_here() -> bool:
    """Whether this thread is compiling."""
    return compilation.thread == threading.get_ident()


def say_word(say: Callable[[str], Any] | None) -> None:
    """Have another one told that kernels compile, at once, or nobody."""
    compilation.word.say, compilation.word.patience = say, 0.0
