"""Side by side: competitors take turns, so that what disturbs the machine disturbs them alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np

SHORTEST = 0.1  # seconds that a turn lasts at least


def turn(call: Callable[[], object], times: int) -> float:
    """Seconds per call, after one that fetches back what the others have driven out of the caches."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def side_by_side(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call over the rounds, after calls to warm up."""
    times = {}
    for name, call in calls.items():
        call()  # compiles
        times[name] = max(1, round(SHORTEST / turn(call, 1)))
    found = [{name: turn(call, times[name]) for name, call in calls.items()} for _ in range(rounds)]
    return {name: float(np.median([one[name] for one in found])) for name in calls}
