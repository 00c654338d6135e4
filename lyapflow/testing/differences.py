"""Derivatives by finite differences, with a step size that is searched for if it is not given."""

from collections.abc import Callable
from typing import Any

import numpy as np

DISTANCES = 10.0 ** -np.arange(1, 7)
MOST_ENTRIES = 40  # of an array that are displaced one by one


def central(f: Callable[[float], Any], distance: float = 1e-3) -> Any:
    """Central difference of sixth order of f at 0."""
    terms = ((1, 45), (2, -9), (3, 1))
    return sum(c * (f(s * distance) - f(-s * distance)) for s, c in terms) / (60 * distance)


def derivative(f: Callable[[float], np.ndarray], around: np.ndarray) -> tuple[np.ndarray, float]:
    """Derivative at 0 of what f makes of a displacement of the array `around`, and its uncertainty.

    Of several distances the one that agrees best with the next shorter one: long ones meet
    curvature and kinks, short ones rounding."""
    distances = DISTANCES * max(1e-3, np.abs(around).max(initial=0.0) or 1.0)
    rounding = 8 * np.finfo(float).eps * np.abs(f(0.0)).max() / distances
    estimates = [central(f, distance) for distance in distances]
    doubts = [
        max(np.abs(a - b).max(), r) for a, b, r in zip(estimates, estimates[1:], rounding[1:])
    ]
    best = int(np.argmin(np.nan_to_num(doubts, nan=np.inf)))
    return estimates[best + 1], doubts[best]


def directions(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Displacements of an array with their names: of each entry, or of some of many and of all at random."""
    size = int(np.prod(shape))
    few = size <= MOST_ENTRIES
    some = np.arange(size) if few else np.sort(rng.choice(size, MOST_ENTRIES, replace=False))
    each = np.zeros((len(some), size))
    each[np.arange(len(some)), some] = 1.0
    at_random = rng.uniform(-1, 1, (0 if few else 4, size))
    places = [[int(i) for i in np.unravel_index(e, shape)] for e in some]
    names = [str(place) if place else "" for place in places] + [" along a random direction"] * len(
        at_random
    )
    return names, np.concatenate([each, at_random]).reshape(-1, *shape)
