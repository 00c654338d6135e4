"""Files and arguments that mean no good: one line of error, nothing executed, nothing changed, nothing left."""

import copy
import itertools
import json
import os
import pickle
import shutil
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow.runs import checkpoint, files
from lyapflow.runs.weights import flat
from tests.test_training import model, small

TASK = lf.tasks.BinaryTemporalXOR(2)
RNG = np.random.default_rng(0)


def refused(call):
    """Whether a call ends with a LyapflowError, which must be of one line; whatever else it raises goes on."""
    try:
        call()
    except lf.LyapflowError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return True
    return False


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder that is whole; tests change copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    lf.train(
        model(),
        TASK,
        epochs=3,
        seed=0,
        T=20,
        batch=4,
        flossing=small(),
        measure_every=2,
        folder=folder,
        about={"a": 1},
    )
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != "lock"
    }


def bits(found):
    state, history = found
    return files.digest(
        flat(state.model, "m") | flat(state.moments, "a") | checkpoint.columns(history)
    )


def test_weights_with_any_byte_changed_or_cut_off(tmp_path):
    cell, path = lf.TanhRNN.random(2, 1, rng=RNG, dtype=np.float32), tmp_path / "w"
    lf.save(path, cell)
    good, refusals = path.read_bytes(), 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        harmless = not refused(lambda: lf.load(path)) and lf.digest(lf.load(path)) == lf.digest(
            cell
        )
        path.write_bytes(good[:place])
        assert refused(lambda: lf.load(path))
        refusals += 1 + (not harmless)
        assert harmless or refused(lambda: lf.load(path))
    assert refusals > len(good) + 0.8 * len(good)


def test_a_checkpoint_with_bytes_changed_or_cut_off(run):
    path = run / "checkpoint.safetensors"
    good, expected = path.read_bytes(), bits(lf.RunFolder(run).state())
    header = 8 + int.from_bytes(good[:8], "little")
    for trial in range(300):
        data = bytearray(good)
        for _ in range(RNG.integers(1, 4)):
            data[RNG.integers(header if trial % 2 else len(good))] ^= 1 << RNG.integers(8)
        path.write_bytes(data if trial % 3 else data[: RNG.integers(len(good))])
        folder = lf.RunFolder(run)
        assert refused(folder.state) or bits(folder.state()) == expected


def test_damage_of_the_digests_own_name_is_seen(run):
    path = run / "checkpoint.safetensors"
    good = path.read_bytes()
    assert good.count(b'"digest"') == 1
    path.write_bytes(good.replace(b'"digest"', b'"dagest"'))
    assert refused(lf.RunFolder(run).state)


def leaves(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))


def changed(settings, path, value):
    settings = copy.deepcopy(settings)
    place = settings
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return settings


ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    "x",
    "../../x",
    [],
    [[]],
    {},
    {"a": 1},
    10**12,
    10**400,
]


@pytest.mark.filterwarnings("ignore:the bits of this run may differ")
def test_settings_with_any_part_changed(run):
    """They are refused, or a run that they make sense for goes on."""
    path, given_up = run / "settings.json", 0
    good, start = json.loads(path.read_text()), contents(run)
    for place in leaves(good):
        if place[:1] == ("about",) or not place:
            continue
        for odd in ODD:
            for name, data in start.items():
                (run / name).write_bytes(data)
            text = json.dumps(changed(good, place, odd))
            path.write_text(text)
            before = contents(run)
            if refused(lambda: lf.resume(run, callbacks=lambda record: True)):
                assert contents(run) == before
                given_up += 1
    assert given_up > 500


def test_settings_that_are_none(run):
    path = run / "settings.json"
    for text in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\0" * 99,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 9999,
    ):
        path.write_bytes(text)
        before = contents(run)
        assert refused(lambda: lf.resume(run))
        assert contents(run) == before


