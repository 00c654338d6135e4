"""Spectra of long runs that save their progress to a file and go on from it after an interruption."""

import dataclasses
import inspect
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow._trees import named_arrays
from lyapflow.cells.closed_loop import each_cell
from lyapflow.ensemble import Ensemble
from lyapflow.errors import LyapflowError, warn
from lyapflow.lyapunov.course import Course
from lyapflow.lyapunov.measured import Network, Spectrum, assess
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.spectrum import Reached, interrupted_spectrum, lyapunov_spectrum
from lyapflow.lyapunov.watching import watched
from lyapflow.runs import weights

EVERY = 10.0  # seconds between two writes


def resumable_spectrum(
    path: str | os.PathLike, cell: Any, x: Any = None, k: int | None = None, **arguments: Any
) -> Spectrum:
    """`lyapunov_spectrum` that goes on, called again, from where it was interrupted.

    Parameters
    ----------
    path : path
        A file that keeps the spectrum of the steps done so far. It is written every ten seconds, or
        after each piece of a few million numbers if that takes longer, and at the end. `load` reads
        it at any time, as a Spectrum.
    cell, x, k, **arguments
        As for `lyapunov_spectrum`, but for `continue_from` and `lengths`; no ensembles.

    Returns
    -------
    Spectrum
        Equal, to the bit, to that of an uninterrupted run with the same arguments. If the file
        holds all that is asked for, it is returned at once.

    Raises
    ------
    LyapflowError
        As for `lyapunov_spectrum`; if the file is damaged, or holds another run (another cell,
        other first inputs, initial states, k, transients, intervals or max_rows). The number of
        steps and `until_stderr` may differ; then the run goes on from where it was.

    Notes
    -----
    The file does not hold the inputs, so pass the same ones again. Only the first few of them are
    compared with those used before.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0), g=2.0)
    >>> x = np.random.default_rng(1).standard_normal((2000, 1))
    >>> lf.resumable_spectrum("exponents", cell, x[:500], k=2).steps_counted
    500
    >>> spectrum = lf.resumable_spectrum("exponents", cell, x, k=2)  # the other 1500 steps
    >>> spectrum == lf.lyapunov_spectrum(cell, x, k=2)
    True
    """
    for name in ("continue_from", "lengths"):
        if arguments.pop(name, None) is not None:
            raise LyapflowError(f"{name} is not for resumable_spectrum; leave it out")
    inspect.signature(lyapunov_spectrum).bind(cell, x, k, **arguments)  # raises a TypeError
    if isinstance(cell, Ensemble):
        raise LyapflowError(
            "resumable_spectrum takes one cell, got an ensemble; give each a file of its own"
        )
    try:
        file = _File(Path(path))
    except TypeError:
        raise LyapflowError(f"path must be that of a file, got {path!r:.80}") from None
    with watched(arguments.pop("progress", False)) as watch:
        spectrum, doubts = interrupted_spectrum(
            cell,
            x,
            k,
            before=lambda given: file.read(cell, given),
            seen=file.seen,
            watch=watch,
            **arguments,
        )
    file.write(spectrum)
    for why in doubts:
        warn(why.text)
    return spectrum


class _File:
    """The file of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = time.monotonic()
        self.latest: tuple[Network, Reached] | None = None

    def seen(self, network: Network, reached: Reached) -> None:
        self.latest = network, reached
        if time.monotonic() > self.written + EVERY:
            self.write(assess(network, reached.run)[0])

    def write(self, spectrum: Spectrum) -> None:
        """Write what was reached, of which this is the spectrum."""
        if self.latest is None:
            return
        network, reached = self.latest
        run = reached.run.without_inputs(most=math.inf)
        spectrum = dataclasses.replace(spectrum, _origin=(network, run))
        past = {"stop": reached.stop, "bar": reached.bar}
        weights.write(self.path, spectrum, reached=json.dumps(past))
        self.written = time.monotonic()

    def read(self, cell: Any, given: list[Problem]) -> Reached | None:
        """What had been reached of a run that begins with these problems."""
        if not os.path.lexists(self.path):
            return None
        spectrum, metadata = weights.read(self.path, _classes(cell))
        if not isinstance(spectrum, Spectrum) or "reached" not in metadata:
            raise LyapflowError(
                f"{self.path} was not written by resumable_spectrum; give another path"
            )
        network, run = spectrum._origin
        other = _difference(cell, given, network.cell, run.courses)
        if other is not None:
            raise LyapflowError(
                f"{self.path} is of a run with another {other}; give another path, or delete that file"
            )
        past = json.loads(metadata["reached"])
        return Reached(run, past["stop"], past.get("bar", np.nan))


def _classes(cell: Any) -> Any:
    """The class of a cell, or those of its layers, as `load` is given them."""
    classes = [type(of) for of in each_cell(cell)]
    return classes[0] if len(classes) == 1 else classes


def _difference(cell: Any, given: list[Problem], of: Any, courses: list[Course]) -> str | None:
    """In what a run differs from one that begins with the given problems, if in anything."""
    for (name, array), (_, other) in zip(named_arrays(cell), named_arrays(of)):
        if not _same(array, other):
            return name
    for problem, course in zip(given, courses):
        begun = course.begun
        if len(problem.block) != len(begun.block):
            return "k"
        if not _same(problem.block, begun.block):
            return "q0"
        if not _same(problem.h0, begun.h0):
            return "h0"
        if (
            problem.plan.transient != begun.plan.transient
            or problem.plan.before != begun.plan.before
        ):
            return "transient or q_transient"
        if not problem.automatic and problem.plan.t_ons != begun.plan.t_ons:
            return "t_ons"
    first, x = courses[0].begun.x, given[0].x
    shared = min(len(first), len(x))
    return None if _same(first[:shared], x[:shared]) else "x"


def _same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and np.array_equal(a, b)
