"""The settings of a run as text, and back."""

import platform
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding
from numba import config
from threadpoolctl import threadpool_info

from lyapflow._version import __version__
from lyapflow.errors import LyapflowError
from lyapflow.learning import tasks
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.tasks import Task
from lyapflow.learning.training import Training

INSTRUCTIONS = ("sse4.2", "avx", "avx2", "fma", "avx512f")  # that change the order or rounding of sums
TASKS = {cls.__name__: cls for cls in (tasks.DelayedCopy, tasks.TemporalXOR, tasks.BinaryTemporalXOR, tasks.SpatialXOR)}


def written(training: Training) -> dict[str, Any]:
    """A run's settings in numbers, words, lists and dictionaries."""
    plain = {field.name: getattr(training, field.name) for field in fields(training)}
    plain["task"] = _task(training.task)
    for name in ("flossing", "optimizer"):
        plain[name] = None if plain[name] is None else asdict(plain[name])
    return _plain(plain)


def _task(task: Task) -> dict[str, Any]:
    name = type(task).__name__
    if TASKS.get(name) is type(task):
        return {"name": name, "delay": task.delay}  # type: ignore[attr-defined]
    return {"name": f"{type(task).__module__}.{type(task).__qualname__}"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def read(plain: Any, task: Task | None = None) -> Training:
    """The settings that `written` wrote; a task of the user's own has to be given.

    Raises LyapflowError if they are no settings of a run, or the task is another.
    """
    values = _fields("training", plain, Training)
    if task is None:
        name = values["task"].get("name") if isinstance(values["task"], dict) else None
        if not isinstance(name, str) or name not in TASKS:
            raise LyapflowError(
                f"the run's task must be one of lyapflow.tasks, got {name!r:.80}; give your own as task=, "
                f"or, to spectrum and condition, an --input"
            )
        task = TASKS[name](**_fields("task", {k: v for k, v in values["task"].items() if k != "name"}, TASKS[name]))
    elif _plain(_task(task)) != values["task"]:
        raise LyapflowError(f"the run's task is {values['task']!s:.80}, got {_task(task)!s:.80}")
    values["task"] = task
    values["optimizer"] = Adam(**_fields("optimizer", values["optimizer"], Adam))
    if values["flossing"] is not None:
        flossing = _fields("flossing", values["flossing"], Flossing)
        flossing["optimizer"] = Adam(**_fields("flossing.optimizer", flossing["optimizer"], Adam))
        values["flossing"] = Flossing(**flossing)
    return Training(**values)


def _fields(name: str, value: Any, cls: Any) -> dict[str, Any]:
    """A dictionary with the fields of a class, all of them and no others."""
    wanted = [field.name for field in fields(cls)]
    if not isinstance(value, dict) or sorted(value) != sorted(wanted):
        raise LyapflowError(f"the settings of {name} must be {', '.join(wanted)}, got {value!s:.80}")
    return dict(value)


def versions() -> dict[str, str]:
    """What may change the bits of a result: versions of the libraries, and the processor that code is compiled for."""
    found = {"python": platform.python_version(), "lyapflow": __version__, "C library": " ".join(platform.libc_ver())}
    found |= {name: version(name) for name in ("numpy", "numba", "scipy")}
    for library in sorted(threadpool_info(), key=lambda library: Path(library["filepath"]).parts[-2:]):
        if library["user_api"] == "blas":
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs")
            found[f"BLAS of {owner}"] = f"{library['internal_api']} {library['version']} {library.get('architecture')}"
    found["processor"] = config.CPU_NAME or binding.get_host_cpu_name()  # type: ignore[attr-defined]
    given = config.CPU_FEATURES  # type: ignore[attr-defined]
    features = (
        dict(binding.get_host_cpu_features()) if given is None else dict.fromkeys(given.replace("+", "").split(","))
    )
    found["instructions"] = " ".join(
        name for name in INSTRUCTIONS if features.get(name, given is not None and name in features)
    )
    return found
