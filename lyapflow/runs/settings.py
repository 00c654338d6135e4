"""The settings of a run as text, and back."""

import platform
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding
from numba import config
from threadpoolctl import threadpool_info

from lyapflow._engine.blas import register_routines
from lyapflow._version import __version__
from lyapflow.errors import LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.optimizer import Optimizer
from lyapflow.learning.penalties.penalty import Penalty
from lyapflow.learning.penalties.registry import CLASSES as PENALTIES
from lyapflow.learning.tasks import CLASSES, Task
from lyapflow.learning.training import Training

# what the settings of older runs lack, which had them at their defaults
LATER = {
    "training": ("penalty", "weight", "every", "measure_vectors"),
    "flossing": ("penalty",),
    "optimizer": ("hold",),
}
# that change the order or rounding of sums
INSTRUCTIONS = ("sse4.2", "avx", "avx2", "fma", "avx512f")


def written(training: Training) -> dict[str, Any]:
    """A run's settings in numbers, words, lists and dictionaries; what is of the user's own by its name."""
    plain = {field.name: getattr(training, field.name) for field in fields(training)}
    plain |= {"task": _task(training.task), "optimizer": _optimizer(training.optimizer)}
    if training.flossing is not None:
        plain["flossing"] = _flossing(training.flossing)
    plain["penalty"] = _penalty(training.penalty)
    return _plain(plain)


def _task(task: Task) -> dict[str, Any]:
    name = type(task).__name__
    if CLASSES.get(name) is type(task):
        return {"name": name, **asdict(task)}  # type: ignore[call-overload]
    return {"name": _name(type(task))}


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    if type(optimizer) is not Adam:
        return {"name": _name(type(optimizer))}
    if callable(optimizer.lr):
        return {"name": _name(Adam), "lr": _name(optimizer.lr)}
    return asdict(optimizer)


def _flossing(flossing: Flossing) -> dict[str, Any]:
    plain = {field.name: getattr(flossing, field.name) for field in fields(flossing)}
    return plain | {
        "optimizer": _optimizer(flossing.optimizer),
        "penalty": _penalty(flossing.penalty),
    }


def _penalty(penalty: Penalty | None) -> dict[str, Any] | None:
    if penalty is None:
        return None
    name = type(penalty).__name__
    if PENALTIES.get(name) is type(penalty):
        return {"name": name, **asdict(penalty)}  # type: ignore[call-overload]
    return {"name": _name(type(penalty))}


def _name(of: Any) -> str:
    """What a class or function is called where it was written."""
    of = of if hasattr(of, "__qualname__") else type(of)
    return f"{of.__module__}.{of.__qualname__}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def read(
    plain: Any,
    task: Task | None = None,
    optimizer: Optimizer | None = None,
    flossing: Flossing | None = None,
    penalty: Penalty | None = None,
) -> Training:
    """The settings that `written` wrote; what was the user's own has to be given.

    Raises LyapflowError if they are no settings of a run, or something is another than it was.
    """
    values = _fields("training", plain, Training)
    values["task"] = (
        _same("task", task, _task, values["task"]) if task else _read_task(values["task"])
    )
    if flossing is not None:
        values["flossing"] = _same("flossing", flossing, _flossing, values["flossing"])
    elif values["flossing"] is not None:
        values["flossing"] = _read_flossing(values["flossing"])
    if optimizer is not None:
        values["optimizer"] = _same("optimizer", optimizer, _optimizer, values["optimizer"])
    else:
        values["optimizer"] = _read_optimizer("optimizer", values["optimizer"])
    if penalty is not None:
        values["penalty"] = _same("penalty", penalty, _penalty, values["penalty"])
    else:
        values["penalty"] = _read_penalty("penalty", values["penalty"])
    return Training(**values)


def _same(what: str, given: Any, describe: Callable[[Any], Any], wanted: Any) -> Any:
    """What is given, if it is called as it was."""
    if _plain(describe(given)) != wanted:
        raise LyapflowError(f"the run's {what} is {wanted!s:.80}, got {describe(given)!s:.80}")
    return given


def _read_task(plain: Any) -> Task:
    name = plain.get("name") if isinstance(plain, dict) else None
    if not isinstance(name, str) or name not in CLASSES:
        raise LyapflowError(
            f"the run's task must be one of lyapflow.tasks, got {name!r:.80}; give your own as task=, "
            f"or, to spectrum and condition, an --input"
        )
    return CLASSES[name](
        **_fields("task", {k: v for k, v in plain.items() if k != "name"}, CLASSES[name])
    )


def _read_flossing(plain: Any) -> Flossing:
    found = _fields("flossing", plain, Flossing)
    own = {
        "optimizer": _read_optimizer("flossing", found["optimizer"]),
        "penalty": _read_penalty("flossing", found["penalty"]),
    }
    return Flossing(**found | own)


def _read_penalty(argument: str, plain: Any) -> Penalty | None:
    if plain is None:
        return None
    name = plain.get("name") if isinstance(plain, dict) else None
    if not isinstance(name, str) or name not in PENALTIES:
        raise LyapflowError(
            f"the run's penalty must be one of lyapflow.penalties, got {name!r:.80}; give your own as {argument}="
        )
    return PENALTIES[name](
        **_fields("penalty", {k: v for k, v in plain.items() if k != "name"}, PENALTIES[name])
    )


def _read_optimizer(argument: str, plain: Any) -> Adam:
    if isinstance(plain, dict) and "name" in plain:
        own = " with lr ".join(str(plain[key]) for key in ("name", "lr") if key in plain)
        raise LyapflowError(f"the run's optimizer is {own:.160}; give it again as {argument}=")
    return Adam(**_fields("optimizer", plain, Adam))


def _fields(name: str, value: Any, cls: Any) -> dict[str, Any]:
    """A dictionary with the fields of a class, all of them and no others."""
    wanted = [field.name for field in fields(cls)]
    if isinstance(value, dict):
        value = {f.name: f.default for f in fields(cls) if f.name in LATER.get(name, ())} | value
    if not isinstance(value, dict) or sorted(value) != sorted(wanted):
        raise LyapflowError(
            f"the settings of {name} must be {', '.join(wanted)}, got {value!s:.80}"
        )
    return dict(value)


def versions() -> dict[str, str]:
    """What may change the bits of a result: versions of the libraries, and the processor that code is compiled for."""
    found = {
        "python": platform.python_version(),
        "lyapflow": __version__,
        "C library": " ".join(platform.libc_ver()),
    }
    found |= {name: version(name) for name in ("numpy", "numba", "scipy")}
    register_routines()  # so that SciPy's BLAS is among those that are loaded
    for library in sorted(
        threadpool_info(), key=lambda library: Path(library["filepath"]).parts[-2:]
    ):
        if library["user_api"] == "blas":
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs")
            found[f"BLAS of {owner}"] = (
                f"{library['internal_api']} {library['version']} {library.get('architecture')}"
            )
    found["processor"] = config.CPU_NAME or binding.get_host_cpu_name()  # type: ignore[attr-defined]
    given = config.CPU_FEATURES  # type: ignore[attr-defined]
    features = (
        dict(binding.get_host_cpu_features())
        if given is None
        else dict.fromkeys(given.replace("+", "").split(","))
    )
    found["instructions"] = " ".join(
        name for name in INSTRUCTIONS if features.get(name, given is not None and name in features)
    )
    return found
