"""Spectra in files: to the bit, and gone on from in another process."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

import lyapflow as lf
from tests.exact_systems import HenonMap

RNG = np.random.default_rng(0)
CELLS = {
    "tanh": lf.TanhRNN.random(8, 2, rng=RNG, g=1.5),
    "float32": lf.LSTM.random(4, 2, rng=RNG, dtype=np.float32),
    "layers": lf.layers(lf.TanhRNN.random(5, 2, rng=RNG), lf.GRU.random(4, 5, rng=RNG)),
    "lost": lf.LinearRNN(np.diag([0.9, 0.5, 0.0]), np.zeros((3, 2)), np.zeros(3)),
}
X = np.random.default_rng(1).standard_normal((300, 2, 2))


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
@pytest.mark.parametrize("t_ons", [1, 7])
@pytest.mark.parametrize("name", list(CELLS))
def test_a_spectrum_comes_back_and_may_be_gone_on_from(name, t_ons, tmp_path):
    cell = CELLS[name]
    x = X.astype(np.float32) if name == "float32" else X
    part = lf.lyapunov_spectrum(cell, x[:150], 3, t_ons=t_ons, transient=10)
    lf.save(tmp_path / "part", part)
    read = lf.load(tmp_path / "part")
    assert read == part and read.by_layer == part.by_layer
    lf.save(tmp_path / "again", read)  # with all that its run has learnt
    described = [safe_open(tmp_path / name, "numpy").metadata() for name in ("part", "again")]
    assert described[0] == described[1]
    for field in dataclasses.fields(part):
        assert type(getattr(read, field.name)) is type(getattr(part, field.name)), field.name
    whole = lf.lyapunov_spectrum(cell, x, 3, t_ons=t_ons, transient=10)
    assert lf.lyapunov_spectrum(cell, x[150:], continue_from=read) == whole


def test_those_without_a_run(tmp_path):
    both = lf.lyapunov_spectrum(lf.stack([CELLS["tanh"]] * 2), np.stack([X, -X]), 3)
    timed = lf.lyapunov_spectrum(CELLS["tanh"], X, 3).per(0.1)
    lengths = lf.lyapunov_spectrum(CELLS["tanh"], X, 3, lengths=np.array([300, 100]))
    moved = lf.product_spectrum(lambda t, V: V / 2, k=2, n=5, steps=20)
    for found in (both, timed, lengths, moved):
        lf.save(tmp_path / "it", found)
        assert lf.load(tmp_path / "it") == found


CODE = """
import sys, numpy as np, lyapflow as lf
from tests.exact_systems import HenonMap
cell = HenonMap(np.array([1.4]), np.array([0.3]))
part = lf.load(sys.argv[1], cell=HenonMap)
print(lf.lyapunov_spectrum(cell, steps=500, continue_from=part).exponents.tolist())
"""


def test_a_cell_of_ones_own_in_another_process(tmp_path):
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    whole = lf.lyapunov_spectrum(cell, steps=1000, h0=np.array([0.1, 0.1]))
    lf.save(tmp_path / "part", lf.lyapunov_spectrum(cell, steps=500, h0=np.array([0.1, 0.1])))
    with pytest.raises(lf.LyapflowError, match="give the class, cell=HenonMap"):
        lf.load(tmp_path / "part")
    words = [sys.executable, "-c", CODE, str(tmp_path / "part")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(whole.exponents.tolist())


@pytest.mark.parametrize("broken", ["spectrum", "newer", "array", "tuple"])
def test_what_is_not_whole_is_refused(broken, tmp_path):
    from lyapflow.runs import files

    lf.save(tmp_path / "it", lf.lyapunov_spectrum(CELLS["tanh"], X, 3))
    arrays, metadata = files.read_arrays(tmp_path / "it")
    if broken == "spectrum":
        metadata["spectrum"] = "{"
    elif broken == "newer":
        metadata["format"] = "2"
    elif broken == "array":
        del arrays["3"]
    else:
        metadata["spectrum"] = metadata["spectrum"].replace('"Pace"', '"Popen"')
    files.write_arrays(tmp_path / "it", arrays, metadata)
    said = "has format '2'" if broken == "newer" else "holds no whole spectrum"
    with pytest.raises(lf.LyapflowError, match=said):
        lf.load(tmp_path / "it")
