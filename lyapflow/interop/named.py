"""One of several recurrent networks within something, by its name."""

from collections.abc import Sequence

from lyapflow.errors import LyapflowError


def place_of(name: str | None, names: Sequence[str], what: str, thing: str) -> int:
    """Where the one of that name stands, or the only one; `what` holds them, a `thing` is what they are."""
    listed = ", ".join(map(repr, names))
    if name is None and len(names) > 1:
        raise LyapflowError(f"{what} has several {thing}s; give one, name=: {listed}")
    if name is not None and name not in names:
        raise LyapflowError(f"{what} has no {thing} named {name!r}; it has {listed}")
    return 0 if name is None else names.index(name)
