"""Runs that stop, in whatever way, and go on."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays, like
from lyapflow.learning import tasks
from lyapflow.learning.history import History, Recorder
from lyapflow.learning.training import Training
from lyapflow.runs import files
from tests.test_training import TASK, model, small

SETTINGS = {
    "task": TASK,
    "epochs": 4,
    "seed": 3,
    "flossing": small(),
    "T": 20,
    "batch": 4,
    "measure_every": 2,
}


def same_history(one, other):
    for kind in ("training", "flossing", "measurement"):
        a, b = getattr(one, kind), getattr(other, kind)
        assert len(a) == len(b)
        for field in a[0].__dataclass_fields__ if a else ():
            np.testing.assert_array_equal(a[field], b[field])
            assert type(getattr(a[0], field)) is type(getattr(b[0], field))


def lost_member():
    """Two models of which the second does not get past its first epoch."""
    bad = model(seed=1)
    return lf.stack([model(), bad._replace(cell=bad.cell._replace(W=np.full((8, 8), 1e300)))])


of_every_kind = pytest.mark.parametrize(
    ("start", "seed"),
    [
        (model(), 3),
        (model(dtype=np.float32), 3),
        (lf.stack([model(seed=0), model(seed=1)]), (3, 4)),
        (lost_member(), (3, 4)),
    ],
    ids=["alone", "float32", "ensemble", "lost member"],
)


@of_every_kind
def test_a_run_goes_on_from_anywhere_to_the_same_bits(tmp_path, start, seed):
    training, history = Training(**SETTINGS | {"seed": seed}), History()
    states = list(training.go(training.begin(start), Recorder((), history)))
    assert len(states) == 2 * 3 + 3 + 4  # flossing epochs, measurements, training epochs
    final = lf.digest(states[-1].model)
    run = lf.RunFolder(tmp_path)
    with run.alone():
        run.create(training, start, {})
    for done, state in enumerate([None, *states]):
        if state is not None:
            run.write_checkpoint(state, history)
        told = []
        trained, whole = lf.resume(tmp_path, callbacks=told.append)
        assert lf.digest(trained) == final
        same_history(whole, history)
        assert len(told) == len(states) - done
        if isinstance(trained, tuple) and hasattr(trained, "reasons"):
            assert trained.reasons == states[-1].model.reasons
        for name in ("checkpoint.safetensors", "history.npz"):
            (tmp_path / name).unlink()


@pytest.mark.parametrize("stop", range(1, 13))
def test_stopped_and_resumed_is_uninterrupted(tmp_path, stop):
    expected, whole = lf.train(model(), **SETTINGS)
    heard = []

    def enough(record):
        heard.append(record)
        return len(heard) >= stop

    stopped, part = lf.train(model(), **SETTINGS, callbacks=enough, folder=tmp_path)
    assert sum(map(len, (part.training, part.flossing, part.measurement))) == stop
    assert lf.digest(lf.RunFolder(tmp_path).model()) == lf.digest(stopped)
    same_history(lf.RunFolder(tmp_path).history(), part)
    trained, history = lf.resume(tmp_path)
    assert lf.digest(trained) == lf.digest(expected)
    same_history(history, whole)


def test_runs_of_before_penalties_and_overlaps_go_on(tmp_path):
    expected, whole = lf.train(model(), **SETTINGS)
    heard = []

    def enough(record):
        heard.append(record)
        return len(heard) >= 8

    lf.train(model(), **SETTINGS, callbacks=enough, folder=tmp_path)
    path = tmp_path / "settings.json"
    settings = json.loads(path.read_text())
    for name in ("penalty", "weight", "every", "measure_vectors"):
        del settings["training"][name]
    del settings["training"]["flossing"]["penalty"]
    path.write_text(json.dumps(settings))
    path = tmp_path / "checkpoint.safetensors"
    content, metadata = files.read_arrays(path)
    new = {"flossing.values", "measurement.overlaps"}
    old = {k: v for k, v in content.items() if k not in new and not k.startswith("penalty.")}
    files.write_arrays(path, old, metadata)
    trained, history = lf.resume(tmp_path)
    assert lf.digest(trained) == lf.digest(expected)
    same_history(history, whole)


@pytest.mark.parametrize("place", range(1, 13))
def test_whatever_ends_a_run_its_last_whole_epoch_is_kept(tmp_path, place):
    heard = []

    def fail(record):
        heard.append(record)
        if len(heard) == place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lf.train(model(), **SETTINGS, callbacks=fail, folder=tmp_path)
    history = lf.RunFolder(tmp_path).history()
    assert sum(map(len, (history.training, history.flossing, history.measurement))) == place - 1
    assert lf.digest(lf.resume(tmp_path)[0]) == lf.digest(lf.train(model(), **SETTINGS)[0])


def test_checkpoints_come_by_epochs_or_by_time(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        lf.RunFolder, "write_checkpoint", lambda self, state, history: written.append(state)
    )
    lf.train(model(), **SETTINGS, folder=tmp_path / "a", checkpoint_epochs=3)
    places = [(state.epoch, state.flossed) for state in written]
    assert places == [(0, 3), (2, 1), (3, 0), (4, 0)]  # 3, 6 and 9 updates, and the end
    written.clear()
    lf.train(model(), **SETTINGS, folder=tmp_path / "b", checkpoint_seconds=1000.0)
    assert len(written) == 1
    written.clear()
    monkeypatch.setattr("lyapflow.runs.train.CHECKPOINT_SHARE", np.inf)
    lf.train(model(), **SETTINGS, folder=tmp_path / "c", checkpoint_seconds=0.0)
    assert len(written) == 14
    written.clear()
    # what the first one takes is too much
    monkeypatch.setattr("lyapflow.runs.train.CHECKPOINT_SHARE", 1e-9)
    lf.train(model(), **SETTINGS, folder=tmp_path / "d", checkpoint_seconds=0.0)
    assert len(written) == 2


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch):
    expected = lf.digest(lf.train(model(), **SETTINGS)[0])
    real = os.replace
    calls = []

    def full(source, target):
        calls.append(target)
        if 4 <= len(calls) < 8:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.warns(
        RuntimeWarning, match="cannot write a checkpoint: No space left on device; the run goes on"
    ):
        trained, _ = lf.train(model(), **SETTINGS, folder=tmp_path, checkpoint_epochs=1)
    assert lf.digest(trained) == lf.digest(lf.RunFolder(tmp_path).model()) == expected
    assert not [name for name in os.listdir(tmp_path) if name.endswith(files.PART)]


def test_a_disk_that_stays_full(tmp_path, monkeypatch):
    expected = lf.digest(lf.train(model(), **SETTINGS)[0])
    before = []

    def full(*_):
        raise OSError(28, "No space left on device")

    def fill(record):
        if record.kind == "training" and record.epoch == 1:
            before.append(lf.RunFolder(tmp_path).history())
            monkeypatch.setattr("os.fsync", full)

    with (
        pytest.warns(RuntimeWarning, match="the run goes on"),
        pytest.raises(
            lf.LyapflowError,
            match=r"cannot write the results .*No space left on device; go on with it",
        ),
    ):
        lf.train(model(), **SETTINGS, folder=tmp_path, callbacks=fill, checkpoint_epochs=1)
    same_history(lf.RunFolder(tmp_path).history(), before[0])
    monkeypatch.undo()
    assert lf.digest(lf.resume(tmp_path)[0]) == expected


def test_a_disk_too_full_for_the_number_in_the_lock(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_space)
    run = lf.RunFolder(tmp_path)
    with (
        run.alone(),
        pytest.raises(lf.LyapflowError, match="in use by process unknown"),
        run.alone(),
    ):
        pass


def test_a_disk_that_is_full_when_a_run_fails(tmp_path, monkeypatch):
    def fail(record):
        if record.kind == "training" and record.epoch == 2:
            monkeypatch.setattr(
                "os.fsync",
                lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")),
            )
            raise RuntimeError("of the user's own")

    with (
        pytest.warns(RuntimeWarning, match="Input/output error; an earlier one stays"),
        pytest.raises(RuntimeError, match="of the user's own"),
    ):
        lf.train(model(), **SETTINGS, folder=tmp_path, callbacks=fail, checkpoint_epochs=1)
    assert len(lf.RunFolder(tmp_path).history().training) == 2


def test_two_runs_in_one_folder(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def wait(record):
        begun.set()
        go_on.wait(60)

    found = []
    first = threading.Thread(
        target=lambda: found.append(
            lf.train(model(), **SETTINGS, folder=tmp_path, callbacks=wait)[0]
        )
    )
    first.start()
    assert begun.wait(120)
    for again in (
        lambda: lf.resume(tmp_path),
        lambda: lf.train(model(), **SETTINGS, folder=tmp_path, force=True),
    ):
        with pytest.raises(
            lf.LyapflowError, match=f"is in use by process {os.getpid()} on host .+; wait for it"
        ):
            again()
    assert len(lf.RunFolder(tmp_path).history().training) == 0  # reading is free
    go_on.set()
    first.join()
    assert lf.digest(lf.resume(tmp_path)[0]) == lf.digest(found[0])


HOLD = """
import sys, time
import lyapflow as lf
with lf.RunFolder(sys.argv[1]).alone():
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_dead_process_is_none(tmp_path):
    lf.train(model(), **SETTINGS, folder=tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(lf.LyapflowError, match=f"is in use by process {holder.pid}"):
            lf.resume(tmp_path)
        (tmp_path / f".checkpoint.safetensors.x{files.PART}").write_bytes(b"half")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    lf.resume(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(files.PART)]


def test_a_lock_that_is_held_may_hold_anything(tmp_path):
    run, other = lf.RunFolder(tmp_path), lf.RunFolder(tmp_path)
    with run.alone():
        for content in (b"\xff\xfe\x80", b"\x1b[2J"):
            (tmp_path / "lock").write_bytes(content)
            with pytest.raises(lf.LyapflowError, match="in use by process unknown"), other.alone():
                pass


def test_a_lock_names_the_host_of_whoever_has_it(tmp_path, monkeypatch):
    run = lf.RunFolder(tmp_path)
    for name, written in (
        ("node-7.cluster", "node-7.cluster"),
        ("Ada's \x1b[2J", "Ada-s---2J"),
        ("", "unknown"),
    ):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        with run.alone(), monkeypatch.context() as here:
            here.setattr("socket.gethostname", lambda: "another")
            with pytest.raises(
                lf.LyapflowError, match=f"by process {os.getpid()} on host {written}; wait for it"
            ):
                lf.train(model(), **SETTINGS, folder=tmp_path, force=True)


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch):
    def none_here(descriptor, **_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    expected = lf.digest(lf.train(model(), **SETTINGS)[0])
    monkeypatch.setattr("filelock.lock_descriptor", none_here)
    with pytest.warns(
        lf.LyapflowWarning, match=r"cannot be locked \(No locks available\), so that nothing"
    ):
        trained, _ = lf.train(model(), **SETTINGS, folder=tmp_path)
    assert lf.digest(trained) == expected


def test_the_lock_does_not_live_on_in_a_child(tmp_path):
    """One that a callback or a pool has forked."""
    read, write = os.pipe()
    run = lf.RunFolder(tmp_path)
    with run.alone():
        child = os.fork()
        if child == 0:
            os.write(write, b"x")
            time.sleep(600)
            os._exit(0)
        os.read(read, 1)
    try:
        with run.alone():  # let go here, but a copy of its file would be open in the child
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_callback_may_change_the_working_directory(tmp_path, monkeypatch):
    """Not even a run of the same name is touched there."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "elsewhere" / "run"
    other.mkdir(parents=True)
    (other / "checkpoint.safetensors").write_text("another's")

    def leave(record):
        os.chdir(other.parent)

    trained, _ = lf.train(model(), **SETTINGS, folder="run", callbacks=leave, checkpoint_epochs=1)
    assert lf.digest(lf.load(tmp_path / "run" / "model.safetensors")) == lf.digest(trained)
    assert os.listdir(other) == ["checkpoint.safetensors"]
    assert (other / "checkpoint.safetensors").read_text() == "another's"


class Own(lf.tasks.DelayedCopy):
    """A task of a user's own, although it looks like one of the package's."""


def test_a_task_of_a_users_own(tmp_path):
    settings = SETTINGS | {"task": Own(2)}
    expected = lf.digest(lf.train(model(), **settings)[0])
    lf.train(model(), **settings, folder=tmp_path, callbacks=lambda record: True)
    with pytest.raises(
        lf.LyapflowError,
        match=r"must be one of lyapflow\.tasks, got 'tests\.test_resume\.Own'; give",
    ):
        lf.resume(tmp_path)
    with pytest.raises(lf.LyapflowError, match=r"the run's task is .*Own.*, got .*DelayedCopy"):
        lf.resume(tmp_path, task=lf.tasks.DelayedCopy(2))
    assert lf.digest(lf.resume(tmp_path, task=Own(2))[0]) == expected


def test_other_versions_are_told(tmp_path):
    lf.train(model(), **SETTINGS, folder=tmp_path, callbacks=lambda record: True)
    path = tmp_path / "settings.json"
    path.write_text(path.read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "1.0"'))
    with pytest.warns(
        RuntimeWarning,
        match=f"bits of this run may differ from here on: numpy 1.0 -> {np.__version__}",
    ):
        lf.resume(tmp_path)
    path.write_text(
        path.read_text().replace('"numpy": "1.0"', '"numpy": "\\u001b[31m\\n' + "9" * 5000 + '"')
    )
    with pytest.warns(RuntimeWarning) as told:
        lf.resume(tmp_path)
    assert str(told[0].message).isprintable()
    assert len(str(told[0].message)) < 200


def test_a_run_that_diverges_keeps_its_last_good_epoch(tmp_path):
    settings = SETTINGS | {"optimizer": lf.Adam(1e200), "flossing": None}
    with pytest.raises(lf.Diverged) as caught:
        lf.train(model(), **settings, folder=tmp_path)
    run = lf.RunFolder(tmp_path)
    same_history(run.history(), caught.value.history)
    assert len(run.history().training) == caught.value.epoch > 0
    assert np.isfinite(run.model().cell.W).all()
    with pytest.raises(lf.Diverged, match=str(caught.value)[:30]):
        lf.resume(tmp_path)


def test_what_is_no_run_cannot_go_on(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(lf.LyapflowError, match=r"is no run folder: cannot read settings\.json"):
            lf.resume(path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("lock", ["\n123 node-7.cluster\n", "123\n", ""])
def test_a_run_killed_before_it_began_can_begin(tmp_path, lock):
    (tmp_path / "lock").write_text(lock)
    (tmp_path / "start.safetensors").write_bytes(b"")
    (tmp_path / f".settings.json.x{files.PART}").write_bytes(b"{")
    lf.train(model(), **SETTINGS, folder=tmp_path)
    assert time.time() - os.stat(tmp_path / "settings.json").st_mtime < 600


@dataclass(frozen=True)
class Lagged(lf.tasks.DelayedCopy):
    """A task of the package with a field more."""

    lag: int = 0


def test_a_task_with_more_than_a_delay_keeps_all_its_settings(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks.CLASSES, "Lagged", Lagged)
    network = lf.Model.random(
        lf.TanhRNN.random(3, 1, rng=np.random.default_rng(0)), 1, rng=np.random.default_rng(0)
    )
    lf.train(network, Lagged(4, lag=2), epochs=1, seed=0, T=10, batch=2, folder=tmp_path)
    assert lf.RunFolder(tmp_path).training().task == Lagged(4, lag=2)


class Downhill:
    """Gradient descent with a state of any form."""

    def __init__(self, state):
        self.state = state

    def init(self, params):
        return self.state

    def update(self, state, params, grads):
        pairs = zip(arrays(params), arrays(grads))
        return like(params, (p - 0.01 * g for p, g in pairs)), state


STATES = (
    None,
    (),
    3,
    np.array(0.5),
    {1: [True, (2.0, {"a": np.array([np.inf, np.nan])}, None)], "none": [], "b": np.zeros((0, 2))},
)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("stop", [("flossing", 1), ("training", 0)])
def test_an_optimizer_of_ones_own_may_have_a_state_of_any_form(tmp_path, state, ensemble, stop):
    optimizer = Downhill(state)
    flossing = lf.Flossing(
        k=1, epochs=3, steps=6, q_transient=1, at=(0, 2), optimizer=Downhill(state)
    )
    start = lf.stack([model(seed=0), model(seed=1)]) if ensemble else model()
    settings = {
        "epochs": 4,
        "seed": (0, 1) if ensemble else 0,
        "T": 8,
        "batch": 2,
        "optimizer": optimizer,
        "flossing": flossing,
    }
    whole, _ = lf.train(start, TASK, **settings)
    lf.train(
        start,
        TASK,
        folder=tmp_path,
        callbacks=lambda record: (record.kind, record.epoch) == stop,
        **settings,
    )
    found, _ = lf.resume(tmp_path, optimizer=optimizer, flossing=flossing)
    assert lf.digest(found) == lf.digest(whole)


@pytest.mark.parametrize("state", ["words", 2**70, 1j, {"a.b": 1, "a": {"b": 2}}])
def test_a_state_that_cannot_be_kept_is_refused_before_the_run(tmp_path, state):
    with pytest.raises(lf.LyapflowError, match="state of an optimizer must be a tree of arrays"):
        lf.train(
            model(), TASK, epochs=1, seed=0, folder=tmp_path / "run", optimizer=Downhill(state)
        )
    assert not (tmp_path / "run").exists()


class Growing(Downhill):
    """Remembers every gradient."""

    def init(self, params):
        return [np.zeros(1)]

    def update(self, state, params, grads):
        return params, [*state, np.ones(1)]


def test_a_state_that_changes_its_form_is_refused_at_the_first_update():
    form = "must keep the names and shapes that init gives it, but 1 of Growing changed"
    settings = {"epochs": 2, "seed": 0, "T": 10, "batch": 2}
    with pytest.raises(lf.LyapflowError, match=form):
        lf.train(model(), TASK, optimizer=Growing(None), **settings)
    with pytest.raises(lf.LyapflowError, match=form):
        lf.floss(
            model().cell, lambda epoch: np.ones((10, 1)), k=1, epochs=2, optimizer=Growing(None)
        )
