"""A sweep in pieces: each goes on where the one before ended, with the bits of one sweep.

A sweep may stop after any reorthonormalisation: states, block and pace (`lyapflow.lyapunov.growth`)
are all that its next steps need. Where the last interval is not complete, the steps of it are kept,
and taken again with those that follow."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from lyapflow.cells.layers import of_layer
from lyapflow.lyapunov.doubts import SHORT_CYCLE
from lyapflow.lyapunov.error_bars import same_input
from lyapflow.lyapunov.growth import RECENT, FromTheStart, Growth, volume_growth
from lyapflow.lyapunov.layers import driven
from lyapflow.lyapunov.problem import Problem, each_trajectory
from lyapflow.lyapunov.rows import MOST, Rows, first_rows
from lyapflow.lyapunov.schedule import Schedule, intervals, schedule
from lyapflow.lyapunov.trajectory import states_of

KEPT = 2**22  # numbers of recent inputs that are kept for whoever goes on


class Segment(NamedTuple):
    """Inputs of some steps, and the states before them."""

    h0: np.ndarray  # (B, n_state)
    x: np.ndarray  # (T, B, m)


class Course(NamedTuple):
    """What the trajectories of one layer have done so far."""

    begun: Problem  # the first piece
    steps: int
    found: list[Growth]  # (B,), of all pieces together, but for log R
    rows: list[Rows]  # (B,), log R of all pieces
    recent: list[Segment]  # of the last RECENT steps or more
    above: np.ndarray  # (B, n_state), last states as layers above see them, in the cell's own dtype

    @property
    def states(self) -> np.ndarray:
        """The states (B, n_state) after the last step."""
        return np.array([growth.end.state for growth in self.found])

    @property
    def blocks(self) -> np.ndarray:
        """The tangent blocks (B, n_state, k) after the last step, NaN for what is lost."""
        k, n = self.begun.block.shape
        found = np.full((len(self.found), n, k), np.nan, self.states.dtype)
        for block, growth in zip(found, self.found):
            block[:, : len(growth.end.block)] = growth.end.block.T
        return found

    @property
    def counted(self) -> np.ndarray:
        """Counted steps (B,) of each trajectory."""
        return self.begun.counted + (self.steps - self.begun.plan.steps)

    @property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps of each row of log R, of those that are not counted and of those that are."""
        plan, counted = self.begun.plan, int(self.counted.max())
        before = self.steps - counted - plan.transient
        return intervals(before, plan.t_ons), intervals(counted, plan.t_ons * self.rows[0].each)

    @property
    def last(self) -> Problem:
        """The recent steps as a problem of their own, that begins with the first block."""
        if len(self.recent[0].x) == self.steps:
            return self.begun
        x = np.concatenate([segment.x for segment in self.recent])
        plan = self.begun.plan
        transient = plan.transient if len(x) == self.steps else 0
        plan = schedule(len(x), plan.t_ons, transient, 0)
        return self.begun._replace(x=x, h0=self.recent[0].h0, plan=plan)

    def alone(self, b: int) -> "Course":
        """The same of trajectory b alone, where lengths differ."""
        begun = self.begun.alone(b)
        recent = [Segment(begun.h0, begun.x)]
        above = self.above[b : b + 1]
        return Course(begun, begun.plan.steps, [self.found[b]], [self.rows[b]], recent, above)


class Run(NamedTuple):
    """The layers of a network, bottom first, and which trajectories share their inputs.

    Where the last interval is not complete, `complete` is the run before it, and tail its inputs."""

    courses: list[Course]
    groups: np.ndarray  # (B,), numbers of groups
    complete: "Run | None" = None
    tail: np.ndarray | None = None  # (steps, B, m)

    @property
    def steps(self) -> int:
        """All steps so far."""
        return self.courses[0].steps

    @property
    def max_rows(self) -> int:
        """How many rows of log R are kept at most."""
        return self.courses[0].rows[0].most

    def without_inputs(self, most: float = KEPT) -> "Run":
        """The same with what it takes to go on, and no more; recent inputs, if there are no more numbers than that."""
        courses = []
        for course in self.courses:
            begun = course.begun._replace(x=course.begun.x[:SHORT_CYCLE].copy())
            kept = sum(x.size for _, x in course.recent) <= most
            recent = [Segment(h0, x.copy()) for h0, x in course.recent if kept]
            courses.append(course._replace(begun=begun, recent=recent))
        complete = None if self.complete is None else self.complete.without_inputs(most)
        tail = None if self.tail is None else self.tail.copy()
        return Run(courses, self.groups, complete, tail)


