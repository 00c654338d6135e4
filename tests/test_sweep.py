"""Sweeps: their runs are those of `train`, whatever works them, ends them or goes on with them."""

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import pytest

import lyapflow as lf
from lyapflow.learning.stopping import TimeLimit
from lyapflow.runs import checkpoint, files, master, worker
from lyapflow.runs.grid import names, recipes
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.sweep_folder import Status, SweepFolder

SMALL = {
    "units": 6,
    "k": 3,
    "delay": 2,
    "steps": 12,
    "batch": 2,
    "epochs": 6,
    "floss_epochs": 2,
    "floss_steps": 20,
    "measure_every": 4,
}
GRID = {**SMALL, "floss": ["none", "before"], "seed": [0, 1]}


def bits(path):
    """All that a run is: settings, weights, moments and history."""
    state, history = lf.RunFolder(path).state()
    content = checkpoint.columns(history)
    settings = lf.RunFolder(path).settings()
    assert lf.digest(lf.load(path / "model.safetensors")) == lf.digest(state.model)
    with np.load(path / "history.npz") as results:
        assert files.digest(dict(results)) == files.digest(content)
    content |= {f"adam.{name}": array for name, array in state.moments.items()}
    plain = {name: settings[name] for name in ("training", "about")}
    return lf.digest(state.model), files.digest(content), state[2:4], json.dumps(plain)


def alone(path, recipe):
    """The run of a recipe by `train`."""
    start = recipe.start()
    training = recipe.training(start)
    rules = recipe.stop_rules(training.task)
    about = asdict(recipe.network)
    lf.train(start, **vars(training), folder=path, about=about, callbacks=rules)
    return bits(path)


@pytest.fixture
def sweep(tmp_path):
    def run(grid=None, folder="sweep", **options):
        with ThreadPoolExecutor(1) as executor:
            return lf.sweep(tmp_path / folder, grid, **{"executor": executor} | options)

    return run


class StopAfter:
    """Ends a sweep as soon as a run has come so far: a rule, and what it listens with."""

    def __init__(self, monkeypatch, kind, epoch):
        self.reason = ""
        monkeypatch.setattr(worker, "SECONDS_PER_LOOK", 0.0)
        call = worker._Watch.__call__

        def watched(watch, record):
            if not self.reason and (record.kind, record.epoch) == (kind, epoch):
                self.reason = "enough"
                Path(watch.job.permit).unlink()
            return call(watch, record)

        monkeypatch.setattr(worker._Watch, "__call__", watched)

    def __call__(self, record):
        return bool(self.reason)


def test_the_runs_are_those_of_train(sweep, tmp_path):
    swept = sweep(GRID)
    runs = recipes(GRID)
    assert (swept.total, swept.done, swept.failed) == (4, names(runs), {})
    assert (swept.share, swept.running, swept.stopped) == (1.0, {}, "")
    for name, recipe in zip(names(runs), runs):
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


def test_the_runs_of_processes_are_those_of_train(tmp_path):
    grid = {**GRID, "seed": [0]}
    told = []
    swept = lf.sweep(tmp_path / "sweep", grid, workers=2, progress=lambda s: told.append(s.total))
    assert len(swept.done) == 2
    assert set(told) == {2}
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)
    assert not multiprocessing.active_children()


def test_what_is_done_is_not_done_again(sweep, tmp_path, monkeypatch):
    sweep(GRID)
    monkeypatch.setattr(worker, "_outcome", None)
    monkeypatch.setattr(worker, "rehearse", None)
    assert len(sweep().done) == len(sweep(GRID).done) == 4


@pytest.mark.parametrize(("kind", "epoch"), [("training", 2), ("flossing", 0), ("training", 5)])
def test_a_sweep_that_is_stopped_goes_on_to_the_same_bits(
    sweep, tmp_path, monkeypatch, kind, epoch
):
    with monkeypatch.context() as patches:
        swept = sweep(GRID, stops=[StopAfter(patches, kind, epoch)])
    assert swept.stopped == "enough"
    assert len(swept.done) < 4
    assert 0 < swept.share < 1
    assert not list((tmp_path / "sweep" / "status").glob("permit*"))
    assert len(sweep().done) == 4
    sweep(GRID, "other")
    for name in SweepFolder(tmp_path / "sweep").runs():
        assert bits(tmp_path / "sweep" / name) == bits(tmp_path / "other" / name)


