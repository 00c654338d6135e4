"""Spectra that are written as they grow: a run that is killed goes on, to the bits of one that is not."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.lyapunov import supply
from lyapflow.lyapunov.course import go_on
from lyapflow.runs import resumable
from tests.exact_systems import LogisticMap

RNG = np.random.default_rng(0)
CELLS = {
    "tanh": lf.TanhRNN.random(8, 2, rng=RNG, g=2.0),
    "float32": lf.LSTM.random(4, 2, rng=RNG, dtype=np.float32),
    "layers": lf.layers(lf.TanhRNN.random(5, 2, rng=RNG), lf.GRU.random(4, 5, rng=RNG)),
}
X = np.random.default_rng(1).standard_normal((3000, 2, 2))


class Stop(Exception):
    pass


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(supply, "PIECE", 2000)
    monkeypatch.setattr(resumable, "EVERY", -1.0)  # write after each


def interrupted(x, after):
    """Inputs that are there as far as step number `after`."""

    def inputs(start, stop):
        if stop > after:
            raise Stop
        return x[start:stop]

    return inputs


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
@pytest.mark.parametrize("goal", [{"steps": 3000}, {"until_stderr": 0.012, "max_steps": 3000}])
@pytest.mark.parametrize("name", list(CELLS))
def test_interrupted_runs_end_as_others_do(name, goal, small_pieces, tmp_path):
    cell, path = CELLS[name], tmp_path / "exponents"
    x = X.astype(np.float32) if name == "float32" else X
    how = {"transient": 20, "t_ons": 3, "h0": np.zeros((2, lf.trajectory(cell, x[:1]).shape[-1]))}
    how["h0"] = how["h0"].astype(x.dtype)
    whole = lf.lyapunov_spectrum(cell, lambda start, stop: x[start:stop], 3, **how, **goal)
    steps = []
    for after in (1600, 1900, 2200, 2950):
        try:
            lf.resumable_spectrum(path, cell, interrupted(x, after), 3, **how, **goal)
        except Stop:
            steps.append(lf.load(path).steps_counted)  # as far as it has come
    assert steps == sorted(set(steps)) and len(steps) >= 2
    every = lf.resumable_spectrum(path, cell, interrupted(x, 3000), 3, **how, **goal)
    assert every == whole
    # all is there: nothing is asked for but what begins the run
    assert lf.resumable_spectrum(path, cell, interrupted(x, 1600), 3, **how, **goal) == whole


def test_runs_that_stop_by_themselves_stop_there_wherever_they_were_interrupted(
    small_pieces, tmp_path, monkeypatch
):
    cell = LogisticMap(np.array([3.9]))
    how = {"h0": np.array([0.3]), "until_stderr": 4e-3, "max_steps": 10**6}
    whole = lf.lyapunov_spectrum(cell, **how)
    calls = []

    def at(number):
        def one(*arguments):
            calls.append(number)
            if len(calls) == number:
                raise Stop
            return go_on(*arguments)

        return one

    for number in range(1, 100):
        calls.clear()
        path = tmp_path / str(number)
        monkeypatch.setattr("lyapflow.lyapunov.spectrum.go_on", at(number))
        try:
            lf.resumable_spectrum(path, cell, **how)
        except Stop:
            monkeypatch.setattr("lyapflow.lyapunov.spectrum.go_on", go_on)
            assert lf.resumable_spectrum(path, cell, **how) == whole
        else:
            break
    assert 5 < number < 99


def test_more_may_be_asked_for(small_pieces, tmp_path):
    cell, path = CELLS["tanh"], tmp_path / "exponents"
    lf.resumable_spectrum(path, cell, X[:1000], 3, t_ons="auto")
    found = lf.resumable_spectrum(path, cell, X, 3, t_ons="auto")
    assert found == lf.lyapunov_spectrum(cell, X, 3, t_ons=found.t_ons)
    rough = lf.resumable_spectrum(path.with_suffix(".2"), cell, X, 3, until_stderr=0.03)
    fine = lf.resumable_spectrum(path.with_suffix(".2"), cell, X, 3, until_stderr=0.02)
    assert rough.steps_counted < fine.steps_counted
    assert (fine.stderr <= 0.02).all()


def test_progress_is_told_and_changes_nothing(tmp_path):
    told = []
    x = X[:, 0]
    lf.resumable_spectrum(tmp_path / "run", CELLS["tanh"], x[:1000], 2)
    found = lf.resumable_spectrum(
        tmp_path / "run", CELLS["tanh"], x, 2, progress=lambda done, all: told.append((done, all))
    )
    assert found == lf.lyapunov_spectrum(CELLS["tanh"], x, 2)
    assert told[0] == (1000, 3000) and told[-1] == (3000, 3000) and len(told) > 20
    with pytest.raises(lf.LyapflowError, match="progress must be True, False or a function"):
        lf.resumable_spectrum(tmp_path / "run", CELLS["tanh"], x, 2, progress="bar")


def test_other_runs_are_refused(tmp_path):
    cell, path = CELLS["tanh"], tmp_path / "exponents"
    lf.resumable_spectrum(path, cell, X[:500], 3, transient=5)
    before = path.read_bytes()
    other = lf.TanhRNN.random(8, 2, rng=RNG, g=2.0)
    of = {"x": X[:600], "k": 3, "transient": 5}
    for changes, name in (
        ({"cell": other}, "another W"),
        ({"x": -X[:600]}, "another x"),
        ({"k": 4}, "another k"),
        ({"q0": np.eye(8)[:, :3]}, "another q0"),
        ({"h0": np.ones(8)}, "another h0"),
        ({"transient": 6}, "another transient or q_transient"),
        ({"q_transient": 1}, "another transient or q_transient"),
        ({"t_ons": 2}, "another t_ons"),
        ({"max_rows": 2000}, "begun with max_rows=1048576, got 2000"),
        ({"x": X[:100]}, "500 steps were taken before, got only 100 now"),
        ({"cell": lf.stack([cell])}, "an ensemble"),
        ({"continue_from": lf.load(path)}, "continue_from is not for"),
        ({"lengths": [600, 500]}, "lengths is not for"),
    ):
        with pytest.raises(lf.LyapflowError, match=name):
            lf.resumable_spectrum(path, **{"cell": cell} | of | changes)
    with pytest.raises(lf.LyapflowError, match="holds a cell of class TanhRNN, got cell=ReluRNN"):
        lf.resumable_spectrum(path, lf.ReluRNN(*cell), X, 3)
    with pytest.raises(lf.LyapflowError, match="path must be that of a file, got None"):
        lf.resumable_spectrum(None, cell, X, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        lf.resumable_spectrum(path, cell, X, 3, foo=3)
    assert path.read_bytes() == before
    lf.save(path, lf.load(path))
    with pytest.raises(lf.LyapflowError, match="was not written by resumable_spectrum"):
        lf.resumable_spectrum(path, cell, X, 3)


CODE = """
import sys, numpy as np, lyapflow as lf
from lyapflow.lyapunov import supply
from lyapflow.runs import resumable
from tests.exact_systems import LogisticMap
resumable.EVERY = 0.0
supply.PIECE = 2**18
print("begun", flush=True)
found = lf.resumable_spectrum(
    sys.argv[1], LogisticMap(np.array([3.9])), steps=int(sys.argv[2]), h0=np.array([0.3])
)
print(found.exponents[0].hex())
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is not for Windows")
def test_a_process_that_is_killed(tmp_path):
    path, steps = tmp_path / "exponents", 40 * 2**18
    command = [sys.executable, "-c", CODE, str(path), str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not path.exists() and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
    reached = lf.load(path, cell=LogisticMap).steps_counted
    assert 0 < reached < steps
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]
    whole = lf.lyapunov_spectrum(LogisticMap(np.array([3.9])), steps=steps, h0=np.array([0.3]))
    assert float.fromhex(found) == whole.exponents[0]
