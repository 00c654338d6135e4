"""Trees of arrays: a cell or a Model as its list of arrays, and back."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def named_arrays(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a cell or Model with its dotted name, in the order of the fields."""
    for field, value in zip(tree._fields, tree):
        if hasattr(value, "_fields"):
            yield from named_arrays(value, f"{prefix}{field}.")
        else:
            yield prefix + field, value


def arrays(tree: Any) -> list[np.ndarray]:
    return [array for _, array in named_arrays(tree)]


def like(tree: Any, values: Iterator[np.ndarray]) -> Any:
    """The same tree with other arrays, taken in order."""
    return type(tree)(*(like(v, values) if hasattr(v, "_fields") else next(values) for v in tree))


def map_arrays(function: Callable[[np.ndarray], np.ndarray], tree: Any) -> Any:
    return like(tree, map(function, arrays(tree)))
