"""What Windows, and file systems without locks, lack: everything works where it is hidden, in a process of its own."""

import subprocess
import sys

HIDE = """
import ctypes, errno, os, sys
import psutil  # its part for this system; it has others

sys.modules["fcntl"] = None
NAMES = "fork register_at_fork sysconf pread pwrite sched_yield mkfifo O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY"
for name in NAMES.split():
    if hasattr(os, name):
        delattr(os, name)
real_open = os.open

def no_folders(path, *arguments, **named):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return real_open(path, *arguments, **named)

os.open = no_folders

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "sched_yield":
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library
"""

WORK = """
import warnings
from pathlib import Path
import numpy as np
import lyapflow as lf

rng = np.random.default_rng(0)
cell = lf.TanhRNN.random(12, 1, rng=rng)
x = rng.standard_normal((60, 1))
told = [lf.lyapunov_spectrum(cell, x, 4).exponents, lf.flossing_value_and_grad(cell, x, 3)[1].W]
large = lf.TanhRNN.random(200, 1, rng=rng)  # whose products are shared by threads
told.append(lf.lyapunov_spectrum(large, x[:5], 100).exponents)

model = lf.Model.random(cell, 1, rng=rng)
settings = {"epochs": 6, "seed": 0, "T": 20, "batch": 4}
settings["flossing"] = lf.Flossing(k=3, epochs=3, steps=12, q_transient=4, at=(0, 4))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    lf.train(model, lf.tasks.BinaryTemporalXOR(2), folder="run", callbacks=lambda r: r.kind == "training", **settings)
    trained, history = lf.resume("run")
without_locks = [w for w in caught if w.category is lf.LyapflowWarning and "cannot be locked" in str(w.message)]
lf.save("weights", trained)
assert lf.digest(lf.load("weights")) == lf.digest(lf.load("run/model.safetensors")) == lf.digest(trained)
told += [trained.cell.W, history.training["loss"]]

for name in ("lock", "checkpoint.safetensors"):  # a link in their place leads nowhere
    Path("run", name).rename("aside")
    Path("run", name).symlink_to(Path("aside").absolute())
    try:
        lf.resume("run")
    except lf.LyapflowError as error:
        assert "it is a symbolic link" in str(error), error
    else:
        raise AssertionError(f"{name} was followed")
    Path("aside").replace(Path("run", name))

from lyapflow.cli import main
sys.argv = ["lyapflow", "spectrum", "run", "--steps", "300", "--k", "3"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(len(without_locks), [np.asarray(a).tobytes().hex() for a in told])
"""


def test_all_works_without_what_windows_lacks(tmp_path):
    found = []
    for program in ("import sys" + WORK, HIDE + WORK):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        words = [sys.executable, "-c", program]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(done.stdout.splitlines()[-1].split(" ", 1))
    assert [warned for warned, _ in found] == ["0", "2"]  # without fcntl this system has no locks
    assert found[0][1] == found[1][1]
