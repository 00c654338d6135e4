"""Base of the results of public functions: two are equal if all their fields are."""

from dataclasses import fields
from typing import Any

import numpy as np


class Result:
    """Base of dataclasses (``eq=False``) that may hold arrays: tuples of these, which dataclasses compare, raise.

    NaN equals NaN, so that a result of the same computation is the same result.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)  # type: ignore[arg-type]
            if field.compare
        )


def _same(a: Any, b: Any) -> bool:
    numbers = all(isinstance(value, (int, float, np.ndarray, np.generic)) for value in (a, b))
    return np.array_equal(a, b, equal_nan=True) if numbers else a == b
