"""What a forked child process has to do first, on systems where processes fork."""

import os
from collections.abc import Callable


def in_a_child(do: Callable[[], object]) -> None:
    """Have do() called first thing in every forked child; Windows has none."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=do)