@pytest.mark.parametrize("epochs", [4, 3])
@pytest.mark.parametrize(
    "more", [{"floss_at": "0,2"}, {"floss": "throughout"}, {"floss": "during"}, {"floss": "none"}]
)
def test_a_run_that_is_extended_is_the_longer_run(sweep, tmp_path, monkeypatch, epochs, more):
    """Episodes at the epoch at which the shorter run ended, where its last measurement was."""
    from lyapflow.runs import recipe

    every = range

    def often(start, stop, step=1):
        return every(start, stop, 2 if step == 100 else step)

    monkeypatch.setattr(recipe, "range", often, raising=False)
    if "floss" in more and more["floss"] != "none":
        more = {**more, "floss_epochs": 1}
    grid = {**SMALL, "measure_every": 2, "epochs": epochs, **more}
    sweep(grid)
    assert len(sweep(epochs=6).done) == 1
    (name,) = SweepFolder(tmp_path / "sweep").runs()
    assert name.startswith("run-")
    longer = Recipe(**grid | {"epochs": 6})
    assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone", longer)


def test_a_run_that_reaches_its_goal_as_the_sweep_is_stopped_is_done(sweep, monkeypatch):
    grid = {**SMALL, "stop_at": 0.1, "stop_window": 2, "stop_after": 3, "floss": "none"}
    with monkeypatch.context() as patches:
        swept = sweep(grid, stops=[StopAfter(patches, "training", 2)])
    assert len(swept.done) == 1


def test_two_write_the_status_of_a_run_at_once(sweep, tmp_path):
    place = SweepFolder(tmp_path / "sweep")
    place.begin(recipes(SMALL), None)

    def write(number):
        for updates in range(300):
            place.write_status("run", Status("running", updates=updates))

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert place.status("run") == Status("running", updates=299)
    assert os.listdir(place.path / "status") == ["run.json"]


def test_a_sweep_that_is_stopped_while_it_compiles(tmp_path):
    swept = lf.sweep(tmp_path / "sweep", SMALL, workers=1, stops=[TimeLimit(0)])
    assert (swept.done, swept.stopped) == ([], "time limit of 0 minutes")
    assert not multiprocessing.active_children()


def test_a_sweep_that_is_stopped_can_be_extended(sweep, tmp_path, monkeypatch):
    with monkeypatch.context() as patches:
        sweep(GRID, stops=[StopAfter(patches, "training", 2)])
    assert len(sweep({**GRID, "epochs": 8}).done) == 4
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert recipe.epochs == 8
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


def test_a_run_that_reached_its_goal_is_done(sweep, tmp_path, monkeypatch):
    grid = {**SMALL, "stop_at": 0.1, "stop_window": 2, "stop_after": 3, "floss": "none"}
    with monkeypatch.context() as patches:  # killed after the checkpoint, before the results
        patches.setattr(lf.RunFolder, "write_results", None)
        with pytest.raises(TypeError), ThreadPoolExecutor(1) as executor:
            future = executor.submit(lf.sweep, tmp_path / "sweep", grid, executor=Inline())
            future.result()
    assert len(sweep().done) == 1
    (name,) = SweepFolder(tmp_path / "sweep").runs()
    assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone", Recipe(**grid))
    assert len(lf.RunFolder(tmp_path / "sweep" / name).history().training) == 3
    assert len(sweep(epochs=9).done) == 1
    longer = Recipe(**grid | {"epochs": 9})
    assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "longer", longer)


