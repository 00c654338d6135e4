"""Named random streams: every use of randomness in a run is its own child of the run's seed."""

from typing import Any

import numpy as np

from lyapflow import _checks


def stream(seed: Any, name: str, index: int = 0) -> np.random.Generator:
    """The generator of one purpose, such as ``stream(seed, "data", epoch)``.

    It is the `numpy.random.SeedSequence` child of seed whose spawn key spells the name and the
    index, so streams are independent and none depends on what was drawn from another."""
    seed = _checks.integer("seed", seed, 0)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*name.encode(), index)))
