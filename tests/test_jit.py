"""Numba's on-disk cache, which must survive cells from outside the package and changes inside it."""

import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

import lyapflow
import lyapflow as lf
from lyapflow._engine.blas import _blas, one_blas_thread
from lyapflow._engine.jit import jit
from tests.exact_systems import HenonMap

PACKAGE = Path(lyapflow.__file__).parent

MAP = """
from typing import NamedTuple
import numpy as np
from lyapflow.cells.interface import Sizes, implement, sizes, step, tangent

class Scaling(NamedTuple):
    factor: np.ndarray

@sizes.register
def _(cell: Scaling) -> Sizes:
    return Sizes(1, 1, 0, record=0, step_work=0, tangent_work=0, shapes={"factor": (1,)})

@implement(step, Scaling)
def scaling_step(cell, turned, h, x, h_next, record):
    h_next[:] = 0.0

@implement(tangent, Scaling)
def scaling_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = SLOPE * cell.factor * Q
"""
USE = """
import lyapflow as lf
print(lf.lyapunov_spectrum(Scaling(np.array([2.0])), np.empty((3, 0))).exponents[0])
"""
INSIDE = """
import numpy as np, lyapflow as lf
cell = lf.TanhRNN(np.array([[0.5]]), np.empty((1, 0)), np.zeros(1))
print(lf.lyapunov_spectrum(cell, np.empty((3, 0))).exponents[0])
"""