class Inline(Executor):
    """Works at once; an error is the caller's."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_runs_that_fail_are_listed_and_the_others_go_on(sweep, tmp_path):
    diverging = {"task": "copy", "clip": 0, "lr": 1e200, "floss": "none"}
    grid = {**SMALL, "grid": [{"delay": [2, 3]}, diverging]}
    for swept in (sweep(grid), sweep()):  # tried again
        good, odd, wild = SweepFolder(tmp_path / "sweep").runs()
        assert swept.done == [good]
        assert list(swept.failed) == [odd, wild]
        assert swept.failed[odd].startswith("delay must be even")
        assert "stopped being finite" in swept.failed[wild]
        lines = (tmp_path / "sweep" / "failures.txt").read_text().splitlines()
        assert lines == [f"{name}: {reason}" for name, reason in swept.failed.items()]
    assert len(lf.RunFolder(tmp_path / "sweep" / wild).history().training) >= 1


def test_workers_that_die_are_replaced(tmp_path):
    killed = []

    def kill():
        """Kill a worker as soon as a run has a checkpoint, long before its end."""
        while not (killed or over.wait(0.005)):
            if any((tmp_path / "sweep").glob("*/checkpoint.safetensors")):
                workers = [
                    p for p in psutil.Process().children() if "spawn_main" in str(p.cmdline())
                ]
                workers[0].kill()
                killed.append(workers[0])

    grid = {**SMALL, "epochs": 1500, "floss": "none", "seed": [0, 1], "measure_every": "none"}
    over = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        swept = lf.sweep(tmp_path / "sweep", grid, workers=2, checkpoint_epochs=50)
    finally:
        over.set()
        killer.join()
    assert killed
    assert (len(swept.done), swept.failed) == (2, {})
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


def dies(job):
    SweepFolder(job.folder).write_status(job.name, Status("running", seconds=time.time()))
    os._exit(1)


def test_a_run_whose_worker_always_dies_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(master, "work", dies)
    monkeypatch.setattr(master, "rehearse", abs)
    swept = lf.sweep(tmp_path / "sweep", {**SMALL, "seed": [0]}, workers=1)
    assert list(swept.failed.values()) == ["its worker died 3 times before it had gone on"]


def dies_unseen(job):
    os._exit(1)


def test_workers_that_die_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(master, "work", dies_unseen)
    monkeypatch.setattr(master, "rehearse", abs)
    with pytest.raises(
        lf.LyapflowError, match=r"^workers died 3 times in a row before they had begun"
    ):
        lf.sweep(tmp_path / "sweep", SMALL, workers=1)


class Dead(Executor):
    """An executor whose workers die."""

    def __init__(self, error):
        self.error = error

    def submit(self, function, *arguments):
        future = Future()
        future.set_exception(self.error)
        return future


def test_an_executor_that_dies_ends_the_sweep(sweep):
    with pytest.raises(lf.LyapflowError, match=r"^the executor died \(BrokenExecutor: no power\)"):
        sweep(GRID, executor=Dead(BrokenExecutor("no power")))
    shut = ThreadPoolExecutor(1)
    shut.shutdown()
    with pytest.raises(lf.LyapflowError, match=r"^the executor died .*after shutdown"):
        sweep(executor=shut)
    swept = sweep(executor=Dead(ModuleNotFoundError("No module named 'lyapflow'")))
    assert set(swept.failed.values()) == {"ModuleNotFoundError: No module named 'lyapflow'"}
    assert len(sweep().done) == 4


def test_a_run_that_another_process_works_is_waited_for(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(master, "SECONDS_BUSY", 0.1)
    (name,) = names(recipes(SMALL))
    run = lf.RunFolder(tmp_path / "sweep" / name)
    SweepFolder(tmp_path / "sweep").begin(recipes(SMALL), None)
    run.make(force=False)
    taken = run.alone()
    taken.__enter__()
    waiting = threading.Timer(1.0, lambda: taken.__exit__(None, None, None))
    waiting.start()
    assert len(sweep(SMALL).done) == 1
    waiting.join()


def test_two_masters_share_a_folder(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(master, "SECONDS_BUSY", 0.1)
    grid = {**GRID, "seed": range(6)}
    with ThreadPoolExecutor(2) as masters:
        every = [future.result() for future in [masters.submit(sweep, grid) for _ in range(2)]]
    assert [(len(swept.done), swept.failed) for swept in every] == [(12, {}), (12, {})]
    for name, recipe in list(SweepFolder(tmp_path / "sweep").runs().items())[:4]:
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


def test_a_full_disk_ends_it_in_one_line_and_loses_nothing(sweep, tmp_path, monkeypatch):
    write, free = files.write_atomically, [14]

    def full(path, data):
        free[0] -= 1
        if free[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    with monkeypatch.context() as patches:
        patches.setattr(files, "write_atomically", full)
        with pytest.raises(
            lf.LyapflowError, match=r"No space left on device.*what was done is kept"
        ):
            sweep(GRID)
        with pytest.raises(lf.LyapflowError, match="No space left on device"):
            sweep()
    assert len(sweep().done) == 4
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


def test_ctrl_c_ends_the_runs_after_their_epochs(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(master.Master, "_tell", lambda _, left: interrupt(left))

    def interrupt(left):
        if left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep({**SMALL, "epochs": 10**6, "floss": "none", "measure_every": "none"})
    (name,) = SweepFolder(tmp_path / "sweep").runs()
    assert SweepFolder(tmp_path / "sweep").status(name).kind == "stopped"


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        (None, {}, "there is no sweep in "),
        (
            {**GRID, "seed": [0]},
            {},
            "is the folder of another sweep, of 4 runs, such as seed=0,floss=none-",
        ),
        ({**GRID, "epochs": 5}, {}, "epochs may only grow, from 6 of the runs in "),
        (GRID, {"epochs": 5}, "epochs may only grow, from 6"),
        (GRID, {"epochs": 0}, "epochs must be an integer at least 1, got 0"),
        (GRID, {"workers": 0}, "workers must be an integer at least 1, got 0"),
        (GRID, {"threads": 0}, "threads must be an integer at least 1, got 0"),
        (GRID, {"checkpoint_epochs": 0}, "checkpoint_epochs must be an integer at least 1, got 0"),
        (GRID, {"checkpoint_seconds": -1}, "checkpoint_seconds must be a finite number at least 0"),
        (GRID, {"executor": 3}, "executor must be a concurrent.futures.Executor, got 3"),
        (GRID, {"stops": TimeLimit(1)}, "stops must be a list of rules, got TimeLimit"),
        (GRID, {"progress": 3}, "progress must be a function, got 3"),
        ({**GRID, "epochs": [6, 7]}, {"epochs": 9}, "extends runs of one length, got 6, 7 epochs"),
    ],
)
def test_what_cannot_be_done(sweep, tmp_path, grid, options, message):
    if grid is not None:
        SweepFolder(tmp_path / "sweep").begin(recipes(GRID), None)
    with pytest.raises(lf.LyapflowError) as caught:
        sweep(grid, **options)
    assert message in str(caught.value)


def test_folders_of_something_else(sweep, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(lf.LyapflowError, match="must be new or empty"):
        sweep(GRID, "mine")
    with pytest.raises(lf.LyapflowError, match=r"cannot write the folder .* of the sweep"):
        sweep(GRID, "mine/file")
    with pytest.raises(lf.LyapflowError, match="cannot use 3 as the folder of a sweep"):
        lf.sweep(3, GRID)
    assert os.listdir(tmp_path / "mine") == ["file"]


def test_a_run_folder_with_other_settings_is_left_alone(sweep, tmp_path):
    (name,) = names(recipes(SMALL))
    SweepFolder(tmp_path / "sweep").begin(recipes(SMALL), None)
    alone(tmp_path / "sweep" / name, Recipe(**SMALL | {"lr": 0.5}))
    swept = sweep(SMALL)
    assert "is of a run with other settings" in swept.failed[name]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": 3}', '{"kind": "done", "epochs": -1}'])
def test_a_status_that_says_nothing_costs_a_look(sweep, tmp_path, text):
    sweep(SMALL)
    (name,) = SweepFolder(tmp_path / "sweep").runs()
    before = bits(tmp_path / "sweep" / name)
    (tmp_path / "sweep" / "status" / f"{name}.json").write_text(text)
    assert SweepFolder(tmp_path / "sweep").status(name) is None
    assert len(sweep().done) == 1
    assert bits(tmp_path / "sweep" / name) == before


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', '{"format": 1, "runs": {}}'])
def test_a_sweep_file_that_is_damaged(sweep, tmp_path, text):
    sweep(SMALL)
    (tmp_path / "sweep" / "sweep.json").write_text(text)
    with pytest.raises(lf.LyapflowError, match=r"is no folder of a sweep: cannot read sweep.json"):
        sweep()


def test_workers_of_another_kind_are_warned_of_once(sweep, monkeypatch):
    monkeypatch.setattr(worker, "_versions", lambda: {"numpy": "9"})
    with pytest.warns(
        lf.LyapflowWarning, match=r"may differ from this machine's: numpy .* -> 9"
    ) as said:
        sweep(GRID)
    assert len(said) == 1


def test_warnings_of_runs_are_passed_on(sweep, monkeypatch):
    monkeypatch.setattr(
        worker, "train", lambda *_, **__: lf.errors.warn("nearly all units are saturated")
    )
    monkeypatch.setattr(worker, "rehearse", lambda *_: None)
    with pytest.warns(lf.LyapflowWarning, match=r"run-.*: nearly all units are saturated"):
        sweep(SMALL)


def test_runs_in_threads_leave_the_warnings_of_the_process_alone(tmp_path, monkeypatch):
    inside, out = ([threading.Event(), threading.Event()] for _ in range(2))

    def outcome(job, *_):
        inside[job.recipe.seed].set()
        out[job.recipe.seed].wait(30)
        return "done", ""

    monkeypatch.setattr(worker, "_outcome", outcome)
    (tmp_path / "status").mkdir()
    before = warnings._showwarnmsg_impl, list(warnings.filters)
    with ThreadPoolExecutor(2) as executor:
        runs = []
        for seed in (0, 1):
            job = worker.Job(str(tmp_path), "run", Recipe(seed=seed), __file__, 1, os.getpid(), {})
            runs.append(executor.submit(worker.work, job))
            inside[seed].wait(30)
        for run, end in zip(runs, out):  # the one that came first goes first
            end.set()
            assert run.result().kind == "done"
    assert (warnings._showwarnmsg_impl, warnings.filters) == before


def test_progress_counts_no_epoch_twice(sweep, tmp_path):
    penalty = {"penalty": "spectral-radius", "penalty_weight": 0.01}
    sweep({**SMALL, **penalty, "floss": "before"})
    place = SweepFolder(tmp_path / "sweep")
    assert [place.status(name).updates for name in place.runs()] == [6 + 2]


def test_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    words = [sys.executable, "-W", "ignore", "-c", DASK, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert distributed
    assert done.returncode == 0, done.stderr
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)


# a process of its own, for what Dask leaves behind when it ends; workers are processes
DASK = f"""
import sys, lyapflow.cli
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        path = sys.argv[1] + "/grid.toml"
        open(path, "w").write({chr(10).join(f"{k} = {v!r}" for k, v in GRID.items())!r})
        sys.argv = ["lyapflow", "sweep", sys.argv[1] + "/sweep", path, "--dask", cluster.scheduler_address]
        lyapflow.cli.main()
"""


@pytest.mark.skipif(not shutil.which("mpirun"), reason="needs Open MPI")
def test_mpi(tmp_path):
    pytest.importorskip("mpi4py")
    grid = tmp_path / "grid.toml"
    grid.write_text("\n".join(f"{name} = {value!r}" for name, value in GRID.items()))
    words = ["mpirun", "-n", "3", "--oversubscribe", "--allow-run-as-root", sys.executable]
    words += ["-m", "mpi4py.futures", "-m", "lyapflow", "sweep", str(tmp_path / "sweep"), str(grid)]
    done = subprocess.run([*words, "--mpi"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs done" in done.stdout
    for name, recipe in SweepFolder(tmp_path / "sweep").runs().items():
        assert bits(tmp_path / "sweep" / name) == alone(tmp_path / "alone" / name, recipe)
