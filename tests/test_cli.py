"""The command line, in this process and through a shell."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import lyapflow as lf
import lyapflow.cli.show
import lyapflow.progress
from lyapflow.cells.registry import CELLS
from lyapflow.cli.show import print_summary
from lyapflow.learning.history import FlossingRecord, Measurement, TrainingRecord
from lyapflow.learning.tasks import TASKS
from lyapflow.plotting import Shown, smooth, training_figure
from lyapflow.progress import Plan, Progress, long_product
from lyapflow.runs.folder import RunFolder

SMALL = "--units 12 --k 8 --delay 4 --steps 30 --batch 4 --epochs 6 --floss-epochs 4 --floss-steps 20".split()


def is_picture(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_train_writes_a_run_folder_that_spectrum_reads(command, tmp_path):
    measured = ("--measure-every", "2", "--measure-vectors", "3")
    code, out, err = command("train", "run", *SMALL, "--floss-at", "0,3", *measured)
    assert (code, err) == (0, "")
    assert sorted(os.listdir("run")) == [
        *(
            "checkpoint.safetensors",
            "history.npz",
            "lock",
            "model.safetensors",
            "picture.png",
            "settings.json",
        ),
        "start.safetensors",
    ]
    assert is_picture(tmp_path / "run" / "picture.png")
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["training"]["flossing"]["at"] == [0, 3]
    assert settings["training"]["flossing"]["k"] == 8
    assert settings["about"]["dtype"] == "float64"
    history = RunFolder("run").history()
    np.testing.assert_array_equal(history.training["epoch"], range(6))
    np.testing.assert_array_equal(np.unique(history.flossing["training_epoch"]), [0, 3])
    np.testing.assert_array_equal(history.measurement["epoch"], [0, 2, 4, 6])
    assert history.measurement["overlaps"].shape == (4, 3)
    assert "epoch" in out
    assert "\x1b" not in out  # no escape sequences in a pipe
    assert max(map(len, out[out.index("network") :].splitlines())) <= 80
    assert "…" not in out

    code, out, err = command("spectrum", "run", "--steps", "300", "--k", "3")
    assert (code, err) == (0, "")
    exponents = [
        float(line.split()[1])
        for line in out.splitlines()
        if line.split()[:1] in (["1"], ["2"], ["3"])
    ]
    assert len(exponents) == 3
    assert exponents == sorted(exponents, reverse=True)
    assert is_picture(tmp_path / "run" / "spectrum.png")


def test_train_is_the_library(command):
    command(
        "train",
        "run",
        *SMALL,
        "--dtype",
        "float32",
        "--seed",
        "7",
        "--floss",
        "before",
        "--task",
        "spatial-xor",
    )
    from lyapflow.learning.streams import stream

    task, rng = lf.tasks.SpatialXOR(4), stream(7, "weights")
    start = lf.Model.random(lf.TanhRNN.random(12, 3, rng=rng, dtype=np.float32), 1, rng=rng)
    trained, _ = lf.train(
        start,
        task,
        epochs=6,
        seed=7,
        T=30,
        batch=4,
        flossing=lf.Flossing(k=8, epochs=4, steps=20, at=(0,)),
    )
    found = lf.load("run/model.safetensors")
    assert found.cell.W.dtype == np.float32
    np.testing.assert_array_equal(found.cell.W, trained.cell.W)


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])  # one of each kind of advice
def test_what_is_left_out_is_as_recommended(command, cell):
    words = [
        "train",
        "run",
        "--cell",
        cell,
        "--units",
        "45",
        "--delay",
        "4",
        "--steps",
        "20",
        "--time-limit",
        "0",
    ]
    code, _, err = command(*words)
    assert (code, err) == (75, "")
    training, advised = RunFolder("run").training(), lf.recommended(RunFolder("run").start().cell)
    assert training.flossing == advised["flossing"]
    assert training.optimizer == advised["optimizer"]
    gru = cell == "gru"
    assert (training.flossing is None) == (cell == "lstm" or gru)

    command(*words, "--force", "--floss", "before" if gru else "during")
    training = RunFolder("run").training()
    assert (
        training.flossing == lf.recommended(RunFolder("run").start().cell, floss=True)["flossing"]
    )
    assert training.flossing.k == (5 if cell == "lstm" else 2 if gru or "relu" in cell else 45)

    command(
        *words,
        "--force",
        "--k",
        "3",
        "--lr",
        "0.01",
        "--clip",
        "0",
        "--floss-epochs",
        "7",
        "--floss",
        "throughout",
    )
    training = RunFolder("run").training()
    assert training.optimizer == lf.Adam(0.01)
    assert (training.flossing.k, training.flossing.epochs, training.flossing.at) == (
        3,
        7,
        tuple(range(0, 1000, 100)),
    )


def test_penalties(command):
    words = ["--penalty", "spectral-radius", "--penalty-weight", "0.01", "--penalty-every", "2"]
    words += ["--floss-penalty", "one-step-jacobian", "--floss-at", "0", "--floss-transient", "4"]
    code, out, err = command("train", "run", *SMALL, *words)
    assert (code, err) == (0, "")
    assert re.search(r"epoch 6/6  loss \S+  accuracy .*  penalty \S+  ‖dL/dh₀‖", out)
    training, history = RunFolder("run").training(), RunFolder("run").history()
    assert training.penalty == lf.penalties.SpectralRadius()
    assert (training.weight, training.every) == (0.01, 2)
    assert training.flossing.penalty == lf.penalties.OneStepJacobian(8, transient=4)
    assert history.penalty["epoch"].tolist() == [0, 2, 4]
    assert history.flossing["values"].shape == (4, 8)
    live = Progress(Console(force_terminal=True, width=200), {"run": Plan(5)})
    before = live._names()
    live.callback("run")(history.penalty[0])
    assert [name for name in live._names() if name not in before] == ["penalty"]
    code, _, err = command("train", "other", *SMALL, "--penalty", "exponents")
    assert code == 2
    assert "--penalty-weight is needed for the penalty exponents" in err


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("floss", ["none", "before", "during", "throughout"])
def test_every_task_and_schedule(command, task, floss):
    code, _, err = command("train", "run", *SMALL, "--task", task, "--floss", floss)
    assert (code, err) == (0, "")


@pytest.mark.filterwarnings("ignore:growth rates stay")  # of short runs
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(command, cell):
    code, _, err = command("train", "run", *SMALL, "--cell", cell, "--gain", "0.5", "--k", "2")
    assert (code, err) == (0, "")
    assert RunFolder("run").settings()["about"]["cell"] == cell
    assert type(RunFolder("run").model().cell) is CELLS[cell]
    code, out, err = command("spectrum", "run", "--steps", "300")
    assert (code, err) == (0, "")
    code, out, err = command(
        "spectrum", "--cell", cell, "--units", "9", "--steps", "300", "--gain", "0.9"
    )
    assert (code, err) == (0, "")
    assert f"random {cell} network" in out
    assert ("-inf" in out) == ("relu" in cell)


def test_stop_at(command):
    code, out, _ = command(
        "train", "run", *SMALL[:-8], "--epochs", "60", "--floss", "none", "--stop-at", "0.1"
    )
    assert code == 0
    assert len(RunFolder("run").history().training) == 20  # the first full window
    assert "stopped after 20 training epochs: accuracy 0.1" in out


def test_stop_at_looks_at_its_window_and_not_before_its_epoch(command):
    stops = ["--stop-at", "0.1", "--stop-window", "2"]
    words = [*SMALL, "--floss", "none"]
    assert "stopped after 2 training epochs" in command("train", "a", *words, *stops)[1]
    later = [*stops, "--stop-after", "4"]
    assert "stopped after 4 training epochs" in command("train", "b", *words, *later)[1]


def test_ctrl_c_ends_a_run_after_its_epoch_with_its_weights(command, monkeypatch):
    update, before = Progress._update, signal.getsignal(signal.SIGINT)

    def interrupt(self, label, record):
        if record.kind == "training" and record.epoch == 3:
            signal.raise_signal(signal.SIGINT)
        return update(self, label, record)

    monkeypatch.setattr("lyapflow.progress.Progress._update", interrupt)
    code, out, err = command("train", "run", *SMALL, "--floss", "none")
    assert (code, err) == (128 + signal.SIGINT, "")
    assert (
        "stopped after 4 training epochs: SIGINT; go on with it: lyapflow train --resume run" in out
    )
    assert len(RunFolder("run").history().training) == 4
    assert RunFolder("run").model().cell.W.shape == (12, 12)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_run_at_once_with_its_last_whole_epoch(command, monkeypatch, number):
    def interrupt(self, label, record):
        if record.kind == "training" and record.epoch == 3:
            signal.raise_signal(number)
            signal.raise_signal(number)
            raise AssertionError("the run went on")
        return False

    monkeypatch.setattr("lyapflow.progress.Progress._update", interrupt)
    code, _, err = command("train", "run", *SMALL, "--floss", "none")
    assert code == 128 + number
    assert "holds the last whole epoch; go on with it: lyapflow train --resume run" in err
    assert len(RunFolder("run").history().training) == 3
    assert lf.digest(lf.resume("run")[0]) == lf.digest(RunFolder("run").model())
    assert len(RunFolder("run").history().training) == 6


def test_a_signal_after_the_last_epoch_lets_the_results_be_drawn(command, monkeypatch):
    monkeypatch.setattr(
        "lyapflow.plotting.write_figure", lambda *_: signal.raise_signal(signal.SIGTERM)
    )
    code, out, _ = command("train", "run", *SMALL, "--floss", "none")
    assert code == 0
    assert printed_digest(out) == lf.digest(RunFolder("run").model())


def printed_digest(out):
    return re.search(r"^digest of the weights: ([0-9a-f]{16})$", out, re.MULTILINE)[1]


def test_a_run_that_goes_on_has_the_digest_of_one_without_a_stop(command):
    code, out, _ = command("train", "whole", *SMALL)
    assert code == 0
    code, stopped, err = command("train", "run", *SMALL, "--time-limit", "0")
    assert (code, err) == (75, "")
    assert "go on with it: lyapflow train --resume run" in stopped
    code, resumed, err = command("train", "--resume", "run")
    assert (code, err) == (0, "")
    assert (
        printed_digest(stopped)
        != printed_digest(resumed)
        == printed_digest(out)
        == lf.digest(lf.load("run/model.safetensors"))
    )


def test_a_run_goes_on_to_more_epochs(command):
    whole = command("train", "whole", *SMALL[:-6], "--epochs", "8", *SMALL[-4:])
    assert command("train", "run", *SMALL)[0] == whole[0] == 0
    code, more, err = command("train", "--resume", "run", "--epochs", "8")
    assert (code, err) == (0, "")
    assert printed_digest(more) == printed_digest(whole[1])
    assert "picture: run" in more
    code, _, err = command("train", "--resume", "run", "--epochs", "5")
    assert code == 2 and "--epochs must be at least the 8 of the run, got 5" in err


def test_a_run_that_is_done_can_be_resumed(command):
    code, first, _ = command("train", "run", *SMALL)
    assert code == 0
    code, again, err = command("train", "--resume", "run")
    assert (code, err) == (0, "")
    assert printed_digest(again) == printed_digest(first)
    path = Path("run/settings.json")
    path.write_text(path.read_text().replace('"epochs": 6', '"epochs": 5'))
    code, _, err = command("train", "--resume", "run")
    assert code == 2
    assert "epochs that are done must be an integer between 0 and 5, got 6" in err


def test_resume_takes_no_other_settings(command):
    command("train", "run", *SMALL)
    before = {name: Path("run", name).read_bytes() for name in os.listdir("run")}
    for words in (["--force"], ["--lr", "0.1"], ["--task", "copy"]):
        code, _, err = command("train", "--resume", "run", *words)
        assert code == 2
        assert f"--resume goes on by the settings of the run; leave out {words[0]}" in err
    assert {name: Path("run", name).read_bytes() for name in os.listdir("run")} == before


def test_one_line_begins_a_run_and_goes_on_with_it(command):
    whole = command("train", "whole", *SMALL)
    line = ("train", "run", *SMALL, "--resume")
    assert command(*line, "--time-limit", "0")[0] == 75
    assert len(lf.RunFolder("run").history().training) < 6
    code, out, err = command(*line)
    assert (code, err) == (0, "") and printed_digest(out) == printed_digest(whole[1])
    assert printed_digest(command(*line)[1]) == printed_digest(out)
    code, _, err = command(*line, "--seed", "9")
    assert code == 2 and "--resume goes on by the settings of the run; leave out --" in err
    assert command("train", "--resume", "nosuch")[0] == 2


def test_options_that_do_not_go_together(command):
    for words, message in [
        (
            ("spectrum", "--cell", "lstm", "--weights", "orthogonal"),
            "--weights orthogonal is for tanh, linear, rate and elman",
        ),
        (
            ("train", "run", "--cell", "lstm", "--units", "4", "--k", "9"),
            "--k must be between 1 and 8, the length of",
        ),
    ]:
        code, out, err = command(*words)
        assert (code, out) == (2, "")
        assert message in err


def test_version(command):
    code, out, _ = command("--version")
    assert (code, out) == (0, lf.__version__ + "\n")
    assert "demo" in command()[1]


@pytest.mark.parametrize("source", ["gaussian", "none", "copy", "spatial-xor"])
def test_spectrum_of_a_random_network(command, source):
    code, out, err = command(
        "spectrum", "--units", "5", "--steps", "300", "--input", source, "--gain", "2"
    )
    assert (code, err) == (0, "")
    assert "steps counted          100" in out
    assert os.listdir() == ["lyapflow-spectrum.png"]


def test_spectrum_until_its_bars_are_small_in_files(command):
    words = "spectrum --units 5 --k 2 --until-stderr 0.01 --csv s.csv --json s.json --out s.svg"
    code, out, err = command(*words.split())
    assert (code, err) == (0, "")
    assert out.splitlines()[-3:] == ["picture: s.svg", "numbers: s.csv", "numbers: s.json"]
    header, *rows = Path("s.csv").read_text().splitlines()
    said = json.loads(Path("s.json").read_text())
    assert header == "number,exponent,stderr"
    assert [float(row.split(",")[1]) for row in rows] == said["exponents"]
    assert max(said["stderr"]) <= 0.01 and 500 < said["steps_counted"] < 99_000
    assert "<svg" in Path("s.svg").read_text()


def test_spectrum_goes_on_from_a_checkpoint(command):
    words = "spectrum --units 5 --k 2 --json {} --checkpoint kept --steps {}"
    for name, steps in (("first.json", 500), ("both.json", 1000)):
        code, _, err = command(*words.format(name, steps).split())
        assert (code, err) == (0, "")
    assert command(*"spectrum --units 5 --k 2 --json whole.json --steps 1000".split())[0] == 0
    assert Path("both.json").read_text() == Path("whole.json").read_text()
    code, _, err = command(*words.format("x", 1000).split(), "--seed", "1")
    assert code == 2 and "kept is of a run with another W; give another path" in err


def test_spectra_show_the_first_and_the_last(command):
    code, out, err = command(*"spectrum --units 30 --steps 400 --no-picture".split())
    assert (code, err) == (0, "")
    numbers = [line.split()[0] for line in out.splitlines()[2:]]
    assert numbers[:14] == [*map(str, range(1, 11)), "...", "28", "29", "30"]
    assert "17 more" in out and "picture" not in out
    assert not Path("lyapflow-spectrum.png").exists()
    every = command(*"spectrum --units 30 --steps 400 --no-picture --all".split())[1]
    assert [line.split()[0] for line in every.splitlines()[2:32]] == [*map(str, range(1, 31))]
    lost = command(*"spectrum --cell relu --units 12 --steps 400 --no-picture".split())[1]
    assert "exponents of -inf" in lost and "Kaplan-Yorke dimension 0 ± 0" in lost
    few = command(*"spectrum --units 30 --gain 3 --k 2 --steps 400 --no-picture".split())[1]
    assert "Kaplan-Yorke dimension not known from so few exponents" in few


@pytest.mark.filterwarnings("always::lyapflow.LyapflowWarning")
def test_a_picture_that_cannot_be_written_beside_a_run_keeps_nobody_from_the_table(
    command, monkeypatch
):
    assert command("train", "run", *SMALL)[0] == 0

    def refuse(path, what="picture"):
        raise lf.LyapflowError(f"cannot write the {what} {path}")

    monkeypatch.setattr("lyapflow.cli.network.check_writable", refuse)
    code, out, err = command("spectrum", "run", "--steps", "300")
    assert code == 0 and "steps counted" in out
    assert "no picture is drawn, --out says where else" in err
    assert command("spectrum", "run", "--steps", "300", "--out", "there.png")[0] == 2


@pytest.mark.filterwarnings("always::lyapflow.LyapflowWarning")
def test_runs_of_which_only_weights_are_needed(command):
    assert command("train", "run", *SMALL)[0] == 0
    settings = json.loads(Path("run/settings.json").read_text())
    settings["training"]["of a later version"] = 1
    Path("run/settings.json").write_text(json.dumps(settings))
    code, out, err = command("spectrum", "run", "--steps", "300")
    assert (code, err) == (0, "")
    assert command("train", "--resume", "run")[0] == 2
    Path("run/checkpoint.safetensors").write_bytes(b"damaged")
    code, again, err = command("spectrum", "run", "--steps", "300")
    assert code == 0 and again == out
    assert "taking run/model.safetensors instead" in err


RECORDS = [
    Measurement(0, 0.7, 0.5, np.zeros(3), np.array([-0.3456])),
    FlossingRecord(100, 400, 20.71, np.array([-0.3])),
    TrainingRecord(1234, 0.0055123, 0.987, 3.2e-5),
]


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_the_live_table_fits_and_cuts_no_number(width):
    console = Console(force_terminal=True, width=width, color_system=None, file=io.StringIO())
    display = Progress(console, {"with flossing": Plan(5000, range(0, 500, 100), 500)})
    console.print(display._shown())
    show = display.callback("with flossing")
    for record in RECORDS:
        show(record)
    console.print(display._shown())
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "1235/5000" in lines[4] and "2/5 401/500" in lines[4]
    wide = {"98.7 %": 60, "0.005512": 60, "-0.346": 80, "3.2e-05": 80, "20.71": 120}
    for number, least in wide.items():
        assert (number in lines[4]) == (width >= least), number
    # titles stand above their columns: nothing has moved since the first record
    assert lines[0] == lines[3]


def test_a_summary_is_never_cut(command, monkeypatch):
    _, wide, _ = command("train", "run", *SMALL)
    monkeypatch.setattr("lyapflow.cli.show.console", Console(width=50, file=io.StringIO()))
    history = RunFolder("run").history()
    print_summary({"run": (history, np.array([-0.5]))}, np.array([-0.25]))
    narrow = lyapflow.cli.show.console.file.getvalue()
    assert "…" not in narrow and "95 % at epoch" in narrow
    for number in (f"{history.training['loss'].mean():.4f}", "-0.250", "-0.500"):
        assert number in narrow
    assert "95 % at epoch  λ₁ before" in wide  # in a row where there is room


def test_time_left_does_not_count_compilation(monkeypatch):
    clock = iter([0.0, 20.0, *np.arange(21.0, 40.0)])  # the first epoch takes twenty seconds
    monkeypatch.setattr("lyapflow.progress.time.monotonic", lambda: next(clock))
    plan = Plan(100)
    for _ in range(3):
        plan.took("training")
    assert plan.left() == "?"
    plan.took("training")
    assert plan.left() == "1:36"


def test_audit_of_a_random_network(command):
    words = "audit --units 5 --steps 600 --k 2 --json certificate.json"
    code, out, err = command(*words.split())
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == ["passed", "certificate: certificate.json"]
    assert json.loads(Path("certificate.json").read_text())["passed"] is True
    code, out, err = command("audit", "--units", "5", "--steps", "210", "--k", "2")
    assert (code, err) == (1, "")
    assert "length: 10 steps with 10 reorthonormalisations are too few" in out
    assert out.splitlines()[-1].startswith("failed: ")


@pytest.mark.parametrize("cell", CELLS)
def test_condition_of_a_random_network(command, cell):
    words = f"condition --units 3 --cell {cell} --steps 60,2 --transient 5 --bits 128"
    code, out, err = command(*words.split())
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["2"], ["60"])]
    assert [row[0] for row in rows] == ["2", "60"]
    assert ("inf" in out) == ("relu" in cell)
    hidden = cell == "lstm"
    assert (
        ("128 bits do not show all singular values from step 60 on" in out)
        == ("out of sight" in out)
        == hidden
    )
    assert is_picture(Path("lyapflow-condition.png"))
    assert "\x1b" not in out


def test_condition_is_the_library(command):
    command("train", "run", *SMALL, "--floss", "none")
    code, out, err = command("condition", "run", "--steps", "1,20", "--m", "3", "--transient", "7")
    assert (code, err) == (0, "")
    assert is_picture(Path("run/condition.png"))
    model = lf.load("run/model.safetensors")
    x = lf.tasks.BinaryTemporalXOR(4).inputs(lf.learning.streams.stream(0, "input"), 1007, 1)[:, 0]
    h0 = lf.trajectory(model.cell, x[:7], h0=model.h0)[-1]
    found = lf.condition_number(model.cell, x[7:], steps=[1, 20], m=3, h0=h0)
    for t, log_kappa, predicted in zip(found.steps, found.log_kappa, found.predicted):
        assert re.search(rf"^ *{t} +{log_kappa:.4f} +{predicted:.4f} ", out, re.MULTILINE)


def test_condition_without_a_transient(command):
    code, out, err = command(*"condition --units 3 --steps 2 --transient 0".split())
    assert (code, err) == (0, "")
    rng = lf.learning.streams.stream
    cell, h0 = lf.TanhRNN.random(3, 1, rng=rng(0, "weights")), rng(0, "state").standard_normal(3)
    x = lf.tasks.BinaryTemporalXOR(2).inputs(rng(0, "input"), 1000, 1, np.dtype(float))[:, 0]
    assert f"{lf.condition_number(cell, x, steps=2, h0=h0).log_kappa:.4f}" in out


def test_long_products_show_how_far_they_are(command, capsys):
    out = command("condition", "--units", "2", "--steps", "250")[1]
    assert "step 200 of 250, " in out
    with long_product(Console(force_terminal=True, width=100), 250) as progress:
        progress(100, 512)
    assert re.search("product of 512 bits.*100/250", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["condition", "--steps", "1,x"],
            "--steps must be numbers of steps separated by commas, got '1,x'",
        ),
        (["condition", "--steps", "5,-1"], "--steps must be numbers of steps from 0 on, got 5,-1"),
        (["condition", "--bits", "8"], "bits must be an integer between 16 and"),
        (["condition", "--m", "81"], "m must be an integer between 1 and 80"),
        (["condition", "--out", "no/folder.png"], "the picture's folder must exist"),
        (["train", "run", "--delay", "41"], "delay must be even for BinaryTemporalXOR"),
        (["train", "run", "--delay", "300"], "--steps must be more than the delay"),
        (["train", "run", "--units", "10", "--k", "11"], "--k must be between 1 and 10"),
        (["train", "run", "--floss-steps", "16"], "must be longer than its transients"),
        (["train", "run", "--floss-at", "0;5"], "--floss-at must be epochs separated by commas"),
        (["train", "run", "--floss-at", "-5"], "--floss-at must be epochs from 0 to 999, got -5"),
        (["train", "run", "--lr", "nan"], "--lr"),
        (["train", "run", "--gain", "inf"], "g must be a finite number"),
        (["train", "run", "--lr", "inf"], "lr must be a finite number"),
        (["train", "run", "--floss-lr", "inf"], "lr must be a finite number"),
        (["train", "run", "--target", "nan"], "target must be a finite number"),
        (["train", "run", "--floss-at", "0,1000"], "--floss-at must be epochs from 0 to 999"),
        (
            ["train", "run", "--units", "10", "--k", "11", "--floss", "none"],
            "--k must be between 1 and 10",
        ),
        (
            ["train", "run", "--task", "copy", "--stop-at", "0.9"],
            "--stop-at needs a task with an accuracy",
        ),
        (["spectrum", "--out", "x" * 300 + ".png"], "cannot write the picture"),
        (["train", "used"], "the run folder must be new or empty"),
        (["train", "used/file"], "cannot write the run folder"),
        (["train", "run", "--task", "parity"], "parity"),
        (["train", "run", "--dtype", "float16"], "float16"),
        (["train", "run", "--epochs", "0"], "--epochs"),
        (["train", "run", "--no-such-option"], "no-such-option"),
        (["train"], "run"),
        (["spectrum", "absent"], "there is no run folder and no file absent"),
        (["spectrum", "used"], "used is no run folder, it has no settings.json"),
        (["spectrum", "used", "--units", "5"], "--units says nothing of a run folder, used"),
        (["condition", "--name", "rnn"], "--name is for files"),
        (["spectrum", "--gain", "1e200"], "--gain must be a finite number"),
        (["spectrum", "--k", "81"], "k must be an integer between 1 and 80"),
        (["spectrum", "--steps", "200"], "must be longer than its transients"),
        (["spectrum", "--out", "no/folder.png"], "the picture's folder must exist"),
        (["spectrum", "--csv", "no/folder.csv"], "the table's folder must exist"),
        (["audit", "--json", "no/folder.json"], "the certificate's folder must exist"),
        (["demo", "--out", "no/folder.png"], "the picture's folder must exist"),
        (["demo", "--out", "used"], "is a folder"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_arguments_end_with_code_2_and_write_nothing(command, tmp_path, words, message):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    code, _, err = command(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert sorted(os.listdir()) == ["used"]
    assert os.listdir("used") == ["file"]


def test_whatever_ends_a_run_its_history_is_kept(command, monkeypatch):
    def interrupt(self, label, record):
        if record.kind == "training" and record.epoch == 3:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr("lyapflow.progress.Progress._update", interrupt)
    code, _, err = command("train", "run", *SMALL, "--floss", "none")
    assert code != 0
    assert "go on with it: lyapflow train --resume run" in err
    assert len(RunFolder("run").history().training) == 3


def test_a_long_name_costs_no_numbers(command):
    code, out, _ = command("train", "runs/" + 60 * "x", *SMALL)
    assert code == 0
    row = next(line.split() for line in out.splitlines() if line.startswith("xxxxxxxxxxxxxxx…"))
    assert len(row) == 8
    assert "…" not in " ".join(row[1:])


def test_names_that_look_like_markup(command):
    name = "a[/b]$_{c$"
    assert command("train", name, *SMALL)[0] == 0
    code, out, err = command("spectrum", name, "--steps", "300")
    assert (code, err) == (0, "")
    assert name in out


def in_a_process(folder, *words, **environment):
    """The command in a process of its own, in this folder."""
    return subprocess.run(
        [sys.executable, "-m", "lyapflow", *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_terminal_without_greek(tmp_path):
    done = in_a_process(tmp_path, "train", "run", *SMALL, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "epoch 6/6" in done.stdout


def test_python_m_lyapflow_is_the_command(tmp_path):
    assert in_a_process(tmp_path, "--version").stdout == lf.__version__ + "\n"
    done = in_a_process(tmp_path, "spectrum", "absent")
    assert done.returncode == 2
    assert done.stderr == "lyapflow: there is no run folder and no file absent\n"


def test_a_start_imports_no_matplotlib():
    code = "import sys, lyapflow.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_force(command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "picture.png").write_text("old")
    assert command("train", "run", *SMALL)[0] == 2
    assert command("train", "run", *SMALL, "--force")[0] == 0
    assert is_picture(tmp_path / "run" / "picture.png")


def test_a_run_that_diverges_ends_with_code_1_and_keeps_its_history(command):
    words = [*SMALL, "--floss", "none", "--clip", "0", "--lr", "1e200", "--task", "copy"]
    code, _, err = command("train", "run", *words)
    assert code == 1
    assert "stopped being finite" in err
    assert "the run folder run holds the last good epoch" in err
    assert len(RunFolder("run").history().training) >= 1


@pytest.mark.parametrize("name", ["demo", "train", "spectrum", "condition", "audit"])
def test_help_explains_every_option(command, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = command(name, "--help")
    assert code == 0
    options = [line.split()[1] for line in out.splitlines() if line.startswith("│ --")]
    assert "--seed" in options
    if name == "train":
        assert {
            "--task",
            "--delay",
            "--units",
            "--seed",
            "--floss",
            "--dtype",
            "--epochs",
            "--force",
        } <= set(options)
        assert "75, or the units of a smaller network" in out


def test_a_second_start_compiles_nothing(tmp_path):
    def start():
        """What is said of the cache: kernels that were compiled and stored, and those that were found."""
        done = in_a_process(tmp_path, "train", "run", *SMALL, "--force", NUMBA_DEBUG_CACHE="1")
        assert done.returncode == 0, done.stderr
        return done.stdout.count("data saved"), done.stdout.count("data loaded")

    start()
    saved, found = start()
    assert saved == 0 and found > 0


def test_smooth():
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0, 3.0, 4.0]), 2), [1.0, 1.5, 2.5, 3.5])


@pytest.mark.parametrize(
    ("task", "scale"), [(lf.tasks.DelayedCopy(2), "log"), (lf.tasks.BinaryTemporalXOR(2), "linear")]
)
def test_losses_are_drawn_on_a_logarithmic_axis(task, scale):
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(6, 1, rng=rng), 1, rng=rng)
    _, history = lf.train(model, task, epochs=3, seed=0, T=20)
    figure = training_figure({"network": Shown(history, np.zeros(6))}, np.zeros(6), "title")
    assert figure.axes[0].get_yscale() == scale


def test_workers_are_those_of_this_machine(command):
    for executor in (("--dask", "tcp://nowhere:1"), ("--mpi",)):
        code, _, err = command("sweep", "s", "grid.toml", "--workers", "2", *executor)
        assert (code, err.count("\n")) == (2, 1)
        assert "--workers counts processes of this machine" in err


@pytest.mark.parametrize("there", [True, False])
def test_a_notebook_is_live_with_ipywidgets_alone(monkeypatch, there):
    found = object() if there else None
    monkeypatch.setattr("lyapflow.progress.find_spec", lambda name: found)
    console = Console(force_jupyter=True, file=io.StringIO())
    assert lyapflow.progress.is_live(console) == there
