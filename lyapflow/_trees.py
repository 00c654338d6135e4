"""Trees of arrays: a cell, a Model or an optimiser's state as its list of leaves, and back.

A branch is a NamedTuple, a tuple, a list or a dict, or None, which has no leaves; whatever else
stands in one is a leaf, an array or a number."""

from collections.abc import Callable, Iterator
from typing import Any


def is_tree(value: Any) -> bool:
    """Whether something is a NamedTuple, such as a cell or a Model."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _branches(tree: Any) -> Iterator[tuple[str, Any]] | None:
    """The parts of a branch by name; None for a leaf."""
    if is_tree(tree):
        return zip(tree._fields, tree)
    if isinstance(tree, dict):
        return ((str(key), part) for key, part in tree.items())
    if tree is None:
        return iter(())
    if isinstance(tree, (tuple, list)):
        return ((str(i), part) for i, part in enumerate(tree))
    return None


def named_arrays(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted name, in the order of the fields."""
    branches = _branches(tree)
    if branches is None:  # all of it is one leaf
        yield prefix, tree
    for name, part in branches or ():
        if _branches(part) is None:
            yield prefix + name, part
        else:
            yield from named_arrays(part, f"{prefix}{name}.")


def arrays(tree: Any) -> list[Any]:
    return [array for _, array in named_arrays(tree)]


def like(tree: Any, values: Iterator[Any]) -> Any:
    """The same tree with other leaves, taken in order."""
    branches = _branches(tree)
    if branches is None:
        return next(values)
    if tree is None:
        return None
    parts = [like(part, values) for _, part in branches]
    if is_tree(tree):
        return type(tree)(*parts)
    return dict(zip(tree, parts)) if isinstance(tree, dict) else type(tree)(parts)


def classes(tree: Any) -> list[str]:
    """The names of the classes of all NamedTuples of a tree, outer ones first."""
    own = [type(tree).__name__] if is_tree(tree) else []
    return [*own, *(name for _, part in _branches(tree) or () for name in classes(part))]


def map_arrays(function: Callable[[Any], Any], tree: Any) -> Any:
    return like(tree, map(function, arrays(tree)))
