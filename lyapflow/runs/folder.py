"""A run folder: settings.json, history.npz, model.safetensors and picture.png."""

import io
import json
import os
import platform
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow import __version__
from lyapflow._checks import LyapflowError
from lyapflow.learning.history import FlossingRecord, History, Log, Measurement, TrainingRecord
from lyapflow.learning.model import Model
from lyapflow.runs.weights import load, save, write_atomically

_RECORDS = {cls.kind: cls for cls in (TrainingRecord, FlossingRecord, Measurement)}


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : path
        A folder that `create` has made, or that holds a run.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: str | os.PathLike, settings: Mapping[str, Any], *, force: bool = False) -> "RunFolder":
        """Make a folder for a run and write its settings, with the versions that produced it.

        Raises
        ------
        LyapflowError
            If it cannot be written, or already holds something and force is not given.
        """
        run = cls(path)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            if any(run.path.iterdir()) and not force:
                raise LyapflowError(
                    f"the run folder must be new or empty, {path} is neither; choose another, or overwrite it (--force)"
                )
            versions = {"python": platform.python_version(), "lyapflow": __version__}
            versions |= {name: version(name) for name in ("numpy", "numba", "scipy")}
            text = json.dumps({**settings, "versions": versions}, indent=2)
            write_atomically(run.path / "settings.json", text.encode() + b"\n")
            for left in ("history.npz", "model.safetensors", "picture.png"):
                (run.path / left).unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            if isinstance(error, LyapflowError):
                raise
            raise LyapflowError(f"cannot write the run folder {path}: {error}") from None
        return run

    def settings(self) -> dict[str, Any]:
        """What settings.json says."""
        try:
            settings = json.loads((self.path / "settings.json").read_text())
        except (OSError, ValueError) as error:
            raise LyapflowError(f"{self.path} is no run folder: cannot read settings.json ({error})") from None
        if not isinstance(settings, dict):
            raise LyapflowError(f"{self.path} is no run folder: settings.json holds no settings")
        return settings

    def write_history(self, history: History) -> None:
        """Every column of every record, as arrays named such as ``training.loss``."""
        columns = {
            f"{kind}.{field.name}": getattr(history, kind)[field.name]
            for kind, record in _RECORDS.items()
            for field in fields(record)
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **columns)
        write_atomically(self.path / "history.npz", buffer.getvalue())

    def history(self) -> History:
        """The history as it was recorded."""
        history = History()
        try:
            content = io.BytesIO((self.path / "history.npz").read_bytes())
            with np.load(content, allow_pickle=False) as columns:
                for kind, record in _RECORDS.items():
                    values = [columns[f"{kind}.{field.name}"] for field in fields(record)]
                    plain = [v.tolist() if v.ndim == 1 else v for v in values]
                    setattr(history, kind, Log(record(*row) for row in zip(*plain)))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise LyapflowError(f"cannot read the history of {self.path}: {error}") from None
        return history

    def write_model(self, model: Model) -> None:
        save(self.path / "model.safetensors", model)

    def model(self) -> Model:
        """The trained Model."""
        return load(self.path / "model.safetensors")
