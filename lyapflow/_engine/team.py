"""Threads that share work in parts, from nopython code: products of a large network, pieces of a batch.

A shared job slot: a caller publishes a job on the board, helper threads and the caller claim its
parts by compare-and-swap. Which thread does which part is open, and so is whether a helper is there
at all: work must not depend on it. The first word of the board counts jobs and says, in its lower
bits, which parts of the present one are still unclaimed; a claim fails where a new job has begun.
The caller takes the last part, a helper the first: so, call after call, a part is where its data
are, in the cache of one processor. Helpers that find nothing yield their processor, and leave after
a few milliseconds: long enough to be there for the next of many short calls."""

import functools

from lyapflow._engine.atomics import LINE, add, load, pause, rest, store, swap
from lyapflow._engine.jit import jit
from lyapflow._engine.jobs import do_part
from lyapflow._engine.pool import start_threads

# places on the board, each in a cache line of its own
WORD, DONE, BUSY, HELPERS, FUNCTION, ARGUMENTS = range(0, 6 * LINE, LINE)
BITS = 16  # of the word, for the first part that is left, and for the one behind the last
MAX_PARTS = 1 << BITS  # parts are fewer, where they are shared
SPINS = 200  # looks in vain before a thread rests, some microseconds
RESTS = 1000  # before a helper leaves, some milliseconds


@jit
def _wait(waited):
    if waited < SPINS:
        pause()
        return waited + 1
    rest()
    return 0


@jit
def _take(helps):
    """Do one part of what is on the board, if there is any."""
    word = load(WORD)
    first, behind = word & (MAX_PARTS - 1), word >> BITS & (MAX_PARTS - 1)
    if first == behind:
        return False
    function, arguments = load(FUNCTION), load(ARGUMENTS)
    if swap(WORD, word, word + 1 if helps else word - MAX_PARTS):
        do_part(function, arguments, first if helps else behind - 1)
        add(DONE, 1)
    return True


@jit
def share(parts, function, arguments):
    """Do all parts, with the helpers if there are any who are free."""
    if not 1 < parts < MAX_PARTS or load(HELPERS) == 0 or not swap(BUSY, 0, 1):
        for part in range(parts):
            do_part(function, arguments, part)
        return
    store(FUNCTION, function)
    store(ARGUMENTS, arguments)
    store(DONE, 0)
    store(WORD, ((load(WORD) >> 2 * BITS) + 1 << 2 * BITS) + (parts << BITS))
    while _take(False):
        pass
    waited = 0
    while load(DONE) < parts:
        waited = _wait(waited)
    store(BUSY, 0)


@jit
def _help():
    """What a helper does, until there has been nothing to do for a while."""
    add(HELPERS, 1)
    waited = rests = 0
    while rests < RESTS:
        if _take(True):
            waited = rests = 0
        else:
            waited = _wait(waited)
            rests += waited == 0
    add(HELPERS, -1)


@functools.cache
def _compiled() -> None:
    """`_help` is compiled by the caller: a process that forks while a helper compiles would inherit Numba's lock."""
    _help.compile(())


def start_helpers(count: int) -> None:
    """Let up to so many other threads help."""
    if count > 0:
        _compiled()
        start_threads(_help, count)
