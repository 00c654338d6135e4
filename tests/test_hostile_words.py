"""Words on the command line that make no sense: exit code 2, one line of error, nothing left behind."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyapflow import cli

BELOW_1 = ["0", "-1", "x", "1.5", "", "nan", "1e3", "१x", "0x10", "--", "9" * 5000]
BELOW_0 = ["-1", "x", "1.5", "", "inf"]
REAL = ["-1", "x", "", "nan", "1,5", "--seed"]
WORD = ["x", "", "TANH", "tanh ", "None", "\ud800"]
TOO_LARGE = ["10000000000", "9" * 30, "1" + "0" * 400]
PICTURE = ["no/folder.png", "used", "used/" + "x" * 300 + ".png", "used/file/x.png", "x" * 300]
NETWORK = {
    "cell": WORD,
    "units": BELOW_1 + TOO_LARGE,
    "gain": [*REAL, "inf", "1e308"],
    "weights": WORD,
    "dtype": [*WORD, "float16", "int"],
    "seed": BELOW_0,
}
BAD = {
    "train": NETWORK
    | {
        "task": WORD,
        "delay": [*BELOW_1, "3", "1000", *TOO_LARGE],
        "epochs": BELOW_1,
        "steps": [*BELOW_1, "40", *TOO_LARGE],
        "batch": BELOW_1 + TOO_LARGE,
        "lr": [*REAL, "inf"],
        "clip": REAL,
        "floss": WORD,
        "floss-at": ["-1", "x", "", "1,,2", "1000", "9" * 30, "0;1"],
        "k": [*BELOW_1, "81", *TOO_LARGE],
        "floss-epochs": BELOW_1,
        "floss-steps": [*BELOW_1, "16", *TOO_LARGE],
        "floss-transient": [*BELOW_0, "55", *TOO_LARGE],
        "floss-lr": [*REAL, "inf"],
        "target": ["x", "", "nan", "inf", "-inf"],
        "t-ons": BELOW_1,
        "measure-every": BELOW_1,
        "stop-at": [*REAL, "1.5", "inf"],
        "time-limit": REAL,
        "checkpoint-seconds": [*REAL, "inf"],
        "checkpoint-epochs": BELOW_1,
        "nonsense": ["1"],
    },
    "spectrum": NETWORK
    | {
        "input": WORD,
        "steps": [*BELOW_1, "200", *TOO_LARGE],
        "k": [*BELOW_1, "81", *TOO_LARGE],
        "transient": [*BELOW_0, "2000", *TOO_LARGE],
        "q-transient": [*BELOW_0, "2000", *TOO_LARGE],
        "t-ons": BELOW_1,
        "out": PICTURE,
        "nonsense": ["1"],
    },
    "condition": NETWORK
    | {
        "input": WORD,
        "steps": ["-1", "x", "", "1,,2", "1;2", *TOO_LARGE],
        "m": [*BELOW_1, "81", *TOO_LARGE],
        "bits": ["0", "-1", "15", "x", "", "1e3", *TOO_LARGE],
        "transient": [*BELOW_0, *TOO_LARGE],
        "out": PICTURE,
        "nonsense": ["1"],
    },
    "demo": {"seed": BELOW_0, "out": PICTURE, "nonsense": ["1"]},
}
RUNS = ["used", "used/file", "x" * 300, "\ud800/x", "used/file/x"]


@st.composite
def words(draw):
    """A command with one to three options that are wrong, in any order, or a run folder that is none."""
    name = draw(st.sampled_from(sorted(BAD)))
    bad = draw(st.lists(st.sampled_from(sorted(BAD[name])), max_size=3, unique=True))
    run = (
        draw(st.sampled_from(RUNS)) if name != "demo" and (not bad or draw(st.booleans())) else None
    )
    if name == "demo" and not bad:
        bad = ["nonsense"]
    if run is None:
        run = "new" if name == "train" else None
    else:
        bad = [option for option in bad if option not in NETWORK]  # which a run folder makes idle
    options = [f"--{option}={draw(st.sampled_from(BAD[name][option]))}" for option in bad]
    resume = ["--resume"] if name == "train" and run != "new" and draw(st.booleans()) else []
    return [name, *([run] if run else []), *options, *resume]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def untouched(folder):
    return sorted(os.listdir(folder)) == ["used"] and os.listdir(folder / "used") == ["file"]


def is_an_error(code, err):
    return code == 2 and err.strip() and "Traceback" not in err


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=words())
def test_in_this_process(folder, capsys, monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["lyapflow", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert is_an_error(caught.value.code, capsys.readouterr().err)
    assert untouched(folder)


def test_through_a_shell(folder):
    lines = [
        *(
            "train new --units=0",
            "train new --units 10000000000",
            "train new --steps 1000000000000000",
            "train",
        ),
        *(
            "train new --task copy --stop-at 0.9",
            "train new --floss-at 0,,1",
            "train new --k 81",
            "train new --seed=-1",
        ),
        *(
            "train used",
            "train used --resume",
            "train new --resume",
            "train used --resume --units 3",
            "train new --lr nan",
        ),
        *(
            "train new --dtype float16",
            "train new --delay 41",
            "train new 'with more'",
            "train used/file",
            "train ''",
        ),
        *(
            "spectrum used",
            "spectrum new",
            "spectrum --k 81",
            "spectrum --out no/x.png",
            "spectrum --gain nan",
        ),
        *(
            "condition used",
            "condition --steps=-1",
            "condition --bits 3",
            "condition --m 0",
            "condition --input x",
        ),
        *(
            "demo --out used",
            "demo --seed x",
            "nonsense",
            "--nonsense",
            "train $(printf 'x%.0s' $(seq 300))",
        ),
    ]
    assert len(lines) >= 30
    start = shlex.join([sys.executable, "-c", "from lyapflow.cli import main; main()"])

    def run(line):
        return subprocess.run(
            ["sh", "-c", f"{start} {line}"], capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        for line, done in zip(lines, pool.map(run, lines)):
            assert is_an_error(done.returncode, done.stderr), line
            assert done.stdout == "", line
    assert untouched(folder)