def begin(given: list[Problem], most: int = MOST) -> Run:
    """The first piece, from the problem of each layer. Rows of log R are kept, so many at most."""
    pieces = driven(given)
    plan = pieces[0].plan
    counted = int(plan.ends[-1])
    rest = counted % plan.t_ons
    if pieces[0].lengths is not None or rest == 0:
        return _take(None, pieces, most)
    if counted > plan.t_ons:
        with suppress(FromTheStart):
            return _with_rest(None, pieces, plan.of_length(plan.steps - rest), most)
    # nobody can go on from here
    return _take(None, pieces, most)._replace(tail=pieces[0].x)


def go_on(run: Run, x: np.ndarray) -> Run:
    """The run with more steps, whose inputs to the network are x (T, B, m).

    Raises FromTheStart where only a sweep of all steps can tell how they go on."""
    if run.tail is not None:
        if run.complete is None:
            raise FromTheStart
        return go_on(run.complete, np.concatenate([run.tail, x]))
    pieces = driven([_next(course, x) for course in run.courses])
    t_ons = run.courses[0].begun.plan.t_ons
    rest = len(x) % t_ons
    if rest == 0:
        return _take(run, pieces)
    if rest == len(x):
        return _take(run, pieces)._replace(complete=run, tail=x)
    return _with_rest(run, pieces, schedule(len(x) - rest, t_ons, 0, 0))


def _with_rest(before: Run | None, pieces: list[Problem], plan: Schedule, most: int = MOST) -> Run:
    """Pieces whose last interval is not complete; that before it has the schedule that is given."""
    steps = plan.steps
    complete = _take(before, [of._replace(x=of.x[:steps], plan=plan) for of in pieces], most)
    rest = [_next(course, of.x[steps:]) for course, of in zip(complete.courses, pieces)]
    return _take(complete, rest)._replace(complete=complete, tail=rest[0].x)


def _next(course: Course, x: np.ndarray) -> Problem:
    """The problem of the steps that follow; each trajectory goes on with state and block of its own end."""
    given = course.begun
    plan = schedule(len(x), given.plan.t_ons, 0, 0)
    return given._replace(x=x, plan=plan, h0=course.above, automatic=False, earlier=course.steps)


def _take(before: Run | None, pieces: list[Problem], most: int = MOST) -> Run:
    """The sweep of a piece of each layer."""
    courses, groups = [], same_input(pieces[0].x)
    for number, piece in enumerate(pieces):
        course = None if before is None else before.courses[number]
        with of_layer(number, len(pieces)):
            found = _growth(piece, course)
        recent = Segment(np.array([growth.recent for growth in found]), piece.x[-RECENT:])
        segments = [recent] if course is None else [*course.recent, recent]
        while sum(len(segment.x) for segment in segments[1:]) >= RECENT:
            del segments[0]
        if course is None:
            rows = [first_rows(growth.log_growth, piece.plan.uncounted, most) for growth in found]
        else:
            rows = [of.with_more(growth.log_growth) for of, growth in zip(course.rows, found)]
        above = _states_above(piece, found, top=number + 1 == len(pieces))
        courses.append(
            Course(
                piece if course is None else course.begun,
                piece.earlier + piece.plan.steps,
                [growth._replace(log_growth=growth.log_growth[:0].copy()) for growth in found],
                rows,
                segments,
                above,
            )
        )
    return Run(courses, groups if before is None else _in_common(before.groups, groups))


def _growth(piece: Problem, course: Course | None) -> list[Growth]:
    """The growth of each trajectory, from where its course ended before."""

    def one(b: int) -> Growth:
        before = None if course is None else course.found[b]
        return volume_growth(piece.alone(b), before=before)

    return each_trajectory(one, len(piece.h0))


def _states_above(piece: Problem, found: list[Growth], top: bool) -> np.ndarray:
    """The last states of a piece in the cell's own dtype, though its sweep may have been done in float64."""
    dtype = piece.h0.dtype
    if top or piece.lengths is not None or all(growth.dtype == dtype for growth in found):
        with np.errstate(over="ignore"):  # of what float32 does not hold, and nobody asks for
            return np.array([growth.end.state for growth in found]).astype(dtype)
    return states_of(piece)[-1].copy()


def _in_common(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Numbers of groups within which both agree, by their first members."""
    seen: dict[tuple[int, int], int] = {}
    return np.array([seen.setdefault(pair, len(seen)) for pair in zip(groups, others)])
