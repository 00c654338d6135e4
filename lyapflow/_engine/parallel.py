"""The lock of kernels with a parallel loop (``prange``)."""

import os
import threading


class _ParallelKernel:
    """Whoever runs a parallel kernel holds this.

    Numba's threading layers abort the process where one starts while another runs, and in a fork of a process that
    has run one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: int | None = None

    def allowed(self) -> bool:
        """Whether this process is not a fork of one that has run a parallel kernel."""
        return self._process in (None, os.getpid())

    def __enter__(self) -> None:
        self._lock.acquire()
        self._process = os.getpid()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


parallel_kernel = _ParallelKernel()
