"""Cells from outside the package are full citizens: files, runs, Jacobians, condition numbers, other processes."""

import pickle
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

import lyapflow as lf
from lyapflow import testing
from lyapflow.cells import additive, interface
from lyapflow.cells.interface import implement, sizes, step, tangent
from lyapflow.lyapunov.problem import default_block
from tests.exact_systems import HENON, HenonMap

TASK = lf.tasks.DelayedCopy(2)
MAP = HenonMap(np.array([1.4]), np.array([0.3]))


@additive.additive
class ArctanRNN(NamedTuple):
    """``h' = W arctan(h) + V x' + b``."""

    W: np.ndarray
    V: np.ndarray
    b: np.ndarray


@implement(additive.activation, ArctanRNN)
def arctan(cell, h, value, slope):
    for i in range(h.size):
        value[i] = np.arctan(h[i])
        slope[i] = 1 / (1 + h[i] * h[i])


@implement(additive.bend, ArctanRNN)
def bend(cell, value):
    return -np.sin(2 * value)


class Tangential(NamedTuple):
    """The map of Hénon without a Jacobian of its own, and without a pullback."""

    a: np.ndarray
    b: np.ndarray


sizes.register(Tangential, lambda cell: sizes(HenonMap(*cell)))
for generic, kernel in interface.kernels(HenonMap).items():
    if generic in (step, tangent):
        implement(generic, Tangential)(kernel)


def network(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    cell = ArctanRNN(*(0.3 * rng.standard_normal(shape) for shape in ((6, 6), (6, 1), (6,))))
    return lf.Model.random(ArctanRNN(*(a.astype(dtype) for a in cell)), 1, rng=rng)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kernels_fit_together(dtype):
    testing.check_cell(network(dtype=dtype).cell)


def test_weights(tmp_path):
    for obj in (MAP, network(), network(dtype=np.float32), lf.stack([network(0), network(1)])):
        cell_class = HenonMap if obj is MAP else ArctanRNN
        holds = f"holds a cell of class {cell_class.__name__}"
        lf.save(tmp_path / "w", obj)
        found = lf.load(tmp_path / "w", cell=cell_class)
        assert type(found) is type(obj) and lf.digest(found) == lf.digest(obj)
        with pytest.raises(lf.LyapflowError, match=f"{holds}, .*cell={cell_class.__name__}"):
            lf.load(tmp_path / "w")
        for other in (lf.TanhRNN, CatLike, "HenonMap", MAP):
            with pytest.raises(lf.LyapflowError, match=f"{holds}, got cell="):
                lf.load(tmp_path / "w", cell=other)


class CatLike(NamedTuple):
    a: np.ndarray
    b: np.ndarray


def test_a_class_that_is_called_like_one_of_the_package(tmp_path):
    namesake = type("TanhRNN", (ArctanRNN,), {})
    sizes.register(namesake, lambda cell: sizes(ArctanRNN(*cell)))
    cell = network().cell
    lf.save(tmp_path / "own", namesake(*cell))
    lf.save(tmp_path / "ours", lf.TanhRNN(*cell))
    assert type(lf.load(tmp_path / "own", cell=namesake)) is namesake
    assert type(lf.load(tmp_path / "ours")) is lf.TanhRNN
    with pytest.raises(lf.LyapflowError, match="which is not lyapflow's; give the class"):
        lf.load(tmp_path / "own")
    with pytest.raises(lf.LyapflowError, match="holds a cell of class TanhRNN, got cell=TanhRNN"):
        lf.load(tmp_path / "ours", cell=namesake)


@pytest.mark.parametrize("ensemble", [False, True])
def test_runs_go_on(tmp_path, ensemble):
    start = lf.stack([network(0), network(1)]) if ensemble else network()
    flossing = lf.Flossing(k=2, epochs=3, steps=20, q_transient=4, at=(0, 3))
    settings = {
        "epochs": 6,
        "seed": (0, 1) if ensemble else 0,
        "T": 20,
        "batch": 2,
        "flossing": flossing,
    }
    whole, _ = lf.train(start, TASK, **settings)
    lf.train(
        start,
        TASK,
        folder=tmp_path,
        callbacks=lambda r: r.kind == "training" and r.epoch == 2,
        **settings,
    )
    with pytest.raises(lf.LyapflowError, match="cell=ArctanRNN"):
        lf.resume(tmp_path)
    assert lf.digest(lf.resume(tmp_path, cell=ArctanRNN)[0]) == lf.digest(whole)
    assert lf.digest(lf.RunFolder(tmp_path, cell=ArctanRNN).model()) == lf.digest(whole)


def test_a_jacobian_from_tangents():
    h, x = np.array([0.3, -0.2]), np.empty(0)
    np.testing.assert_array_equal(lf.jacobian(Tangential(*MAP), h, x), lf.jacobian(MAP, h, x))
    assert lf.lyapunov_spectrum(
        Tangential(*MAP), steps=5000, transient=50
    ).exponents == pytest.approx(HENON, abs=0.02)


def test_condition_numbers():
    h0 = np.array([0.1, 0.1])
    found = lf.condition_number(Tangential(*MAP), np.empty((200, 0)), steps=[0, 1, 7, 200], h0=h0)
    assert not found.exact_jacobians and found.error.max() < 1e-6
    # det D = -b in every step
    np.testing.assert_allclose(
        found.log_singular_values.sum(axis=1), found.steps * np.log(0.3), atol=1e-5
    )
    states = np.vstack([h0, lf.trajectory(MAP, np.empty((7, 0)), h0)])
    product = np.linalg.multi_dot([lf.jacobian(MAP, h, np.empty(0)) for h in states[6::-1]])
    assert found.log_kappa[2] == pytest.approx(np.log(np.linalg.cond(product)), rel=1e-9)


def test_condition_numbers_of_cells_with_and_without_equations_agree():
    model, rng = network(), np.random.default_rng(3)
    x = rng.standard_normal((30, 1))
    tanh = lf.TanhRNN(*model.cell)
    assert lf.condition_number(tanh, x, steps=30).exact_jacobians
    one_block = lf.condition_number(model.cell, x, steps=30, m=3)
    assert one_block.log_singular_values.shape == (3,) and not one_block.exact_jacobians
    states = np.vstack([np.zeros(6), lf.trajectory(model.cell, x)])
    product = default_block(6, 3, np.dtype(float)).T
    for h, driven in zip(states, x):
        product = lf.jacobian(model.cell, h, driven) @ product
    np.testing.assert_allclose(one_block.log_kappa, np.log(np.linalg.cond(product)), rtol=1e-6)


BY_VALUE = """
import sys, cloudpickle
import numpy as np
import lyapflow as lf
try:
    lf.lyapunov_spectrum(cloudpickle.load(sys.stdin.buffer), np.zeros((3, 1)))
except lf.LyapflowError as error:
    print(error)
"""


def test_a_class_that_comes_by_value_is_told_the_way_out():
    from numba.cloudpickle import cloudpickle  # what joblib and Dask do with classes of a script

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        data = cloudpickle.dumps(network().cell)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    code = BY_VALUE.replace(
        "import sys, cloudpickle", "import sys\nfrom numba.cloudpickle import cloudpickle"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    said = done.stdout.decode()
    assert "this needs step of ArctanRNN" in said or "a cell must be one of lyapflow's" in said
    assert "in a module that every process imports" in said


def test_a_cell_goes_by_reference():
    assert lf.digest(pickle.loads(pickle.dumps(network()))) == lf.digest(network())
