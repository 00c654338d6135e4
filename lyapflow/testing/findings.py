"""The findings of the checks of a cell: errors that are small enough, and faults, reported together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

TOLERANCE = 1e-9  # relative, in float64


class Report(NamedTuple):
    """What `check_cell` found for a cell without errors.

    Attributes
    ----------
    checks : mapping
        The largest relative error of each check, by kernel and what was compared.
    skipped : tuple of str
        Kernels that the class of the cell lacks.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from lyapflow.testing import check_cell
    >>> report = check_cell(lf.LinearRNN.random(2, 1, rng=np.random.default_rng(0)))
    >>> report.skipped
    ()
    >>> max(report.checks.values()) < 1e-9
    True
    """

    checks: Mapping[str, float]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"  {check}: {error:.0e}" for check, error in self.checks.items()]
        if self.skipped:
            lines.append(f"  not there, and not checked: {', '.join(self.skipped)}")
        return "\n".join([f"{len(self.checks)} checks passed; largest relative errors:", *lines])


class CellError(AssertionError):
    """Kernels of a cell that contradict its `step`: a line for each check that failed, the worst first.

    Examples
    --------
    It is an AssertionError, so that a test that calls `check_cell` fails with these lines:

    >>> from lyapflow.testing import CellError
    >>> issubclass(CellError, AssertionError)
    True
    """


class _Fault(NamedTuple):
    kernel: str
    error: float
    text: str


class Findings:
    """Errors of the checks of one cell, and those that are too large."""

    def __init__(self, cell_class: type) -> None:
        self.name = cell_class.__name__
        self.checks: dict[str, float] = {}
        self.faults: dict[str, _Fault] = {}  # the worst of each check

    def fault(self, kernel: str, check: str, text: str, error: float = np.inf) -> None:
        if check not in self.faults or error > self.faults[check].error:
            self.faults[check] = _Fault(kernel, error, text)

    def compare(
        self,
        kernel: str,
        what: str,
        got: Any,
        expected: Any,
        entry: Callable[..., str],
        doubt: float = 0.0,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Note the largest error relative to what was expected, which is known to within doubt; entry names one."""
        got, expected = np.asarray(got, float), np.asarray(expected, float)
        if got.size == 0:
            return
        off = np.abs(got - expected)
        largest = np.abs(expected).max()
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(off), off.shape))
        # what is in doubt counts as much as what is expected, so that noise about zero is no error
        error = float(off[worst] / (largest + 10 * doubt / tolerance)) if off[worst] else 0.0
        if not np.isfinite(off[worst] + doubt):
            error = np.inf
        check = f"{kernel}: {what}"
        self.checks[check] = max(error, self.checks.get(check, 0.0))
        if not error <= tolerance:
            numbers = f"expected {expected[worst]:.8g}, got {got[worst]:.8g}"
            relative = f"(relative error {off[worst] / largest:.1e})"
            self.fault(kernel, check, f"{entry(*worst)}: {numbers} {relative}", error)

    def stop_at_faults(self, later: Sequence[str] = ()) -> None:
        """Raise where there are any; `later` are the kernels whose checks take those before to be right."""
        if self.faults:
            lines = [
                f"  {fault.kernel}: {fault.text}"
                for fault in sorted(self.faults.values(), key=lambda f: -f.error)
            ]
            if later:
                lines.append(
                    f"  not checked, for that takes those above to be right: {', '.join(later)}"
                )
            raise CellError(
                f"the kernels of {self.name} do not fit together, the worst first:\n"
                + "\n".join(lines)
            )
