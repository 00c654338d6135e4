"""A Spectrum as a few lines of text, as a pandas table and as an xarray dataset."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lyapflow._presented import Lines, imported

if TYPE_CHECKING:
    from lyapflow.lyapunov.measured import Spectrum


def with_bar(value: float, error: float) -> tuple[str, str]:
    """A number and two standard errors of it, both as far as the second digit of these."""
    if not np.isfinite(value) or not np.isfinite(error) or error == 0:
        return f"{value:.4g}", f"{2 * error:.2g}"
    digits = max(0, 1 - int(np.floor(np.log10(2 * error))))
    if digits > 8:  # as many zeros would be read by nobody
        return f"{value:.8g}", f"{2 * error:.1e}"
    return f"{value:.{digits}f}", f"{2 * error:.{digits}f}"


def _number(value: float, error: float) -> str:
    return " ± ".join(with_bar(value, error))


def _from_to(values: Any) -> str:
    """An integer, or the least and the largest of several."""
    low, high = int(np.min(values)), int(np.max(values))
    return str(low) if low == high else f"{low}-{high}"


def _signs(exponents: np.ndarray, stderr: np.ndarray) -> str:
    """How many exponents are positive, and how many cannot be told from zero."""
    bars = 2 * np.nan_to_num(stderr)
    zero = int((np.abs(exponents) <= bars).sum())
    return f"{int((exponents > bars).sum())} positive" + (
        f", {zero} zero within bars" if zero else ""
    )


def summary(spectrum: "Spectrum") -> Lines:
    """What one wants to know first; ± are two standard errors."""
    exponents, batch = spectrum.exponents, spectrum.trajectories.shape[-2]
    k = exponents.shape[-1]
    units = "nats per step" if spectrum.dt is None else "nats per unit of time"
    size = f"{k} of {spectrum.n_state} exponents: {batch} trajector{'y' if batch == 1 else 'ies'}, "
    size += f"{_from_to(spectrum.steps_counted)} steps, t_ons={_from_to(spectrum.t_ons)}"
    if exponents.ndim > 1:
        lost = sum(reason is not None for reason in spectrum.reasons)
        with np.errstate(invalid="ignore"):
            low, high = np.nanmin(exponents[:, 0]), np.nanmax(exponents[:, 0])
        return [
            (f"{len(exponents)} spectra", size),
            ("first", f"from {low:.4g} to {high:.4g} {units}"),
            *([("lost", f"{lost} networks, see reasons")] if lost else []),
        ]
    stderr, lowest = spectrum.stderr, int(np.isfinite(exponents).sum()) - 1
    found = [
        ("Spectrum", size),
        ("first", f"{_number(exponents[0], stderr[0])} {units}"),
    ]
    if lowest > 0:
        found.append(("last", _number(exponents[lowest], stderr[lowest])))
    if np.isneginf(exponents).any():
        found.append(("-inf", f"{int(np.isneginf(exponents).sum())}"))
    dimension = _number(spectrum.kaplan_yorke_dimension, spectrum.kaplan_yorke_stderr)
    if np.isnan(spectrum.kaplan_yorke_dimension):
        dimension = "needs a larger k"
    return [*found, ("dimension", f"{dimension}; exponents: {_signs(exponents, stderr)}")]


def to_pandas(spectrum: "Spectrum") -> Any:
    """A row for each exponent; of an ensemble, for each of each network."""
    pandas = imported("pandas")
    k = spectrum.exponents.shape[-1]
    columns = {
        name: np.ravel(getattr(spectrum, name))
        for name in ("exponents", "stderr", "below_rounding")
    }
    if spectrum.layer is not None:
        columns["layer"] = np.ravel(spectrum.layer)
    numbers = np.arange(1, k + 1)
    if spectrum.exponents.ndim == 1:
        index = pandas.Index(numbers, name="exponent")
    else:
        networks = range(len(spectrum.exponents))
        index = pandas.MultiIndex.from_product([networks, numbers], names=["network", "exponent"])
    return pandas.DataFrame(columns, index=index)


DIMENSIONS = {
    "exponents": ("exponent",),
    "stderr": ("exponent",),
    "below_rounding": ("exponent",),
    "layer": ("exponent",),
    "trajectories": ("trajectory", "exponent"),
    "history": ("reorthonormalisation", "exponent"),
    "log_growth": ("trajectory", "reorthonormalisation", "exponent"),
    "state": ("trajectory", "unit"),
    "block": ("trajectory", "unit", "exponent"),
}


def to_xarray(spectrum: "Spectrum") -> Any:
    """All arrays with names for their axes."""
    xarray = imported("xarray")
    several = ("network",) if spectrum.exponents.ndim > 1 else ()
    found = {}
    for name, axes in DIMENSIONS.items():
        value = getattr(spectrum, name)
        # of sequences of different lengths, history is one series of them all
        if value is not None and not (
            name == "history" and spectrum.intervals.ndim > 1 + len(several)
        ):
            found[name] = ((*several, *axes), value)
    by_trajectory = ("trajectory",) if spectrum.intervals.ndim > 1 + len(several) else ()
    found["intervals"] = ((*several, *by_trajectory, "reorthonormalisation"), spectrum.intervals)
    k = spectrum.exponents.shape[-1]
    attributes = {"n_state": spectrum.n_state, "t_ons": spectrum.t_ons}
    return xarray.Dataset(found, {"exponent": np.arange(1, k + 1)}, attributes)
