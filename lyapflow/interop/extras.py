"""Optional libraries."""

import importlib
from typing import Any

from lyapflow.errors import LyapflowError

# what is imported, and the extra that brings it
EXTRAS = {"torch": "torch", "keras": "keras", "h5py": "keras", "onnx": "onnx", "jax": "jax"}


class NotInstalled(LyapflowError, ImportError):
    """A library that some function needs is not installed."""


def imported(name: str) -> Any:
    """A library, or one line that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        name = name.partition(".")[0]
        extra = EXTRAS[name]
        raise NotInstalled(
            f"this needs {name}, which is not installed: python -m pip install 'lyapflow[{extra}]'"
        ) from None
