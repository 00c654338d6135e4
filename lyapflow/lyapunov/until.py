"""The rule by which a run is long enough: its standard errors are small, and can be trusted."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.doubts import Doubt

if TYPE_CHECKING:
    from lyapflow.lyapunov.measured import Spectrum

FIRST, FEWEST = 1024, 64  # counted steps before a bar is looked at, and intervals
GROWTH = 1.25, 4.0  # how much longer a run becomes at a time, at least and at most
MARGIN = 1.1  # of the steps that bars say it will take
AGAIN = 2.0  # times as many steps after which a bar that is small, or in doubt, is looked at again


class Goal(NamedTuple):
    """What standard errors are to be below, and whose: of so many leading exponents, or of the dimension."""

    stderr: float
    of: int | str

    def bar(self, spectrum: "Spectrum") -> float:
        """The largest of these standard errors; NaN while it is not known, 0 where nothing is left to be known."""
        if self.of == "dimension":
            return float(spectrum.kaplan_yorke_stderr)
        there = np.isfinite(spectrum.exponents[: self.of])
        return float(spectrum.stderr[: self.of][there].max(initial=0.0))

    def next_steps(self, counted: int, bar: float) -> int:
        """How many counted steps to try after so many, whose bar this is: an error falls with their root."""
        needed = MARGIN * (bar / self.stderr) ** 2 if bar > self.stderr else AGAIN
        return int(np.ceil(counted * np.clip(needed, *GROWTH)))

    def missed(self, bar: float, steps: int) -> Doubt:
        """What to say where there are no more steps."""
        whose = "of the dimension" if self.of == "dimension" else "of the exponents"
        return Doubt(
            f"after {steps} steps the standard error {whose} is {bar:.2g}, not {self.stderr:g} as until_stderr asks: "
            "give more steps, or go on from here with continue_from",
            "length",
            may_pass=True,
        )


def first_steps(t_ons: int) -> int:
    """How many counted steps, in whole intervals, to take before bars are looked at."""
    return max(-(-FIRST // t_ons), FEWEST) * t_ons


def goal(until_stderr: Any, stderr_of: Any, k: int) -> Goal | None:
    """The goal of k exponents; None where none is set."""
    if until_stderr is None:
        if stderr_of is not None:
            raise LyapflowError("stderr_of goes with until_stderr; give both")
        return None
    stderr = _checks.number("until_stderr", until_stderr, 0.0, open_low=True)
    if isinstance(stderr_of, str):
        return Goal(stderr, _checks.one_of("stderr_of, if not a number,", stderr_of, ["dimension"]))
    return Goal(stderr, k if stderr_of is None else _checks.integer("stderr_of", stderr_of, 1, k))
