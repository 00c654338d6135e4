"""Weights on disk and run folders."""

import functools
import os
import pickle
import re

import numpy as np
import pytest
import safetensors.numpy

import lyapflow as lf
from lyapflow._trees import arrays
from tests.exact_systems import HenonMap
from tests.test_resume import same_history
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


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(
        lf.LyapflowError, match=r"picture.png as weights: it is no whole safetensors file"
    ):
        lf.load(path)


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
        safetensors.numpy.save(
            {"W": np.eye(2)}, {"lyapflow": "cell", "cell": "TanhRNN"}
        ): "lacks the array 'V'",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((3, 1)), "b": np.ones(2)},
            {"lyapflow": "cell", "cell": "TanhRNN"},
        ): "V must have shape",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((2, 1)), "b": np.ones(2), "z": np.ones(1)},
            {"lyapflow": "cell", "cell": "TanhRNN"},
        ): "no part of a cell: 'z'",
        safetensors.numpy.save(
            {"W": np.ones((2, 2, 2)), "V": np.ones((2, 2, 1)), "b": np.ones((3, 2))},
            {"lyapflow": "cell", "cell": "TanhRNN", "members": "2"},
        ): "must hold arrays of '2' members each",
        safetensors.numpy.save(
            {"W": np.eye(2), "V": np.ones((2, 1)), "b": np.ones(2)},
            {"lyapflow": "cell", "cell": "TanhRNN", "members": "9" * 99},
        ): "must hold arrays of '9{19} members each",
        safetensors.numpy.save(
            {}, {"lyapflow": "cell", "cell": "TanhRNN", "members": "0"}
        ): "must hold arrays of '0' members",
        safetensors.numpy.save(
            {"W": np.eye(2) * np.nan, "V": np.ones((2, 1)), "b": np.ones(2)},
            {"lyapflow": "cell", "cell": "TanhRNN"},
        ): "must be finite",
    }
    for data, message in cases.items():
        path.write_bytes(data)
        with pytest.raises(lf.LyapflowError, match=message):
            lf.load(path)
    with pytest.raises(lf.LyapflowError, match="cannot read"):
        lf.load(tmp_path / "absent")
    with pytest.raises(
        lf.LyapflowError, match=r"it is a folder; a run's weights are its file model.safetensors"
    ):
        lf.load(tmp_path)
    for nonsense in (None, 5, "a\0b"):
        with pytest.raises(lf.LyapflowError, match="cannot read"):
            lf.load(nonsense)


def test_saving_what_cannot_be_saved(tmp_path):
    with pytest.raises(lf.LyapflowError, match="a cell must be"):
        lf.save(tmp_path / "w", np.ones(3))
    with pytest.raises(lf.LyapflowError, match="cannot write"):
        lf.save(tmp_path / "no" / "folder" / "w", model())
    for nonsense in (None, 5, "a\0b"):
        with pytest.raises(lf.LyapflowError, match="cannot write"):
            lf.save(nonsense, model())
    assert not any(tmp_path.iterdir())


def test_weights_of_another_format(tmp_path):
    path = tmp_path / "w.safetensors"
    metadata = {"lyapflow": "cell", "cell": "TanhRNN", "format": "2"}
    path.write_bytes(
        safetensors.numpy.save({"W": np.eye(2), "V": np.ones((2, 1)), "b": np.ones(2)}, metadata)
    )
    with pytest.raises(
        lf.LyapflowError, match="has format '2', this lyapflow reads 1; read it with a newer one"
    ):
        lf.load(path)


def test_a_digest_is_that_of_the_bits():
    one = model()
    other = one._replace(h0=np.nextafter(one.h0, 1.0))
    assert lf.digest(one) == lf.digest(model()) != lf.digest(other)
    assert re.fullmatch("[0-9a-f]{16}", lf.digest(one))
    assert lf.digest(one.cell) != lf.digest(lf.LinearRNN(*one.cell))
    assert lf.digest(lf.stack([one, other])) != lf.digest(lf.stack([other, one]))


