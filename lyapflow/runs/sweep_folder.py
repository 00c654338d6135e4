"""The folder of a sweep: sweep.json, a folder for each run, and, below status/, how far each run is."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lyapflow import _checks
from lyapflow.errors import LyapflowError, printable
from lyapflow.runs import files
from lyapflow.runs.folder import MAX_SETTINGS_BYTES
from lyapflow.runs.grid import names
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.weights import FORMAT

SWEEP, STATUS, FAILURES = "sweep.json", "status", "failures.txt"


@dataclass(frozen=True)
class Status:
    """How far a run of a sweep is.

    Attributes
    ----------
    kind : str
        "running", "done", "stopped" (it can go on), "failed", "busy" (another process works it), or
        "unwritten" (its folder cannot be written).
    epochs : int
        Training epochs that it is to have.
    updates : int
        Training and flossing epochs that are done.
    seconds : float
        That its work has taken.
    reason : str
        Why it failed or could not be written.
    shown : str
        What it last did, for people.
    host : str
    warnings : list of str
    versions : dict
        Of the worker.
    """

    kind: str
    epochs: int = 0
    updates: int = 0
    seconds: float = 0.0
    reason: str = ""
    shown: str = ""
    host: str = field(default_factory=socket.gethostname)
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def ends(self, recipe: Recipe) -> bool:
        """Whether the run of this recipe is done, to the last of its epochs."""
        return (self.kind, self.epochs) == ("done", recipe.epochs)


class SweepFolder:
    """The files of a sweep, but for those of its runs.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | os.PathLike) -> None:
        try:
            self.path = Path(path).absolute()
        except TypeError:
            raise LyapflowError(f"cannot use {path!r:.200} as the folder of a sweep") from None

    def runs(self) -> dict[str, Recipe]:
        """The recipe of each run, by the name of its folder."""
        path = self.path / SWEEP
        try:
            found = json.loads(files.read_whole(path, MAX_SETTINGS_BYTES, follow=False))
            if found["format"] != FORMAT:
                raise LyapflowError(f"it has format {found['format']!r:.20}, not {FORMAT}")
            common = found["settings"]
            runs = {str(name): Recipe(**common, **own) for name, own in found["runs"].items()}
            if names(list(runs.values())) != list(runs):
                raise LyapflowError("its names are not those of its settings")
            return runs
        except FileNotFoundError:
            raise LyapflowError(
                f"there is no sweep in {self.path}; begin one with a grid of settings"
            ) from None
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise LyapflowError(
                f"{self.path} is no folder of a sweep: cannot read {SWEEP} ({error})"
            ) from None

    def holds_a_sweep(self) -> bool:
        return os.path.lexists(self.path / SWEEP)

    def begin(self, recipes: list[Recipe] | None, epochs: int | None) -> dict[str, Recipe]:
        """Make this the folder of a sweep, or see that it is that already, maybe with more epochs.

        Parameters
        ----------
        recipes : list of Recipe, or None
            None for those that the folder has.
        epochs : int, optional
            To extend all runs to.

        Raises
        ------
        LyapflowError
            If the folder is that of another sweep, or of something else, or cannot be written.
        """
        wanted = self.runs() if recipes is None else dict(zip(names(recipes), recipes))
        if epochs is not None:
            wanted = _extended(wanted, epochs)
        self._make()
        there = self.runs() if self.holds_a_sweep() else None
        if there is not None and there.keys() != wanted.keys():
            raise LyapflowError(
                f"{self.path} is the folder of another sweep, of {len(there)} runs, such as {next(iter(there))}; "
                f"choose another, or go on with that one (grid=None)"
            )
        for name, recipe in (there or {}).items():
            if wanted[name].epochs < recipe.epochs:
                raise LyapflowError(
                    f"epochs may only grow, from {recipe.epochs} of the runs in {self.path}, got {wanted[name].epochs}"
                )
        if wanted != there:
            self._write(wanted)
        return wanted

    def _make(self) -> None:
        """Make the folder, if it is not there, and refuse one of something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            found = {name for name in os.listdir(self.path) if not name.endswith(files.PART)}
            # another master may just have begun here: its sweep.json comes first
            if found - {STATUS} and not self.holds_a_sweep():
                raise LyapflowError(
                    f"the folder of a sweep must be new or empty, {self.path} is neither; choose another"
                )
            (self.path / STATUS).mkdir(exist_ok=True)
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> LyapflowError:
        return LyapflowError(
            f"cannot write the folder {self.path} of the sweep: {error.strerror or error}"
        )

    def _write(self, runs: Mapping[str, Recipe]) -> None:
        plain = {name: asdict(run) for name, run in runs.items()}
        first = next(iter(plain.values()))
        common = {key for key in first if all(run[key] == first[key] for run in plain.values())}
        settings = {
            "format": FORMAT,
            "settings": {key: first[key] for key in first if key in common},
            "runs": {
                name: {key: run[key] for key in run if key not in common}
                for name, run in plain.items()
            },
        }
        try:
            files.write_atomically(self.path / SWEEP, json.dumps(settings, indent=1).encode())
        except OSError as error:
            raise self._unwritten(error) from None

    def status(self, name: str) -> Status | None:
        """How far a run is; None if nothing readable says it."""
        try:
            found = json.loads(files.read_whole(self._status(name), MAX_SETTINGS_BYTES))
            status = Status(**found)
            for of in ("kind", "reason", "shown", "host"):
                _checks_text(of, getattr(status, of))
            _checks.integer("epochs", status.epochs, 0)
            _checks.integer("updates", status.updates, 0)
            _checks.number("seconds", status.seconds, 0.0)
            return replace(status, reason=printable(status.reason), shown=printable(status.shown))
        except (OSError, TypeError, ValueError, RecursionError):
            return None

    def write_status(self, name: str, status: Status) -> None:
        """Replace what is said of a run; raises OSError if it cannot be written.

        A crash of the machine may leave nothing readable, which costs a look at the run."""
        path = self._status(name)
        # a worker that finds the run in use writes, too, before it finds that out
        part = path.with_name(f"{name}-{os.getpid()}-{threading.get_ident()}{files.PART}")
        part.write_text(json.dumps(asdict(status)))
        os.replace(part, path)

    def _status(self, name: str) -> Path:
        return self.path / STATUS / f"{name}.json"

    def write_failures(self, failed: Mapping[str, str]) -> None:
        """Keep the failures, a line each, for people."""
        with suppress(OSError):  # each run's status has it, too
            (self.path / FAILURES).unlink(missing_ok=True)
            if failed:
                lines = "".join(f"{name}: {reason}\n" for name, reason in failed.items())
                files.write_atomically(self.path / FAILURES, lines.encode())

    @contextmanager
    def permit(self) -> Iterator[Path]:
        """A file without which no worker of a master goes on: to delete it ends them after their epoch.

        To delete one works on every executor that shares the folder, and on a full disk."""
        try:
            descriptor, name = tempfile.mkstemp(prefix="permit-", dir=self.path / STATUS)
        except OSError as error:
            raise self._unwritten(error) from None
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _checks_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text")


def _extended(runs: Mapping[str, Recipe], epochs: int) -> dict[str, Recipe]:
    lengths = {recipe.epochs for recipe in runs.values()}
    if len(lengths) > 1:
        raise LyapflowError(
            f"--epochs extends runs of one length, got {', '.join(map(str, sorted(lengths)))} epochs; "
            f"make a sweep of a grid with more"
        )
    return {name: replace(recipe, epochs=epochs) for name, recipe in runs.items()}
