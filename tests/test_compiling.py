"""What happens around the compilation of kernels: a word, and signals."""

import gc
import signal

import numba
import pytest
from numba.extending import intrinsic

from lyapflow._engine.compiling import PATIENCE, WORD, _Word, compilation, compiles_here, say_word
from lyapflow._engine.jit import jit
from lyapflow.runs.signals import EndOnSignal


@pytest.fixture(autouse=True)
def own_word(monkeypatch):
    monkeypatch.setattr(compilation, "word", _Word())


def kernel(name, within):
    """A new kernel, uncached, while which is compiled `within` is called."""

    @intrinsic
    def hook(typingctx, x):
        def codegen(context, builder, signature, values):
            within()
            return values[0]

        return x(x), codegen

    def function(x):
        return hook(x)

    function.__module__, function.__name__ = "lyapflow.own", name
    return jit(function)


def test_who_waits_is_told_once():
    said = []
    say_word(said.append)
    for name in ("first", "second"):
        assert kernel(name, lambda: None)(1.0) == 1.0
    assert said == [WORD]


def test_kernels_of_others_are_theirs():
    said = []
    say_word(said.append)
    before = signal.getsignal(signal.SIGINT)
    seen = []

    @intrinsic
    def hook(typingctx, x):
        def codegen(context, builder, signature, values):
            seen.append(signal.getsignal(signal.SIGINT))
            return values[0]

        return x(x), codegen

    @numba.njit
    def function(x):
        return hook(x)

    function(1.0)
    assert seen == [before] and not said


def test_the_library_tells_its_logger_after_some_seconds(monkeypatch, caplog):
    clock = iter(range(0, 100, 2))  # seconds
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    word = _Word()
    word.begin()
    word.now()
    assert PATIENCE > 2 and not caplog.records
    word.now()
    word.now()
    assert [(record.name, record.message) for record in caplog.records] == [("lyapflow", WORD)]


def test_short_compilations_add_up(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    word, said = _Word(), []
    word.say = said.append
    word.begin()
    word.now()
    word.end()
    assert not said
    word.begin()
    word.now()
    assert said == [WORD]


def test_ctrl_c_waits_for_the_end_of_a_pass_and_is_heard_then():
    steps = []

    def interrupted():
        steps.append("within")
        signal.raise_signal(signal.SIGINT)
        steps.append("after")  # in a callback from LLVM an exception would be lost

    before = signal.getsignal(signal.SIGINT)
    function = kernel("interrupted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        function(1.0)
    assert steps == ["within", "after"]
    assert signal.getsignal(signal.SIGINT) is before
    assert gc.isenabled() and not compiles_here()


def test_a_run_that_waits_for_its_kernels_ends_at_once():
    with EndOnSignal() as signals, pytest.raises(KeyboardInterrupt):
        kernel("waited_for", lambda: signal.raise_signal(signal.SIGTERM))(1.0)
    assert signals.first is signal.SIGTERM
