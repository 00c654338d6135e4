"""One table of many runs, and the commands that make and show sweeps."""

import builtins
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cli.compare import _text
from lyapflow.cli.sweep import Progress
from lyapflow.runs import pools
from lyapflow.runs.collect import collect
from lyapflow.runs.master import Master, Swept
from lyapflow.runs.sweep_folder import Status, SweepFolder
from tests import test_sweep

pandas = pytest.importorskip("pandas")

SMALL = {**test_sweep.SMALL, "stop_window": 3}
GRID = {**SMALL, "seed": [0, 1], "floss": ["none", "before"]}


@pytest.fixture(autouse=True)
def threads(monkeypatch, tmp_path):
    """Runs in threads of this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def pool(count, *_):
        return ThreadPoolExecutor(count)

    monkeypatch.setattr(pools, "ProcessPoolExecutor", pool)


def written(grid):
    with open("grid.toml", "w") as file:
        file.writelines(f"{name} = {value!r}\n" for name, value in grid.items())
    return "grid.toml"


def test_a_row_for_each_run():
    lf.sweep("runs", GRID)
    table = collect("runs", level=0.0, exponents=2)
    assert list(table.columns[:3]) == ["seed", "floss", "run"]
    assert list(zip(table.seed, table.floss)) == [
        (s, f) for s in (0, 1) for f in ("none", "before")
    ]
    for row in table.itertuples():
        history = lf.RunFolder(f"runs/{row.run}").history()
        log = history.training
        assert (row.status, row.reason, row.epochs_done) == ("done", "", 6)
        assert row.loss == log["loss"][-3:].mean()
        assert row.accuracy == log["accuracy"][-3:].mean()
        assert row.epoch_at_level == 3
        assert [row.λ1, row.λ2] == list(history.measurement[-1].exponents[:2])
        assert row.seconds > 0
    assert "λ3" not in table


def test_the_first_epoch_at_a_level():
    lf.sweep("runs", {**SMALL, "epochs": 30})
    (run,) = SweepFolder("runs").runs()
    accuracy = lf.RunFolder(f"runs/{run}").history().training["accuracy"]
    means = np.array([accuracy[i : i + 3].mean() for i in range(28)])
    level = float(means[5:].max())
    expected = int(np.argmax(means >= level)) + 3  # so many epochs are done by then
    assert collect("runs", level=level).epoch_at_level[0] == expected
    assert np.isnan(collect("runs", level=1.0).epoch_at_level[0]) == (means.max() < 1)


def test_histories():
    lf.sweep("runs", GRID)
    table = collect("runs", histories=True, exponents=1)
    for name in SweepFolder("runs").runs():
        history = lf.RunFolder(f"runs/{name}").history()
        rows = table[table.run == name]
        for kind, log in vars(history).items():
            of = rows[rows.kind == kind]
            np.testing.assert_array_equal(of.loss, [record.loss for record in log])
            if kind in ("flossing", "measurement"):
                np.testing.assert_array_equal(of.λ1, [record.exponents[0] for record in log])
    flossing = table[table.kind == "flossing"]
    assert set(flossing.epoch) == {0}
    assert list(flossing.flossing_epoch) == [0, 1, 0, 1]


def test_histories_have_the_penalty():
    lf.sweep("runs", {**SMALL, "penalty": "spectral-radius", "penalty_weight": 0.1})
    (name,) = SweepFolder("runs").runs()
    table = collect("runs", histories=True)
    log = lf.RunFolder(f"runs/{name}").history().penalty
    rows = table[table.kind == "penalty"]
    assert list(rows.epoch) == list(range(6))
    np.testing.assert_array_equal(rows.loss, log["loss"])


def test_counts_are_shown_whole():
    assert [_text(value) for value in (12345.0, 75.0, 0.123456)] == ["12345", "75", "0.1235"]


def test_runs_that_have_not_begun_or_failed():
    lf.sweep("runs", {**SMALL, "delay": [2, 3]})
    SweepFolder("runs").begin(None, 9)
    assert list(collect("runs").status) == ["stopped", "failed"]
    assert collect("runs").reason[1].startswith("delay must be even")
    assert collect("runs").epochs_done.tolist() == [6, 0]
    for name in SweepFolder("runs").runs():
        os.unlink(f"runs/status/{name}.json")
    assert list(collect("runs").status) == ["waiting", "waiting"]


def test_several_sweeps_are_one_table():
    lf.sweep("a", {**SMALL, "lr": 0.1})
    lf.sweep("b", {**SMALL, "lr": 0.2})
    table = collect(["a", "b"])
    assert list(table.sweep) == ["a", "b"]
    assert list(table.lr) == [0.1, 0.2]


def test_without_pandas(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(lf.LyapflowError, match=r"needs pandas.*install lyapflow\[sweep\]"):
        collect("runs")


def test_a_sweep_and_its_table_by_command(command):
    code, out, err = command("sweep", "runs", written(GRID), "--workers", "1")
    assert (code, err) == (0, "")
    assert "4 of 4 runs done" in out
    code, out, err = command("compare", "runs", "--out", "t.csv", "--histories", "h.parquet")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    names = "seed floss status seconds done loss accuracy at 95 % λ1 λ2 λ3"
    assert lines[0].split() == names.split()
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["0", "none", "done"],
        ["0", "before", "done"],
    ]
    assert "…" not in out
    pandas.testing.assert_frame_equal(
        pandas.read_csv("t.csv").drop(columns="reason"), collect("runs").drop(columns="reason")
    )
    pandas.testing.assert_frame_equal(
        pandas.read_parquet("h.parquet"), collect("runs", histories=True)
    )


def test_exit_codes(command):
    grid = written({**SMALL, "delay": [2, 3]})
    code, out, _ = command("sweep", "runs", grid, "--time-limit", "0")
    assert code == 75
    assert "stopped: time limit of 0 minutes; go on: lyapflow sweep runs --resume" in out
    code, out, _ = command("sweep", "runs", "--resume")
    assert code == 3
    assert "delay=3" in out
    assert "failed: delay must be even" in out
    assert "1 of 2 runs done, 1 failed" in out
    assert "failed: delay must be even" in command("compare", "runs")[1]
    code, out, _ = command("sweep", "runs", "--resume", "--epochs", "8")
    assert code == 3
    assert collect("runs").epochs_done.tolist() == [8, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(command, monkeypatch, number):
    tell = Master._tell

    def interrupted(of, left):
        signal.raise_signal(number)
        monkeypatch.setattr(Master, "_tell", tell)
        return tell(of, left)

    monkeypatch.setattr(Master, "_tell", interrupted)
    code, out, err = command("sweep", "runs", written(GRID))
    assert (code, err) == (128 + number, "")
    assert f"stopped: {number.name}" in out
    assert command("sweep", "runs", "--resume")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "runs"], "a sweep needs a grid (a TOML file) or --resume"),
        (["sweep", "runs", "grid.toml", "--resume"], "got both"),
        (["sweep", "runs", "absent.toml"], "cannot read the grid absent.toml"),
        (["sweep", "runs", "--resume"], "runs; begin one with a grid"),
        (["sweep", "runs", "many.toml"], "the grid has 2000 runs, more than 1000; if so many"),
        (["sweep", "runs", "grid.toml", "--time-limit", "inf"], "--time-limit must be a finite"),
        (["sweep", "runs", "grid.toml", "--mpi", "--dask", "tcp://x:1"], "got --dask and --mpi"),
        (["compare", "runs"], "there is no sweep in "),
        (["compare", "runs", "--out", "t.txt"], "a table must be a .csv or a .parquet, got t.txt"),
        (["compare", "runs", "--out", "no/t.csv"], "the table's folder must exist, got no"),
        (["compare", "runs", "--histories", "x" * 300 + ".csv"], "cannot write the table"),
    ],
)
def test_bad_arguments(command, words, message):
    written(GRID)
    with open("many.toml", "w") as file:
        file.write("seed = { from = 1, to = 2000 }")
    code, _, err = command(*words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(os.listdir()) == ["grid.toml", "many.toml"]


def test_a_dask_scheduler_that_is_not_there(command):
    pytest.importorskip("distributed")
    code, _, err = command("sweep", "runs", written(GRID), "--dask", "here")
    assert code == 2
    assert "cannot reach the Dask scheduler here" in err


def test_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("lyapflow.cli.sweep.SECONDS_BEFORE_RUNS", 0.0)
    monkeypatch.setattr("lyapflow.cli.sweep.SECONDS_PER_LINE", 0.0)
    running = {"a[/b]": Status("running", shown="training epoch 3, loss 0.5")}
    swept = Swept(5, ["x"], {"y": "bad"}, running, 0.25, 3700.4)
    with Progress() as display:
        display.show(Swept(5))
        assert "compile kernels" in capsys.readouterr().out
        display.show(swept)
        line = "1 of 5 runs done, 1 failed, 25.0 % of all epochs, 1:01:40 left\n"
        assert capsys.readouterr().out == line
        rows = display._table().renderables[0]
        assert [str(cell) for column in rows.columns for cell in column.cells] == [
            "a[/b]",
            "training epoch 3, loss 0.5",
        ]
