"""The same bits, however a run is cut up, and under the portable settings on another kind of processor."""

import os
import subprocess
import sys

import lyapflow as lf
from tests.test_training import TASK, model, small
from validation.instruction_sets import ONE_THREAD, PORTABLE, without_avx512

SETTINGS = {
    "task": TASK,
    "epochs": 3,
    "T": 60,
    "batch": 4,
    "flossing": small(k=24),
    "measure_every": 2,
}


def run(seed, folder=None):
    return lf.train(model(n=32, seed=seed), **SETTINGS, seed=seed, folder=folder)[0]


def stopped(record):
    return (record.kind, record.epoch) == ("flossing", 1)


def test_alone_in_an_ensemble_and_interrupted(tmp_path):
    whole = lf.digest(run(1))
    both = lf.train(lf.stack([model(n=32, seed=0), model(n=32, seed=1)]), **SETTINGS, seed=(0, 1))[
        0
    ]
    assert lf.digest(both[1]) == whole
    lf.train(model(n=32, seed=1), **SETTINGS, seed=1, folder=tmp_path, callbacks=stopped)
    assert not lf.RunFolder(tmp_path).history().training
    assert lf.digest(lf.resume(tmp_path)[0]) == whole


def elsewhere(environment):
    """The digest of a run in a process of its own."""
    code = "import lyapflow as lf; from tests.test_reproducibility import run; print(lf.digest(run(0)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_for_any_number_of_threads():
    here = lf.digest(run(0))
    for threads in ("1", "2"):
        assert elsewhere({"NUMBA_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}) == here


def test_under_the_portable_settings():
    assert elsewhere(PORTABLE) == elsewhere(PORTABLE | without_avx512() | ONE_THREAD)
