"""Weights on disk and run folders."""

import json
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy

import lyapflow as lf
from lyapflow.cells.parameters import arrays
from lyapflow.runs.folder import RunFolder
from tests.exact_systems import HenonMap
from tests.test_training import TASK, model, small


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_come_back_to_the_bit(tmp_path, dtype):
    for obj in (model(dtype=dtype), model(dtype=dtype).cell):
        lf.save(tmp_path / "w.safetensors", obj)
        back = lf.load(tmp_path / "w.safetensors")
        assert type(back) is type(obj)
        for a, b in zip(arrays(obj), arrays(back)):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_bad_weight_files(tmp_path):
    good, path = model(), tmp_path / "w.safetensors"
    lf.save(path, good)
    content = path.read_bytes()
    cases = {
        b"": "cannot read",
        b"garbage": "cannot read",
        content[:-8]: "cannot read",
        pickle.dumps({"W": 1}): "cannot read",
        safetensors.numpy.save({"W": np.eye(2)}): "holds no weights of lyapflow",
        safetensors.numpy.save({"W": np.eye(2)}, {"lyapflow": "cell", "cell": "TanhRNN"}): "lacks the array 'V'",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((3, 1)), "b": np.ones(2)}, {"lyapflow": "cell", "cell": "TanhRNN"}
        ): "V must have shape",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((2, 1)), "b": np.ones(2), "z": np.ones(1)},
            {"lyapflow": "cell", "cell": "TanhRNN"},
        ): "no part of a cell: z",
        safetensors.numpy.save(
            {"W": np.ones((2, 2, 2)), "V": np.ones((2, 2, 1)), "b": np.ones((3, 2))},
            {"lyapflow": "cell", "cell": "TanhRNN", "members": "2"},
        ): "must hold arrays of 2 members each",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((2, 1)), "b": np.ones(2)},
            {"lyapflow": "cell", "cell": "TanhRNN", "members": "9" * 99},
        ): "must hold arrays of 9{20} members each",
        safetensors.numpy.save(
            {}, {"lyapflow": "cell", "cell": "TanhRNN", "members": "0"}
        ): "must hold arrays of 0 members",
        safetensors.numpy.save(
            {"W": np.eye(2) * np.nan, "V": np.ones((2, 1)), "b": np.ones(2)}, {"lyapflow": "cell", "cell": "TanhRNN"}
        ): "must be finite",
    }
    for data, message in cases.items():
        path.write_bytes(data)
        with pytest.raises(lf.LyapflowError, match=message):
            lf.load(path)
    with pytest.raises(lf.LyapflowError, match="cannot read"):
        lf.load(tmp_path / "absent")
    with pytest.raises(lf.LyapflowError, match=r"it is a folder; a run's weights are its file model.safetensors"):
        lf.load(tmp_path)
    for nonsense in (None, 5, "a\0b"):
        with pytest.raises(lf.LyapflowError, match="cannot read"):
            lf.load(nonsense)


def test_saving_what_cannot_be_saved(tmp_path):
    with pytest.raises(lf.LyapflowError, match="lyapflow saves its own cells"):
        lf.save(tmp_path / "w", HenonMap(np.ones(1), np.ones(1)))
    with pytest.raises(lf.LyapflowError, match="a cell must be"):
        lf.save(tmp_path / "w", np.ones(3))
    with pytest.raises(lf.LyapflowError, match="cannot write"):
        lf.save(tmp_path / "no" / "folder" / "w", model())
    for nonsense in (None, 5, "a\0b"):
        with pytest.raises(lf.LyapflowError, match="cannot write"):
            lf.save(nonsense, model())
    assert not any(tmp_path.iterdir())


def test_a_run_folder_comes_back_as_it_was(tmp_path):
    trained, history = lf.train(model(), TASK, epochs=3, seed=0, T=20, flossing=small(), measure_every=2)
    folder = RunFolder.create(tmp_path / "run", {"task": "binary-xor", "seed": 0})
    folder.write_history(history)
    folder.write_model(trained)
    again = RunFolder(tmp_path / "run")
    settings = again.settings()
    assert settings["seed"] == 0
    assert settings["versions"]["numpy"] == np.__version__
    for kind, columns in {
        "training": ("epoch", "loss", "accuracy", "h0_gradient_norm"),
        "flossing": ("training_epoch", "epoch", "loss", "exponents"),
        "measurement": ("epoch", "loss", "accuracy", "singular_values", "exponents"),
    }.items():
        for column in columns:
            np.testing.assert_array_equal(getattr(history, kind)[column], getattr(again.history(), kind)[column])
    np.testing.assert_array_equal(again.model().cell.W, trained.cell.W)


def test_a_used_folder_is_kept_unless_forced(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder.create(tmp_path / "run", {})  # empty is as good as new
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "history.npz").write_text("old")
    with pytest.raises(lf.LyapflowError, match="must be new or empty"):
        RunFolder.create(tmp_path / "run", {})
    RunFolder.create(tmp_path / "run", {"seed": 5}, force=True)
    assert sorted(os.listdir(tmp_path / "run")) == ["notes.txt", "settings.json"]
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["seed"] == 5
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(lf.LyapflowError, match="cannot write the run folder"):
            RunFolder.create(path, {})


def test_damaged_histories(tmp_path):
    _, history = lf.train(model(), TASK, epochs=2, seed=0, T=20)
    folder, path = RunFolder(tmp_path), tmp_path / "history.npz"
    folder.write_history(history)
    content = path.read_bytes()
    (tmp_path / "array.npy").touch()
    np.save(tmp_path / "array.npy", np.ones(3))
    for data in (b"", content[:-100], content[:200], content[:300] + bytes(20) + content[320:], pickle.dumps(history)):
        path.write_bytes(data)
        with pytest.raises(lf.LyapflowError, match="cannot read the history"):
            folder.history()
    path.write_bytes((tmp_path / "array.npy").read_bytes())
    with pytest.raises(lf.LyapflowError, match="cannot read the history"):
        folder.history()


def test_a_damaged_folder_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    for read, message in (
        (folder.settings, "no run folder"),
        (folder.history, "cannot read the history"),
        (folder.model, "cannot read"),
    ):
        with pytest.raises(lf.LyapflowError, match=message):
            read()
    for name in ("settings.json", "history.npz", "model.safetensors"):
        (tmp_path / name).write_bytes(b"[1]")
    for read, message in (
        (folder.settings, "holds no settings"),
        (folder.history, "cannot read the history"),
        (folder.model, "cannot read"),
    ):
        with pytest.raises(lf.LyapflowError, match=message):
            read()