class Payload:
    """What pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def safetensors_file(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def hand_made(folder):
    """Contents that are no checkpoint, by name."""
    archive = folder / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("model.W.npy", bytes(2**26))
    bomb = archive.read_bytes()
    archive.unlink()
    float64 = {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]}
    metadata = {
        "lyapflow": "checkpoint",
        "of": "Model",
        "cell": "TanhRNN",
        "format": "1",
        "place": "{}",
    }
    return {
        "pickle": pickle.dumps(Payload(folder / "executed")),
        "npy of objects": b"\x93NUMPY\x01\0v\0"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': ()}".ljust(118),
        "zip bomb": bomb,
        "endless header": struct.pack("<Q", 2**63) + b"{}",
        "negative header": b"\xff" * 8 + b"{}",
        "no header": struct.pack("<Q", 0),
        "header of a list": struct.pack("<Q", 2) + b"[]",
        "deep header": struct.pack("<Q", 10**5) + b"[" * 10**5,
        "no metadata": safetensors_file({"W": float64}, bytes(32)),
        "huge shape": safetensors_file(
            {"W": float64 | {"shape": [2**62, 2**62]}, "__metadata__": metadata}, bytes(32)
        ),
        "beyond the end": safetensors_file(
            {"W": float64 | {"data_offsets": [0, 2**50]}}, bytes(32)
        ),
        "overlap": safetensors_file(
            {"W": float64, "V": float64, "__metadata__": metadata}, bytes(32)
        ),
        "negative shape": safetensors_file({"W": float64 | {"shape": [-2, -2]}}, bytes(32)),
        "odd dtype": safetensors_file(
            {"W": float64 | {"dtype": "BF16", "data_offsets": [0, 8]}}, bytes(8)
        ),
        "no arrays": safetensors_file({"__metadata__": metadata}),
        "paths for names": safetensors_file(
            {"../../W": float64, "/etc/x": float64, "__metadata__": metadata}, bytes(32)
        ),
        "other cell": safetensors_file(
            {"W": float64, "__metadata__": metadata | {"cell": "os.system"}}, bytes(32)
        ),
        "text": b"import os; os.system('true')\n" * 99,
    }


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "start.safetensors", "settings.json"])
def test_foreign_and_malicious_files(run, tmp_path, name):
    cases = hand_made(tmp_path)
    for data in cases.values():
        (run / name).write_bytes(data)
        if name == "start.safetensors":
            (run / "checkpoint.safetensors").unlink(missing_ok=True)
            assert refused(lambda: lf.load(run / name))
        before = contents(run)
        assert refused(lambda: lf.resume(run))
        assert contents(run) == before
    assert sorted(os.listdir(tmp_path)) == ["run"]


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "start.safetensors", "settings.json", "lock"]
)
@pytest.mark.parametrize("kind", ["symlink", "dangling", "pipe", "folder", "sparse", "device"])
def test_what_is_no_file_of_a_run(run, tmp_path, name, kind):
    path, aside = run / name, tmp_path / "aside"
    path.rename(aside)
    if kind == "symlink":
        path.symlink_to(aside)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "absent")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif name != "lock":
        with open(path, "wb") as file:
            file.truncate(2**42)
    else:
        path.write_bytes(b"not a number")  # whatever it says, nobody holds it
        lf.resume(run)
        return
    before = aside.read_bytes()
    assert refused(lambda: lf.resume(run))
    assert aside.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["aside", "run"]


def test_weights_of_a_million_members_without_units(tmp_path):
    """A few hundred bytes that say so are refused at the first of them."""
    members, empty = 10**6, {"dtype": "F64", "data_offsets": [0, 0]}
    metadata = {"lyapflow": "cell", "cell": "TanhRNN", "format": "1", "members": str(members)}
    shapes = {"W": [members, 0, 0], "V": [members, 0, 0], "b": [members, 0]}
    header = {name: empty | {"shape": shape} for name, shape in shapes.items()} | {
        "__metadata__": metadata
    }
    (tmp_path / "w").write_bytes(safetensors_file(header))
    tracemalloc.start()
    with pytest.raises(lf.LyapflowError, match="at least one unit"):
        lf.load(tmp_path / "w")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b1m"


def said(call):
    with pytest.raises(lf.LyapflowError) as caught:
        call()
    return str(caught.value)


@pytest.mark.filterwarnings("error:the bits of this run may differ:RuntimeWarning")
def test_nothing_in_a_file_commands_the_terminal(run, tmp_path):
    good = json.loads((run / "settings.json").read_text())
    texts = []
    for place in (
        ("training",),
        ("training", "task"),
        ("training", "optimizer"),
        ("versions",),
        ("format",),
    ):
        (run / "settings.json").write_text(json.dumps(changed(good, place, ESCAPE)))
        texts += [said(lambda: lf.resume(run)), said(lambda: lf.resume(run, task=TASK))]
    (run / "settings.json").write_text(json.dumps(changed(good, ("versions", "numpy"), ESCAPE)))
    with pytest.raises(RuntimeWarning) as caught:
        lf.resume(run)
    texts.append(str(caught.value))
    for dtype, name, kind in ((ESCAPE, "W", "cell"), ("F64", ESCAPE, "cell"), ("F64", "W", ESCAPE)):
        array = {name: {"dtype": dtype, "shape": [1], "data_offsets": [0, 8]}}
        file = array | {"__metadata__": {"lyapflow": kind, "cell": "TanhRNN", "format": "1"}}
        (tmp_path / "w").write_bytes(safetensors_file(file, bytes(8)))
        texts.append(said(lambda: lf.load(tmp_path / "w")))
    assert len(texts) == 14
    assert all(text.isprintable() for text in texts)
    assert sum("\\x1b" in text for text in texts) >= 8


def test_reasons_in_a_checkpoint_do_not_command_the_terminal(tmp_path):
    both = lf.stack([model(seed=0), model(seed=1)])
    lf.train(both, TASK, epochs=2, seed=(0, 1), T=20, batch=4, folder=tmp_path)
    edited(tmp_path, lambda arrays: None, place(reasons=[None, ESCAPE]))
    assert lf.RunFolder(tmp_path).model().reasons[1].isprintable()


def test_why_a_file_is_not_read(tmp_path):
    pipe, sparse = tmp_path / "pipe", tmp_path / "sparse"
    os.mkfifo(pipe)
    with open(sparse, "wb") as file:
        file.truncate(2**42)
    for path in ("/dev/zero", pipe):
        with pytest.raises(
            lf.LyapflowError, match=f"cannot read {path} as weights: it is no regular file"
        ):
            lf.load(path)
    with pytest.raises(
        lf.LyapflowError, match=rf"it has {2**42} bytes, more than the \d+ that are read here"
    ):
        lf.load(sparse)


def edited(run, change, metadata_change=lambda metadata: None):
    """Write the checkpoint anew with other content, its digest right."""
    path = run / "checkpoint.safetensors"
    arrays, metadata = files.read_arrays(path)
    change(arrays)
    metadata_change(metadata)
    files.write_arrays(path, arrays, metadata)


def place(**changes):
    def change(metadata):
        metadata["place"] = json.dumps(json.loads(metadata["place"]) | changes)

    return change


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        (lambda a: a.update({"model.cell.W": np.full((8, 8), np.nan)}), None),
        (lambda a: a.update({"model.cell.W": np.ones((8, 7))}), None),
        (lambda a: a.update({"model.cell.W": np.ones((9, 9))}), None),
        (lambda a: a.update({"model.cell.W": a["model.cell.W"].astype(np.float32)}), None),
        (lambda a: a.update({"model.cell.W": np.ones((8, 8), np.int64)}), None),
        (lambda a: a.pop("model.h0"), None),
        (lambda a: a.update({"model.more": np.ones(2)}), None),
        (lambda a: a.pop("adam.step"), None),
        (lambda a: a.update({"adam.step": np.array(-1)}), None),
        (lambda a: a.update({"adam.step": np.array(0.5)}), None),
        (lambda a: a.update({"adam.step": np.ones(2, int)}), None),
        (lambda a: a.update({"adam.mean.h0": np.full(8, np.inf)}), None),
        (lambda a: a.update({"adam.square.h0": np.full(8, -1.0)}), None),
        (lambda a: a.update({"adam.square.h0": np.ones(9)}), None),
        (lambda a: a.update({"adam.square.more": np.ones(9)}), None),
        (lambda a: a.update({"flossing adam.step": np.array(1)}), None),
        (lambda a: a.pop("training.loss"), None),
        (lambda a: a.update({"training.loss": np.ones(7)}), None),
        (lambda a: a.update({"training.loss": np.array(1.0)}), None),
        (lambda a: a.update({"measurement.exponents": np.ones((1, 8))}), None),
        (
            lambda a: [a.update({name: a[name][:0]}) for name in a if name.startswith("training.")],
            None,
        ),
        (None, place(epoch=2)),
        (None, place(epoch=10**400)),
        (None, place(epoch=-1)),
        (None, place(epoch="3")),
        (None, place(flossed=-1)),
        (None, place(flossed=None)),
        (None, place(flossed=10**9)),
        (None, lambda m: m.pop("place")),
        (None, lambda m: m.update(place="[1]")),
        (None, lambda m: m.update(place="[" * 99_999)),
        (None, lambda m: m.update(format="2")),
        (None, lambda m: m.update(members="2")),
        (None, lambda m: m.update(cell="LSTM")),
        (None, lambda m: m.update(of="checkpoint")),
        (None, lambda m: m.update(of="cell")),
        (None, lambda m: m.update(lyapflow="Model")),
    ],
)
def test_checkpoints_that_contradict_themselves(run, change, metadata):
    edited(run, change or (lambda arrays: None), metadata or (lambda found: None))
    before = contents(run)
    assert refused(lambda: lf.resume(run))
    assert contents(run) == before


def test_a_checkpoint_inside_flossing_has_its_moments_and_their_place(tmp_path):
    lf.train(
        model(),
        TASK,
        epochs=1,
        seed=0,
        T=20,
        batch=4,
        flossing=small(),
        folder=tmp_path,
        callbacks=bool,
    )
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert lf.RunFolder(tmp_path).state()[0].flossed == 1

    def without_moments(arrays):
        for name in [name for name in arrays if name.startswith("flossing adam.")]:
            del arrays[name]

    for change, metadata in ((without_moments, place()), (dict.items, place(flossed=0))):
        (tmp_path / "checkpoint.safetensors").write_bytes(good)
        edited(tmp_path, change, metadata)
        assert refused(lambda: lf.resume(tmp_path))


def test_a_checkpoint_of_an_ensemble_with_odd_reasons(tmp_path):
    both = lf.stack([model(seed=0), model(seed=1)])
    lf.train(both, TASK, epochs=2, seed=(0, 1), T=20, batch=4, folder=tmp_path)
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    for reasons in (None, 5, [], [None], [None] * 3, {}):
        (tmp_path / "checkpoint.safetensors").write_bytes(good)
        edited(tmp_path, lambda arrays: None, place(reasons=reasons))
        assert refused(lambda: lf.resume(tmp_path))


def test_a_checkpoint_of_another_run(run, tmp_path):
    """Of other shapes, of another precision, of more epochs than the settings have."""
    for number, (start, epochs) in enumerate(
        [(model(n=6), 2), (model(dtype=np.float32), 2), (model(), 5)]
    ):
        lf.train(start, TASK, epochs=epochs, seed=0, T=20, batch=4, folder=tmp_path / str(number))
        shutil.copy(tmp_path / str(number) / "checkpoint.safetensors", run)
        before = contents(run)
        assert refused(lambda: lf.resume(run))
        assert contents(run) == before


CELL = lf.TanhRNN.random(4, 1, rng=RNG)
X = RNG.standard_normal((30, 1))
LIMITED = {"epochs": 1, "seed": 0, "T": 20, "batch": 2}
CALLS = {
    "TanhRNN.random": (
        lf.TanhRNN.random,
        {"n": 4, "m": 1, "rng": RNG, "g": 1.0, "weights": "gaussian"},
    ),
    "LSTM.random": (lf.LSTM.random, {"n": 4, "m": 1, "rng": RNG, "g": 1.0, "dtype": "float32"}),
    "Model.random": (lf.Model.random, {"cell": CELL, "n_outputs": 1, "rng": RNG}),
    "stack": (lf.stack, {"members": [CELL, CELL]}),
    "lyapunov_spectrum": (
        lf.lyapunov_spectrum,
        {
            "cell": CELL,
            "x": X,
            "k": 2,
            "h0": np.zeros(4),
            "t_ons": 2,
            "transient": 1,
            "q_transient": 2,
            "q0": None,
        },
    ),
    "flossing_value_and_grad": (
        lf.flossing_value_and_grad,
        {
            "cell": CELL,
            "x": X,
            "k": 2,
            "h0": np.zeros(4),
            "t_ons": 1,
            "transient": 1,
            "q_transient": 2,
            "target": 0.0,
        },
    ),
    "condition_number": (
        lf.condition_number,
        {"cell": CELL, "x": X, "steps": [1, 2], "h0": np.zeros(4), "m": 2, "bits": 128},
    ),
    "floss": (
        lf.floss,
        {
            "cell": CELL,
            "inputs": lambda epoch: X,
            "k": 2,
            "epochs": 1,
            "optimizer": lf.Adam(),
            "target": 0.0,
            "t_ons": 1,
        },
    ),
    "train": (
        lf.train,
        {
            "model": model(),
            "task": TASK,
            "flossing": small(epochs=1),
            "optimizer": lf.Adam(),
            "measure_every": 1,
        }
        | LIMITED,
    ),
    "Adam": (lf.Adam, {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8, "clip_norm": 1.0}),
    "Flossing": (
        lf.Flossing,
        {
            "k": 2,
            "epochs": 1,
            "steps": 20,
            "transient": 1,
            "q_transient": 2,
            "at": (0,),
            "target": 0.0,
            "batch": 1,
        },
    ),
    "DelayedCopy": (lf.tasks.DelayedCopy, {"delay": 2}),
    "SpatialXOR": (lf.tasks.SpatialXOR, {"delay": 2}),
    "ItemCopy": (lf.tasks.ItemCopy, {"delay": 2, "items": 2}),
    "load": (lf.load, {"path": "absent"}),
    "digest": (lf.digest, {"obj": CELL}),
    "resume": (
        lf.resume,
        {"folder": "absent", "callbacks": (), "checkpoint_seconds": 1.0, "checkpoint_epochs": None},
    ),
}
odd_numbers = st.sampled_from(
    [-(10**400), -1, 0, 2**63, 10**15, 10**400, 0.5, -0.5, 1e308, np.inf, -np.inf, np.nan, 1j]
)
odd_arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill, dtype),
    st.sampled_from(
        [(), (0,), (1,), (4,), (5,), (0, 0), (30, 2), (0, 1), (4, 2), (2, 30, 1), (1, 1, 1, 1)]
    ),
    st.sampled_from([np.float64, np.float32, np.float16, np.complex64, object]),
    st.sampled_from([np.nan, np.inf, 1e300, 0.0, 1.0]),
)
odd = st.one_of(
    st.none(),
    st.booleans(),
    odd_numbers,
    odd_arrays,
    st.text(max_size=5),
    st.binary(max_size=3),
    st.sampled_from(
        [[], [[]], [1, [2]], {}, {"a": 1}, (), object(), "\ud800", "a\0b", "/dev/zero", b"\xff"]
    ),
    st.just(CELL),
    st.just(model()),
    st.just(lf.Adam()),
    st.just(RNG),
)


@settings(max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_odd_arguments(name, data):
    """One or two arguments are odd: a LyapflowError of one line, or they made sense after all."""
    call, good = CALLS[name]
    names = data.draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2, unique=True))
    if (name, "epochs") in itertools.product(["train", "floss"], names):
        names.remove("epochs")  # many are good
    arguments = good | {name: data.draw(odd) for name in names}
    refused(lambda: call(**arguments))
