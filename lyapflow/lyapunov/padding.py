"""Sequences of different lengths in one batch, padded at their ends; what is behind an end counts nowhere."""

from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError


def end_of_padding(lengths: Any, **batches: Any) -> tuple[np.ndarray | None, list[Any]]:
    """Lengths (B,) after checks, and arrays (T, B, ...), given by name, with zeros for their padding.

    Padding may be anything, NaN as well. Without lengths all comes back as it is."""
    if lengths is None:
        return None, list(batches.values())
    filled: list[Any] = []
    for name, value in batches.items():
        _checks.not_masked(name, value)
        batch = np.array(value)
        if batch.ndim != 3:
            raise LyapflowError(
                f"lengths is for a batch of sequences, {name} (T, B, m); got {name} of shape {batch.shape}"
            )
        filled.append(batch)
    steps, count = filled[0].shape[:2]
    found = np.asarray(lengths)
    if found.shape != (count,) or not np.issubdtype(found.dtype, np.integer):
        raise LyapflowError(
            f"lengths must be {count} integers, one for each sequence, got {lengths!r:.80}"
        )
    for b, length in enumerate(found):
        if not 1 <= length <= steps:
            raise LyapflowError(
                f"lengths must be between 1 and the {steps} steps of the batch, got {length} for sequence {b}"
            )
    behind = np.arange(steps)[:, None] >= found
    for batch in filled:
        batch[behind[: len(batch), : batch.shape[1]]] = 0
    return found.astype(np.int64), filled


def padded(arrays: list[np.ndarray], steps: int, fill: float) -> np.ndarray:
    """Arrays (T_b, 1, ...) of single sequences as one (T, B, ...)."""
    whole = np.full((steps, len(arrays), *arrays[0].shape[2:]), fill, arrays[0].dtype)
    for b, one in enumerate(arrays):
        whole[: len(one), b] = one[:, 0]
    return whole