def test_a_run_folder_has_all_of_a_run(tmp_path):
    trained, history = lf.train(
        model(),
        TASK,
        epochs=3,
        seed=0,
        T=20,
        flossing=small(target=np.arange(5.0)),
        measure_every=2,
        folder=tmp_path,
    )
    made = [
        "checkpoint.safetensors",
        "history.npz",
        "lock",
        "model.safetensors",
        "settings.json",
        "start.safetensors",
    ]
    assert sorted(os.listdir(tmp_path)) == made
    folder = lf.RunFolder(tmp_path)
    settings = folder.settings()
    assert settings["training"]["task"] == {"name": "BinaryTemporalXOR", "delay": 2}
    assert settings["training"]["flossing"]["target"] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert settings["versions"]["numpy"] == np.__version__
    assert any("openblas" in value for value in settings["versions"].values())
    training = folder.training()
    assert (training.task, training.epochs, training.T, training.flossing.at) == (
        TASK,
        3,
        20,
        (0, 2),
    )
    assert lf.digest(folder.start()) == lf.digest(model())
    assert (
        lf.digest(folder.model())
        == lf.digest(lf.load(tmp_path / "model.safetensors"))
        == lf.digest(trained)
    )
    same_history(folder.history(), history)
    # settings and start are enough to repeat it
    again, _ = lf.train(folder.start(), **vars(training))
    assert lf.digest(again) == lf.digest(trained)
    with np.load(tmp_path / "history.npz", allow_pickle=False) as columns:
        np.testing.assert_array_equal(columns["training.loss"], history.training["loss"])


def test_a_used_folder_is_kept_unless_forced(tmp_path):
    run = functools.partial(lf.train, model(), TASK, epochs=1, seed=0, T=20)
    (tmp_path / "run").mkdir()
    run(folder=tmp_path / "run")  # empty is as good as new
    (tmp_path / "run" / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(lf.LyapflowError, match="must be new or empty"):
        run(folder=tmp_path / "run")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    run(folder=tmp_path / "run", force=True, about={"why": "again"})
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert lf.RunFolder(tmp_path / "run").settings()["about"] == {"why": "again"}
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run", "a\0b", 5, "x" * 300):
        with pytest.raises(lf.LyapflowError, match=r"cannot (write the|use .* as a) run folder"):
            run(folder=path)
    assert sorted(os.listdir(tmp_path)) == ["file", "run"]


@pytest.mark.parametrize("name", ["start.safetensors", "lock", ".video.part"])
def test_files_of_the_users_own_are_kept(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(lf.LyapflowError, match="the run folder must be new or empty"):
        lf.train(model(), TASK, epochs=1, seed=0, T=20, folder=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize("text", ["", "123\n", "mine"])
def test_a_lock_that_is_another_file_by_a_second_name(tmp_path, text):
    precious, run = tmp_path / "precious", tmp_path / "run"
    precious.write_text(text)
    run.mkdir()
    os.link(precious, run / "lock")
    with pytest.raises(
        lf.LyapflowError, match=r"its lock is a link to another file|must be new or empty"
    ):
        lf.train(model(), TASK, epochs=1, seed=0, T=20, folder=run)
    assert precious.read_text() == text


def test_settings_that_cannot_be_written(tmp_path):
    run = functools.partial(lf.train, model(), TASK, epochs=1, seed=0, T=20)
    for about in ({"a": object()}, {"a": float("nan")}, {1j: 2}):
        with pytest.raises(lf.LyapflowError, match="cannot write the run folder"):
            run(folder=tmp_path / "run", about=about)
    run(folder=tmp_path / "run")  # which is as good as new


def test_bad_arguments_make_no_folder(tmp_path):
    for changes, message in [
        ({"epochs": -1}, "epochs must be"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds must be"),
        ({"checkpoint_epochs": 0}, "checkpoint_epochs must be"),
        ({"callbacks": 5}, "callbacks must be"),
        ({"T": 1}, "T must be longer than the delay"),
        ({"model": HenonMap(np.ones(1), np.ones(1))}, "model must be a lyapflow.Model"),
    ]:
        arguments = {"model": model(), "task": TASK, "epochs": 1, "seed": 0, "T": 20} | changes
        with pytest.raises(lf.LyapflowError, match=message):
            lf.train(**arguments, folder=tmp_path / "run")
    assert not any(tmp_path.iterdir())