class Sandbox:
    """Fresh processes that share one cache and one folder of modules."""

    def __init__(self, folder, package=PACKAGE):
        self.folder, self.cache, self.package = folder, folder / "cache", package

    def run(self, code, script="main.py"):
        (self.folder / script).write_text(code)
        environment = os.environ | {
            "NUMBA_CACHE_DIR": str(self.cache),
            "NUMBA_DEBUG_CACHE": "1",
            "PYTHONPATH": str(self.package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        self.saved = sum("data saved" in line for line in lines)
        return float(
            lines[-1]
            if "[cache]" not in lines[-1]
            else next(v for v in reversed(lines) if v[:1] != "[")
        )

    def files(self):
        return sorted(p.name for p in self.cache.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache that holds the kernels of a tanh network."""
    sandbox = Sandbox(tmp_path_factory.mktemp("warm"))
    assert sandbox.run(INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved > 0
    return sandbox


@pytest.fixture
def sandbox(warm, tmp_path):
    shutil.copytree(warm.cache, tmp_path / "cache")
    return Sandbox(tmp_path)


def test_a_second_process_compiles_nothing(sandbox):
    before = sandbox.files()
    assert sandbox.run(INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 0
    assert sandbox.files() == before


IMPORTED = "import numpy as np\nfrom outside import Scaling\n" + USE


def test_an_outside_cell_leaves_the_cache_to_those_who_cannot_import_it(sandbox):
    (sandbox.folder / "outside.py").write_text(MAP.replace("SLOPE", "1.0"))
    assert sandbox.run(IMPORTED) == pytest.approx(np.log(2))
    (sandbox.folder / "outside.py").unlink()
    after = sandbox.files()
    assert sandbox.run(INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 0
    assert sandbox.files() == after


def test_an_edited_outside_cell_gives_new_numbers(sandbox):
    files = []
    for slope in (1.0, 3.0, 1.0):
        (sandbox.folder / "outside.py").write_text(MAP.replace("SLOPE", str(slope)))
        assert sandbox.run(IMPORTED) == pytest.approx(np.log(2 * slope))
        assert sandbox.saved > 0
        files.append(len(sandbox.files()))
    assert files[0] == files[1] == files[2]  # what was there before is replaced


HELPER = """
from numba import njit
FACTOR = {factor}

@njit
def scaled(a):
    return FACTOR * {slope} * a
"""


@pytest.mark.parametrize("where", ["module", "main"])
def test_an_outside_cell_is_compiled_once(sandbox, where):
    if where == "module":
        (sandbox.folder / "outside.py").write_text(MAP.replace("SLOPE", "1.0"))
    code = IMPORTED if where == "module" else MAP.replace("SLOPE", "1.0") + USE
    for again in (False, True):
        assert sandbox.run(code) == pytest.approx(np.log(2))
        assert (sandbox.saved == 0) == again


def test_what_the_kernels_of_an_outside_cell_call_and_read_may_change(sandbox):
    """In another module, or in a global that is no constant of the source."""
    imports = (
        "import os\nimport numpy as np\nfrom helper import scaled\nREAD = float(os.environ['READ'])"
    )
    kernels = MAP.replace("SLOPE * cell.factor", "READ * scaled(cell.factor)").replace(
        "import numpy as np", imports
    )
    (sandbox.folder / "outside.py").write_text(kernels)
    for factor, slope, read in ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (2.0, 3.0, 1.0), (2.0, 3.0, 5.0)):
        (sandbox.folder / "helper.py").write_text(HELPER.format(factor=factor, slope=slope))
        found = sandbox.run(f"import os\nos.environ['READ'] = '{read}'\n" + IMPORTED)
        assert found == pytest.approx(np.log(2 * factor * slope * read))


def test_a_file_that_is_edited_while_a_process_runs(sandbox):
    """The process compiles what it has read, not what the file says now."""
    module = sandbox.folder / "outside.py"
    module.write_text(MAP.replace("SLOPE", "1.0"))
    edit = f"open('outside.py', 'w').write({MAP.replace('SLOPE', '3.0')!r})\n"
    assert sandbox.run(IMPORTED.replace("import lyapflow", edit + "import lyapflow")) == (
        pytest.approx(np.log(2))
    )
    assert sandbox.run(IMPORTED) == pytest.approx(np.log(6))


FACTORY = """
import numpy as np
from numba import njit

def make(slope):
    @njit
    def scaled(a):  # too long to be copied to where it is called
        total = 0.0
        for i in range(300):
            total += slope * a * np.sin(i) ** 2 + slope * a * np.cos(i) ** 2
            for j in range(300):
                total += np.exp(-i - j - 1e3) * np.tanh(total)
        return total / 300
    return scaled
"""


def test_classes_and_functions_of_one_name_that_were_stored_by_two_processes(sandbox):
    (sandbox.folder / "factory.py").write_text(FACTORY)
    for name, slope in (("one", 1.0), ("two", 3.0)):
        made = f"import numpy as np\nfrom factory import make\nscaled = make({slope})"
        kernels = MAP.replace("SLOPE * cell.factor", "scaled(cell.factor[0])")
        (sandbox.folder / f"{name}.py").write_text(kernels.replace("import numpy as np", made))
        assert sandbox.run(IMPORTED.replace("outside", name)) == pytest.approx(np.log(2 * slope))
    both = "from one import Scaling as One\n" + IMPORTED.replace("outside", "two")
    both += USE.replace("Scaling", "One").replace("exponents[0]", "exponents[0] - np.log(2)")
    assert sandbox.run(both) == pytest.approx(0.0, abs=1e-12)
    assert sandbox.run(both.replace("One(", "Scaling(")) == pytest.approx(np.log(3))


def test_a_cell_that_is_made_in_a_function_is_never_stored(sandbox):
    """It may be made again, with another closure."""
    made = (
        "def make(slope):\n"
        + textwrap.indent(MAP.replace("SLOPE", "slope"), "    ")
        + "    return Scaling\n"
    )
    before = sandbox.files()
    assert sandbox.run(made + "import numpy as np\nScaling = make(3.0)\n" + USE) == pytest.approx(
        np.log(6)
    )
    assert sandbox.files() == before


def test_a_class_without_source_is_never_stored(sandbox):
    before = sandbox.files()
    code = f"exec({MAP.replace('SLOPE', '1.0')!r}, space := {{'__name__': 'nowhere'}})\nScaling = space['Scaling']\n"
    assert sandbox.run("import numpy as np\n" + code + USE) == pytest.approx(np.log(2))
    assert sandbox.files() == before


def test_a_class_of_a_notebook_is_never_stored(sandbox):
    before = sandbox.files()
    code = "import numpy as np\ndel __file__\n" + MAP.replace("SLOPE", "1.0") + USE
    assert sandbox.run(code) == pytest.approx(np.log(2))
    assert sandbox.files() == before


def test_a_change_in_another_file_of_the_package_is_noticed(sandbox):
    package = sandbox.folder / "lib" / "lyapflow"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    edited = Sandbox(sandbox.folder, package)
    assert edited.run(INSIDE) == pytest.approx(np.log(0.5))
    cell = package / "cells" / "additive.py"
    source = cell.read_text()
    assert source.count("scaled[j, i] = slope[i] * Q[j, i]") == 1
    cell.write_text(
        source.replace("scaled[j, i] = slope[i] * Q[j, i]", "scaled[j, i] = 2 * slope[i] * Q[j, i]")
    )
    # the sweep is compiled in another file
    assert edited.run(INSIDE) == pytest.approx(np.log(2 * 0.5))
    before = edited.files()
    edited.run(INSIDE)
    assert edited.files() == before


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x80\x04\x8c\x06numbaX"])
def test_a_damaged_index_is_compiled_anew(sandbox, damage):
    for index in sandbox.cache.rglob("*advance*.nbi"):
        index.write_bytes(damage)
    assert sandbox.run(INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 1


@pytest.mark.parametrize("keep", [0, 500])
def test_damaged_code_is_compiled_anew(sandbox, keep):
    for code in sandbox.cache.rglob("*advance*.nbc"):
        code.write_bytes(code.read_bytes()[:keep])
    assert sandbox.run(INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 1


@pytest.mark.parametrize("step", ["_save_data", "_save_index"])
def test_a_crash_while_the_cache_is_written_leaves_no_stale_code(sandbox, step):
    package = sandbox.folder / "lib" / "lyapflow"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    edited = Sandbox(sandbox.folder, package)
    edited.run(INSIDE)
    files = len(edited.files())
    cell = package / "cells" / "additive.py"
    cell.write_text(
        cell.read_text().replace("scaled[j, i] = slope[i]", "scaled[j, i] = 2 * slope[i]")
    )
    crash = "import os; from lyapflow._engine import cache\n"
    crash += f"cache.IndexFile.{step} = lambda *arguments: print(0.0, flush=True) or os._exit(0)\n"
    edited.run(crash + INSIDE)
    for _ in range(2):
        assert edited.run(INSIDE) == pytest.approx(np.log(2 * 0.5))
    assert len(edited.files()) == files  # the older version's code is gone


def test_processes_that_fill_one_cache_at_once(tmp_path):
    def run(dtype):
        (folder := tmp_path / dtype).mkdir(exist_ok=True)
        sandbox = Sandbox(folder)
        sandbox.cache = tmp_path / "cache"
        code = INSIDE.replace(
            "print(", f"cell = lf.TanhRNN(*(a.astype('{dtype}') for a in cell))\nprint("
        )
        return sandbox.run(code.replace("np.empty((3, 0))", f"np.empty((3, 0), '{dtype}')"))

    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(run, ["float64", "float32"])) == pytest.approx(
                [np.log(0.5)] * 2, rel=1e-6
            )


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # whatever writes to a file fails
"""


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    sandbox = Sandbox(tmp_path)
    assert sandbox.run(FULL_DISK + INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 0
    assert sandbox.files() == []


def test_a_kernel_called_by_address_that_cannot_be_written_to_the_cache_is_no_error(sandbox):
    by_address = sandbox.cache.rglob("*orthonormalise*")
    assert [path.unlink() for path in by_address]
    assert sandbox.run(FULL_DISK + INSIDE) == pytest.approx(np.log(0.5))
    assert sandbox.saved == 0


def in_a_fork(A):
    Q, R = lf.qr(A)
    return lf.qr_pullback(Q, R, Q, R)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_fork_of_a_process_that_used_threads():
    A = np.random.default_rng(0).standard_normal((4, 5, 3))
    expected = in_a_fork(A)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(in_a_fork, (A,)).get(60), expected)
        np.testing.assert_array_equal(pool.apply_async(in_a_fork, (A[0],)).get(60), expected[0])


def blas_threads():
    return [library.get_num_threads() for library in _blas()]


def test_blas_threads_come_back_once_the_last_caller_has_left():
    before = blas_threads()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with one_blas_thread():
            entered.set()
            leave.wait()

    other = threading.Thread(target=hold)
    with one_blas_thread():
        other.start()
        entered.wait()
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {1}  # the other thread is still inside
    leave.set()
    other.join()
    assert blas_threads() == before


def test_blas_is_held_at_one_thread_from_any_thread():
    # after the first thread to set it, others would be ignored by threadpoolctl
    before = blas_threads()
    with one_blas_thread():
        pass
    seen = []

    def look():
        with one_blas_thread():
            seen.extend(blas_threads())

    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert set(seen) == {1}
    assert blas_threads() == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_inside_has_the_blas_threads_of_before():
    """A pool of processes that a callback makes; and a fork that comes back through whatever it is inside of."""
    before = blas_threads()
    read, write = os.pipe()
    with one_blas_thread():
        child = os.fork()
        if child == 0:
            seen = [blas_threads() == before]
    if child == 0:
        seen.append(blas_threads() == before)
        with one_blas_thread(), one_blas_thread():
            seen.append(set(blas_threads()) == {1})
        seen.append(blas_threads() == before)
        os.write(write, bytes(seen))
        os._exit(0)
    assert os.read(read, 10) == bytes([1] * 4)
    os.waitpid(child, 0)
    assert blas_threads() == before
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("in_folder", [False, True])
def test_blas_is_held_at_one_thread_throughout_a_run(tmp_path, in_folder):
    def tell(record):
        seen.update(blas_threads())
        return True

    before, seen = blas_threads(), set()
    task, rng = lf.tasks.BinaryTemporalXOR(2), np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(4, 1, rng=rng), 1, rng=rng)
    if in_folder:
        lf.train(model, task, epochs=3, seed=0, T=20, callbacks=tell, folder=tmp_path)
        lf.resume(tmp_path, callbacks=tell)
    else:
        lf.train(model, task, epochs=3, seed=0, T=20, callbacks=tell)
        lf.floss(model.cell, lambda epoch: np.ones((20, 1)), k=2, epochs=2, callbacks=tell)
    assert seen == {1}
    assert blas_threads() == before


def test_the_tests_cells_are_outside_cells():
    assert not HenonMap.__module__.startswith("lyapflow")


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_after_a_compilation(before):
    seen = []

    @numba.extending.overload(lambda_of := lambda x: x, strict=False)
    def _(x):
        seen.append(gc.isenabled())
        return (lambda x: x) if isinstance(x, numba.types.Integer) else None

    @jit
    def kernel(x):
        return lambda_of(x)

    kernel._cache = numba.core.caching.NullCache()
    enabled = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        assert kernel(1) == 1
        with pytest.raises(numba.core.errors.TypingError):
            kernel("")
        assert gc.isenabled() == before
    finally:
        (gc.enable if enabled else gc.disable)()
    assert not any(seen)
