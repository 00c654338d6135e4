"""Memory that a thread keeps from one call to the next."""

import math
import threading

import numpy as np

from lyapflow._engine.pool import threads

_here = threading.local()
KEPT_BYTES = 2**25  # bytes that a thread keeps, at most, for itself and for each that helps it


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be written, in the memory of the last one that this thread had under this name.

    To get fresh memory from the system takes as long as a short epoch needs to fill it. What is
    large is not kept."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    kept = _here.__dict__.setdefault("kept", {})
    if name not in kept or kept[name].size < size:
        fresh = np.empty(size, np.uint8)
        if (
            size + sum(a.size for other, a in kept.items() if other != name)
            > KEPT_BYTES * threads()
        ):
            return fresh.view(dtype).reshape(shape)
        kept[name] = fresh
    return kept[name][:size].view(dtype).reshape(shape)
