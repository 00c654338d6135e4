"""Ensembles: many cells, or Models, of one kind joined into one; each member has a thread of its own."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from lyapflow._checks import not_masked
from lyapflow._engine.pool import each
from lyapflow._trees import classes, is_tree, map_arrays, named_arrays
from lyapflow.errors import Diverged, LyapflowError, collected_warnings, warn


class Ensemble(tuple):
    """Members of one class, size and dtype, as `lyapflow.stack` makes them.

    ``ensemble[r]`` is member r; ``ensemble.W`` holds the arrays W of all members, with a leading
    member axis.

    Attributes
    ----------
    reasons : tuple of (str or None)
        For a result: why the results of a member are NaN, or why it was frozen; None where all went
        well.
    """

    reasons: tuple[str | None, ...]

    def __new__(
        cls, members: Iterable[Any], reasons: Iterable[str | None] | None = None
    ) -> "Ensemble":
        self = super().__new__(cls, members)
        self.reasons = (None,) * len(self) if reasons is None else tuple(reasons)
        return self

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            if not range(len(self))[index]:
                raise LyapflowError(
                    f"an ensemble has at least one member: {index} takes none of {len(self)}"
                )
            return Ensemble(super().__getitem__(index), self.reasons[index])
        return super().__getitem__(index)

    def __getattr__(self, field: str) -> Any:
        if field not in super().__getitem__(0)._fields:
            raise AttributeError(f"an ensemble of {type(self[0]).__name__} has no {field}")
        values = [getattr(member, field) for member in self]
        if isinstance(values[0], tuple) and not is_tree(values[0]):  # layers
            return tuple(Ensemble(parts, self.reasons) for parts in zip(*values))
        return Ensemble(values, self.reasons) if is_tree(values[0]) else np.stack(values)

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)} {type(self[0]).__name__}>"


def stack(members: Iterable[Any]) -> Ensemble:
    """Make one ensemble of cells, or of Models, of one class, size and dtype.

    An ensemble is accepted wherever a cell or a Model is. Its members run in parallel, one thread
    each (as many at a time as NUMBA_NUM_THREADS), and each result is bit for bit what the member
    gives alone. In every array that goes with an ensemble (x, y, h0, q0), and in every result, the
    first axis counts the members; nothing broadcasts.

    Parameters
    ----------
    members : sequence of cells or of Models

    Returns
    -------
    Ensemble
        ``ensemble[r]`` is member r, ``ensemble.W`` the stacked arrays W.

    Raises
    ------
    LyapflowError
        If there is no member, or they differ in class, shapes or dtype.

    Notes
    -----
    A member that a computation cannot go on with (a state that is not finite, a tangent block
    without the wanted rank) does not end the others: its results are NaN, its parameters stay as
    the last good epoch left them, and ``reasons`` of the Spectrum or ensemble that comes back says
    why. Plain arrays, of `trajectory` and `jacobian`, have no reasons.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cells = [lf.LinearRNN(np.array([[w]]), np.empty((1, 0)), np.zeros(1)) for w in (0.5, 1.0)]
    >>> ensemble = lf.stack(cells)
    >>> ensemble.W.shape
    (2, 1, 1)
    >>> lf.lyapunov_spectrum(ensemble, steps=10).exponents
    array([[-0.69314718],
           [ 0.        ]])
    """
    try:
        found = list(members)
    except TypeError:
        raise LyapflowError(
            f"stack takes a sequence of cells or of Models, got {type(members).__name__}"
        ) from None
    if not found:
        raise LyapflowError("stack takes at least one member, got none")
    kinds = []
    for r, member in enumerate(found):
        if not is_tree(member):
            raise LyapflowError(
                f"stack takes a sequence of cells or of Models, such as [cell, cell], got one of "
                f"{type(member).__name__} in a {type(members).__name__}"
            )
        for name, value in named_arrays(member):
            not_masked(f"{name} of member {r}", value)
        found[r] = member = map_arrays(np.asarray, member)
        shapes = (f"{name} {a.dtype} {a.shape}" for name, a in named_arrays(member))
        kinds.append((*classes(member), *shapes))
    for r, kind in enumerate(kinds):
        if kind != kinds[0]:
            first, other = next((a, b) for a, b in zip((*kinds[0], ""), (*kind, "")) if a != b)
            raise LyapflowError(
                f"members of a stack must be of one class, size and dtype: the first has {first}, "
                f"member {r} has {other}"
            )
    return Ensemble(found)


class Members:
    """The members of an ensemble, or one network alone, on their way through a computation.

    ``now`` holds what each member has become; ``reasons`` why one was frozen.
    """

    def __init__(self, network: Any, reasons: list[str | None] | None = None) -> None:
        self.alone = not isinstance(network, Ensemble)
        self.now = [network] if self.alone else list(network)
        self.reasons: list[str | None] = [None for _ in self.now] if reasons is None else reasons

    def split(self, name: str, value: Any) -> list[Any]:
        """What each member gets of a value that leads with the member axis; None, or a function, is that of each."""
        if self.alone or value is None or callable(value):
            return [value] * len(self.now)
        parts = list(value) if np.iterable(value) and not is_tree(value) else []
        if len(parts) != len(self.now):
            got = f"shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.60}"
            raise LyapflowError(
                f"{name} must lead with the member axis, of length {len(self.now)} here, got {got}"
            )
        if not is_tree(parts[0]):
            try:
                np.shape(value if isinstance(value, np.ndarray) else parts)
            except ValueError:
                raise LyapflowError(f"{name} must have the same shape for every member") from None
        return parts

    def run(
        self, piece: Callable[[int], Any], lost: Callable[[int], Any], where: str = ""
    ) -> list[Any]:
        """piece(r) for each member in a thread; lost(r) for frozen ones.

        A single member is not frozen: its error is raised.
        """
        if self.alone:
            return [piece(0)]

        said: dict[str, list[int]] = {}  # warnings, and the members that they are of

        def one(r: int) -> Any:
            if self.reasons[r] is not None:
                return lost(r)
            try:
                with collected_warnings() as messages:
                    return piece(r)
            except Diverged as error:
                self.reasons[r] = f"{where}{error}"
                return lost(r)
            except LyapflowError as error:
                raise LyapflowError(f"member {r}: {error}") from None
            finally:
                for message in messages:
                    said.setdefault(message, []).append(r)

        found = each(one, len(self.now))
        for message, members in said.items():
            which = ", ".join(map(str, sorted(members)))
            warn(f"member{'s' if len(members) > 1 else ''} {which}: {message}")
        return found

    def join(self, results: Sequence[Any]) -> Any:
        """One result: with a leading member axis, an ensemble of cells or Models; that of a member alone as it is."""
        first = results[0]
        if self.alone:
            return first
        if hasattr(first, "_over_members"):
            return first._over_members(results, self.reasons)
        if is_tree(first):
            return Ensemble(results, self.reasons)
        if isinstance(first, tuple):
            return tuple(self.join(part) for part in zip(*results))
        return np.array(results)

    def together(self, values: Sequence[Any]) -> Any:
        """What each member has, of any kind: an ensemble, or that of a member alone as it is."""
        return values[0] if self.alone else Ensemble(values, self.reasons)


def over_members(*names: str, check: Callable[..., Any], lost: Callable[[Any], Any]) -> Callable:
    """Let a public function take an ensemble as its first argument.

    ``names`` are the arguments that lead with the member axis. ``check`` gets all arguments of one
    member by name and raises LyapflowError before any work; ``lost`` gets what check returned, and
    returns what a member gives that diverged."""

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        first = next(iter(signature.parameters))

        @functools.wraps(function)
        def public(*positional: Any, **keywords: Any) -> Any:
            ensemble = positional[0] if positional else keywords.get(first)
            if not isinstance(ensemble, Ensemble):
                return function(*positional, **keywords)
            members = Members(ensemble)
            bound = signature.bind(*positional, **keywords)
            bound.apply_defaults()
            parts = {name: members.split(name, bound.arguments[name]) for name in names}

            def arguments(r: int) -> dict[str, Any]:
                return {
                    **bound.arguments,
                    first: ensemble[r],
                    **{name: values[r] for name, values in parts.items()},
                }

            checked = []
            for r in range(len(ensemble)):
                try:
                    checked.append(check(**arguments(r)))
                except LyapflowError as error:
                    raise LyapflowError(f"member {r}: {error}") from None
            return members.join(
                members.run(lambda r: function(**arguments(r)), lambda r: lost(checked[r]))
            )

        return public

    return decorate
