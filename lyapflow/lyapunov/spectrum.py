"""Lyapunov spectra with error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._trees import classes, named_arrays
from lyapflow.cells.closed_loop import each_cell
from lyapflow.cells.interface import checked, sizes, step, tangent
from lyapflow.cells.layers import each_layer
from lyapflow.ensemble import over_members
from lyapflow.errors import LyapflowError, warn
from lyapflow.lyapunov.course import Run, begin, go_on
from lyapflow.lyapunov.doubts import Doubt
from lyapflow.lyapunov.growth import FromTheStart
from lyapflow.lyapunov.layers import layer_problems
from lyapflow.lyapunov.measured import Network, Spectrum, assess, lost_spectrum
from lyapflow.lyapunov.problem import Problem, affordable_growth, doubt_layout
from lyapflow.lyapunov.rows import FEWEST, MOST
from lyapflow.lyapunov.supply import Supply, supply
from lyapflow.lyapunov.until import Goal, first_steps, goal
from lyapflow.lyapunov.watching import watched


class Reached(NamedTuple):
    """How far a run has come, and what is to be known of its past for it to end where it would have ended."""

    run: Run
    stop: int  # the step after which bars are looked at
    bar: float  # what they were when they were looked at before, NaN if there was a doubt


Seen = Callable[[Network, Reached], object]
Watch = Callable[[int, int], object]  # of steps that are done, and of all
SHOWN = 100  # pieces that a run has at least whose progress is shown


class _Asked(NamedTuple):
    """Checked arguments.

    Inputs that come piece by piece have a supply, and `problems` of all layers for what comes from
    the start. A run that is gone on with has no start.
    """

    network: Network
    given: list[Problem]  # of each layer, for the first piece
    max_rows: int
    supply: Supply | None = None
    goal: Goal | None = None
    problems: Callable[[np.ndarray], list[Problem]] | None = None
    run: Run | None = None


def _checked(
    cell: Any,
    k: Any,
    x: Any,
    steps: Any = None,
    until_stderr: Any = None,
    stderr_of: Any = None,
    max_steps: Any = None,
    continue_from: Any = None,
    max_rows: Any = MOST,
    pieces: int = 0,  # how many to take at least, 0 for no more than memory asks for
    progress: Any = False,  # which says nothing of a spectrum
    **arguments: Any,
) -> _Asked:
    max_rows = _checks.integer("max_rows", max_rows, FEWEST, why=", what error bars need")
    if max_steps is not None and until_stderr is None:
        raise LyapflowError("max_steps goes with until_stderr; give steps instead")
    if continue_from is not None:
        network, run = _continued(cell, k, continue_from, arguments | {"max_rows": max_rows})
        states = continue_from.state
        several = states if len(states) > 1 else None
        of = supply(network.cell, x, steps, max_steps, several, run.steps, pieces)
        if isinstance(of.of, np.ndarray) and of.of.shape[1] != len(states):
            raise LyapflowError(
                f"x must go on with the {len(states)} trajectories of continue_from, got {of.of.shape[1]}"
            )
        begun = [course.begun for course in run.courses]
        aim = goal(until_stderr, stderr_of, len(continue_from.exponents))
        return _Asked(network, begun, max_rows, of, aim, run=run)

    many = pieces > 0 or _may_be_many(x, steps, max_rows, arguments)
    if not callable(x) and until_stderr is None and not many:
        goal(until_stderr, stderr_of, 1)
        network, given = _problems(cell, k, x=x, steps=steps, **arguments)
        return _Asked(network, given, max_rows)

    def problems(x: np.ndarray) -> list[Problem]:
        return _problems(cell, k, x=x, steps=None, **arguments)[1]

    if arguments["lengths"] is not None:
        raise LyapflowError(
            "lengths is for sequences that are there as a whole; give x as an array, without until_stderr"
        )
    cell = checked(cell, step, tangent)
    of = supply(cell, x, steps, max_steps, arguments["h0"], pieces=pieces)
    before = sum(_checks.integer(name, arguments[name], 0) for name in ("transient", "q_transient"))
    t_ons = 1 if isinstance(arguments["t_ons"], str) else arguments["t_ons"]
    t_ons = _checks.integer("t_ons", t_ons, 1)
    most = (
        of.piece(_batch(of, arguments["h0"]), t_ons) if until_stderr is None else first_steps(t_ons)
    )
    first = min(of.stop, before + most)
    network, given = _problems(cell, k, x=of.between(0, first), steps=None, **arguments)
    number = network.wanted or sum(len(layer.block) for layer in given)
    return _Asked(network, given, max_rows, of, goal(until_stderr, stderr_of, number), problems)


def _may_be_many(x: Any, steps: Any, max_rows: int, arguments: dict[str, Any]) -> bool:
    """Whether there are more QRs than rows to keep, if arguments are what they should be."""
    length = steps if x is None else len(x) if isinstance(x, np.ndarray) and x.ndim else 0
    return (
        arguments["lengths"] is None
        and isinstance(length, (int, np.integer))
        and bool(length > max_rows)
    )


def _batch(of: Supply, h0: Any) -> int:
    """How many trajectories there are, as far as it can be told before inputs are asked for."""
    if isinstance(of.of, np.ndarray):
        return of.of.shape[1]
    return len(h0) if _checks.ndim(h0) == 2 else 1


def _problems(cell: Any, k: Any, **arguments: Any) -> tuple[Network, list[Problem]]:
    """With k a number, the first k of all layers are among the first k of each."""
    generics = step, tangent
    layers = each_layer(cell)
    if len(layers) == 1:
        given = layer_problems(generics, cell, k=k, **arguments)
        return Network(given[0].cell, None), given
    cell = checked(cell, *generics)
    if not isinstance(k, (int, np.integer)):
        return Network(cell, None), layer_problems(generics, cell, k=k, **arguments)
    states = [sizes(layer).state for layer in layers]
    k = _checks.integer("k", k, 1, sum(states), why=" = n_state of these layers")
    ks = [min(k, n) for n in states]
    return Network(cell, k), layer_problems(generics, cell, k=ks, **arguments)


# what a spectrum that is gone on with has settled
SETTLED = {
    "h0": None,
    "q0": None,
    "t_ons": 1,
    "transient": 0,
    "q_transient": 0,
    "lengths": None,
    "max_rows": MOST,
}


def _continued(cell: Any, k: Any, spectrum: Any, arguments: dict[str, Any]) -> tuple[Network, Run]:
    """Network and run of a spectrum, which settles all but the inputs."""
    if not isinstance(spectrum, Spectrum) or spectrum._origin is None:
        raise LyapflowError(
            "continue_from must be a spectrum that lyapunov_spectrum has returned for one cell, "
            "neither for an ensemble nor with lengths, and not per(dt), nor one without Jacobians"
        )
    network, run = spectrum._origin
    for name, usual in SETTLED.items():
        value = arguments[name]
        if not (value is usual or (isinstance(value, int) and value == usual)):
            raise LyapflowError(f"{name} is settled by continue_from; leave it out")
    if k is not None and k != len(spectrum.exponents):
        raise LyapflowError(
            f"k is settled by continue_from, which has {len(spectrum.exponents)}; leave it out"
        )
    cell = checked(cell, step, tangent)
    if classes(cell) != classes(network.cell):
        given, earlier = (
            ", ".join(type(one).__name__ for one in each_cell(of)) for of in (cell, network.cell)
        )
        raise LyapflowError(
            f"continue_from is of another network, {earlier}, got {given}; give that one, or start anew"
        )
    for (name, array), (_, before) in zip(named_arrays(cell), named_arrays(network.cell)):
        if not np.array_equal(array, before):
            raise LyapflowError(
                f"continue_from is of a cell with another {name}; give that cell, or start anew"
            )
    return network, run


def _as_long_as_asked(
    asked: _Asked, reached: Reached | None = None, seen: Seen | None = None
) -> tuple[Spectrum, list[Doubt]]:
    """The spectrum of all steps that are asked for, or until its bars are as small as they are to be.

    A run that was interrupted goes on from what it had reached, of which `seen` is told after each
    piece."""
    network, of, aim = asked.network, asked.supply, asked.goal
    if reached is None:
        run = begin(asked.given, asked.max_rows) if asked.run is None else asked.run
        reached = Reached(run, run.steps, bar=np.nan)
    run = reached.run
    if of is None:
        return assess(network, run)
    begun = asked.given[0].plan
    before, t_ons = begun.before, run.courses[0].begun.plan.t_ons
    stop, last_bar = reached.stop, reached.bar
    if aim is None:
        stop = of.stop
    elif asked.run is not None:
        stop = run.steps + first_steps(t_ons)
    while True:
        stop = min(stop, of.stop)
        run = _further(asked, of, Reached(run, stop, last_bar), seen)
        spectrum, doubts = assess(network, run)
        if aim is None or any(not why.may_pass for why in doubts):
            return spectrum, doubts
        bar = aim.bar(spectrum)
        if run.steps == of.stop and (doubts or not bar <= aim.stderr):
            return spectrum, [*doubts, aim.missed(bar, run.steps)]
        bar = np.nan if doubts else bar
        # a bar that is small by chance is not small twice
        if bar <= aim.stderr and (last_bar <= aim.stderr or run.steps == of.stop):
            return spectrum, doubts
        last_bar = bar
        counted = aim.next_steps(run.steps - before, bar)
        stop = before + -(-counted // t_ons) * t_ons


def _further(asked: _Asked, of: Supply, reached: Reached, seen: Seen | None) -> Run:
    """The run as far as it is to go before it is looked at, piece by piece."""
    run, stop = reached.run, reached.stop
    blocks = [len(course.begun.block) for course in run.courses]
    batch, t_ons = len(run.groups), run.courses[0].begun.plan.t_ons
    affordable_growth(min(-(-stop // t_ons), run.max_rows), sum(blocks), batch)
    _checks.affordable(f"{stop} steps in one sweep, where it comes to that,", 5 * stop)
    piece = of.piece(batch, t_ons)
    while run.steps < stop:
        if seen is not None:
            seen(asked.network, reached._replace(run=run))
        try:
            run = go_on(run, of.between(run.steps, min(run.steps + piece, stop), batch))
        except FromTheStart:
            run = _anew(asked, of, stop)
    if seen is not None:
        seen(asked.network, reached._replace(run=run))
    return run


def _anew(asked: _Asked, of: Supply, stop: int) -> Run:
    """All steps up to number stop in one sweep."""
    if asked.problems is None:
        raise LyapflowError(
            f"what continue_from has kept is not enough to go on to step {stop}: a direction may have been "
            "lost exactly, float32 is not enough for what follows, or not one interval was complete; "
            "measure all steps in one run"
        ) from None
    return begin(asked.problems(of.between(0, stop, len(asked.given[0].h0))), asked.max_rows)


def spectrum_and_doubts(
    cell: Any, x: Any, k: Any, *, steps: Any, watch: Watch | None = None, **arguments: Any
) -> tuple[Spectrum, list[Doubt]]:
    """`lyapunov_spectrum` of one cell, with what it warns of; arguments may be left out."""
    pieces = 0 if watch is None else SHOWN
    asked = _checked(cell, k, x, steps, pieces=pieces, **SETTLED | arguments)
    if watch is None or asked.supply is None:
        return _as_long_as_asked(asked)
    stop = asked.supply.stop
    return _as_long_as_asked(asked, seen=lambda _, reached: watch(reached.run.steps, stop))


def interrupted_spectrum(
    cell: Any,
    x: Any,
    k: Any,
    before: Callable[[list[Problem]], Reached | None],
    seen: Seen,
    watch: Watch | None = None,
    **arguments: Any,
) -> tuple[Spectrum, list[Doubt]]:
    """The same of a run that tells what it has reached, and goes on from what it had reached before, if anything.

    `before` is given the problems of the first piece, of which it may say that they are others."""
    pieces = 1 if watch is None else SHOWN
    asked = _checked(cell, k, x, pieces=pieces, **SETTLED | arguments)
    reached = before(asked.given)
    if reached is not None and reached.run.max_rows != asked.max_rows:
        raise LyapflowError(
            f"the run was begun with max_rows={reached.run.max_rows}, got {asked.max_rows}; give the same, "
            "or begin another run"
        )
    if reached is not None and asked.supply is not None and reached.run.steps > asked.supply.stop:
        raise LyapflowError(
            f"{reached.run.steps} steps were taken before, got only {asked.supply.stop} now; "
            "give at least as many as before, or begin another run"
        )

    def tell(network: Network, reached: Reached) -> None:
        seen(network, reached)
        if watch is not None and asked.supply is not None:
            watch(reached.run.steps, asked.supply.stop)

    return _as_long_as_asked(asked, reached, tell)


def spectrum_of_pieces(
    cell: Any, pieces: Iterator[np.ndarray], k: Any, **arguments: Any
) -> Spectrum:
    """The spectrum along inputs (T, m) that come once, in pieces."""
    nothing = {"steps": None, "h0": None, "transient": 0, "lengths": None}
    network, given = _problems(cell, k, x=next(pieces), **nothing, **arguments)
    run = begin(given)
    try:
        for x in pieces:
            affordable_growth(min(run.steps + len(x), run.max_rows), len(given[0].block), 1)
            run = go_on(run, x[:, None])
    except FromTheStart:
        raise LyapflowError(
            "a direction may have been lost exactly, or float32 is not enough: what is given once cannot be "
            "gone over again; give an array, or a function of the step"
        ) from None
    spectrum, doubts = assess(network, run)
    for why in doubts:
        warn(why.text)
    return spectrum


def _lost(asked: _Asked) -> Spectrum:
    return lost_spectrum(asked.network, asked.given, asked.max_rows)


@over_members("x", "h0", "q0", "lengths", check=_checked, lost=_lost)
def lyapunov_spectrum(
    cell: Any,
    x: ArrayLike | Callable[[int, int], ArrayLike] | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
    lengths: ArrayLike | None = None,
    until_stderr: float | None = None,
    stderr_of: int | str | None = None,
    max_steps: int | None = None,
    continue_from: Spectrum | None = None,
    max_rows: int = MOST,
    progress: bool | Callable[[int, int], object] = False,
) -> Spectrum:
    r"""The first k Lyapunov exponents along the trajectory driven by x.

    .. math:: \lambda_i = \frac1T \sum_s \log R_{ii}^s, \qquad D_{s+t_{ONS}-1} \cdots D_s Q_s = Q_{s+1} R^{s+1}

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m), or function
        Input of one trajectory, or of B whose exponents are averaged; for a cell without inputs
        give `steps` instead. A function of two step numbers, start and stop, must return the inputs
        of steps start to stop - 1, the same at every call.
    k : int, optional
        Number of exponents, all n_state by default. In a network of layers the first k of the whole
        network, or a tuple with the number for each layer.
    steps : int, optional
        Number of steps of a cell without inputs, or of a function, transients included; h0
        (B, n_state) makes B trajectories.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories; the first k columns of a fixed matrix
        by default. In a network of layers a sequence with one block for each.
    t_ons : int or "auto"
        Steps between reorthonormalisations. "auto" chooses the longest interval that a short test
        sweep finds safe; an interval that turns out ill-conditioned is repeated step by step.
        Exponents agree with those of t_ons = 1 to 1e-8 (float32: 1e-3).
    transient : int
        First steps, which only move the state.
    q_transient : int
        Next steps, which move state and tangent block but are not counted.
    lengths : int array (B,), optional
        Length of each trajectory, if x (T, B, m) is padded at the ends: exponents are then means
        over all counted steps, and error bars are those of all trajectories joined to one series.
    until_stderr : float, optional
        Stop once all standard errors are at most this, in nats per step, and no warning is pending.
        They are checked from time to time and have to be small enough twice, since a run that stops
        at the first small bar would too often stop at one that is too small by chance.
    stderr_of : int or "dimension", optional
        Which standard errors `until_stderr` refers to: those of so many leading exponents, all by
        default, or that of the Kaplan-Yorke dimension.
    max_steps : int, optional
        With `until_stderr`, the largest number of steps; needed if x is a function or the cell has
        no inputs.
    continue_from : Spectrum, optional
        A Spectrum of the same cell: go on where its run ended, with the inputs that follow. The
        result equals, to the bit, that of one run over all steps. h0, q0, k, t_ons, transients and
        max_rows are taken from it.
    max_rows : int
        Largest number of rows of `log_growth` to keep. If there are more counted
        reorthonormalisations, the growth of 2, 4, 8, ... neighbours is added up, so that memory
        does not grow with the length of a run. Exponents stay the same up to rounding, error bars
        to about 1 %.
    progress : bool, or function
        Show how many steps are done, in a terminal or notebook; or a function that is called from
        time to time with the number of steps done and their total. With an ensemble the bar is that
        of one of its networks. Not with `lengths`.

    Returns
    -------
    Spectrum
        Exponents in nats per step, with standard errors.

    Raises
    ------
    LyapflowError
        If arguments do not fit; if the run of `continue_from` cannot be continued, because only a
        run from the start can decide whether a direction is lost exactly, or whether float32 is
        enough.
    Diverged
        If a state stops being finite; it names the step, and the trajectory of a batch.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories, if exponents or their bars cannot be trusted
        (Notes), or if the bars are still above `until_stderr` after the last step.

    Notes
    -----
    Benettin et al. (1980); paper, Alg. 2 and App. I. Standard errors are estimated from slow
    variations of the growth rates, so that correlations are accounted for; they are too large where
    growth rates cancel over time. Trajectories that share their input count as one; where
    trajectories differ by more than their own errors explain, the scatter between them gives the
    error. A `LyapflowWarning` says if a run is too short for its bars, or if exponents belong to a
    repelling fixed point or to rounding errors.

    An exponent is -inf where the product of the Jacobians, as float64 numbers, has lost rank
    exactly. The growth of a direction that a step shrinks below rounding is computed from the
    Jacobian itself; what remains uncertain is included in stderr (``docs/conventions.md``).

    The exponents of a network of layers are those of each layer under the states of the one below,
    in descending order (``docs/conventions.md``).

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(W=np.array([[0.5]]), V=np.empty((1, 0)), b=np.zeros(1))
    >>> lf.lyapunov_spectrum(cell, steps=100).exponents.round(9)  # ln 0.5 at the fixed point 0
    array([-0.69314718])

    Until the bars are small, and then for longer:

    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0), g=2.0)
    >>> x = np.random.default_rng(1).standard_normal((20_000, 1))
    >>> spectrum = lf.lyapunov_spectrum(cell, x, k=2, until_stderr=0.02)
    >>> bool((spectrum.stderr <= 0.02).all())
    True
    >>> more = x[spectrum.steps_counted :]
    >>> lf.lyapunov_spectrum(cell, more, continue_from=spectrum).steps_counted
    20000
    """
    if _checks.ndim(x) == 3:
        doubt_layout(np.asarray(x))
    arguments: dict[str, Any] = {
        "steps": steps,
        "until_stderr": until_stderr,
        "stderr_of": stderr_of,
        "max_steps": max_steps,
        "continue_from": continue_from,
        "h0": h0,
        "q0": q0,
        "t_ons": t_ons,
        "transient": transient,
        "q_transient": q_transient,
        "lengths": lengths,
        "max_rows": max_rows,
    }
    with watched(progress if lengths is None else False) as watch:
        spectrum, doubts = spectrum_and_doubts(cell, x, k, watch=watch, **arguments)
    for why in doubts:
        warn(why.text)
    return spectrum
