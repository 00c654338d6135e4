"""Digests of what every cell computes, to compare two versions of the code on one machine: equal lines are equal bits.

    python -m validation.digests > before
    (change the code)
    python -m validation.digests | diff before -

Spectra, trajectories, flossing and task gradients, condition numbers and short training runs, of
all cells in both dtypes, alone and as ensembles, and of runs that are stopped and resumed. A
minute, once kernels are compiled."""

import hashlib
import itertools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import lyapflow as lf
from lyapflow.cells.registry import CLASSES


def numbers(value: Any) -> bytes:
    """The bytes of all arrays and numbers in a result."""
    if value is None or isinstance(value, str):
        return repr(value).encode()
    if hasattr(value, "__dataclass_fields__"):
        return numbers([getattr(value, name) for name in value.__dataclass_fields__])
    if isinstance(value, (list, tuple)):
        return b"".join(map(numbers, value))
    return np.ascontiguousarray(value).tobytes()


def show(name: str, function: Any, *arguments: Any, **options: Any) -> Any:
    """Print the digest of a result, or of the error where there is none."""
    try:
        value = function(*arguments, **options)
    except lf.LyapflowError as error:
        value = str(error)
    print(f"{hashlib.sha256(numbers(value)).hexdigest()[:16]}  {name}", flush=True)
    return value


def of_a_cell(name: str, cell: Any, rng: np.random.Generator) -> None:
    dtype = cell[0].dtype
    n_state = len(lf.Model.random(cell, 1, rng=rng).h0)
    x = rng.standard_normal((120, 1)).astype(dtype)
    batch = rng.standard_normal((60, 3, 1)).astype(dtype)
    h0 = (0.1 * rng.standard_normal(n_state)).astype(dtype)
    show(f"{name} trajectory", lf.trajectory, cell, batch, h0)
    show(f"{name} jacobian", lf.jacobian, cell, h0, x[0])
    for t_ons in (1, 4, "auto"):
        options = {"h0": h0, "t_ons": t_ons, "transient": 3, "q_transient": 10}
        show(f"{name} spectrum t_ons={t_ons}", lf.lyapunov_spectrum, cell, x, **options)
    show(f"{name} spectrum of a batch", lf.lyapunov_spectrum, cell, batch, min(5, n_state))
    for average in ("exponents", "loss"):
        options = {"h0": h0, "t_ons": 2, "q_transient": 5, "average": average}
        show(
            f"{name} flossing average={average}",
            lf.flossing_value_and_grad,
            cell,
            batch,
            2,
            **options,
        )
    show(f"{name} floss", lf.floss, cell, lambda epoch: x[:40], k=2, epochs=5, h0=h0)
    model = lf.Model.random(cell, 1, rng=rng)
    # of a ReLU network with units that are active
    model = model._replace(h0=model.h0 + dtype.type(1))
    show(f"{name} bptt", lf.bptt_value_and_grad, model, batch, (batch > 0).astype(dtype), first=5)
    flossing = lf.Flossing(k=1, epochs=4, steps=20, q_transient=4, at=(0, 5))
    task = lf.tasks.BinaryTemporalXOR(4)
    settings = {
        "epochs": 10,
        "seed": 1,
        "flossing": flossing,
        "T": 30,
        "batch": 4,
        "measure_every": 5,
    }
    show(f"{name} train", lf.train, model, task, **settings)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        lf.train(
            model,
            task,
            folder=run,
            callbacks=lambda r: r.kind == "training" and r.epoch == 6,
            **settings,
        )
        show(f"{name} resume", lf.resume, run)
        show(f"{name} weights", lambda: lf.digest(lf.load(run / "model.safetensors")))


def of_an_ensemble(name: str, cells: list[Any], rng: np.random.Generator) -> None:
    ensemble = lf.stack(cells)
    x = rng.standard_normal((len(cells), 50, 1)).astype(cells[0][0].dtype)
    show(f"{name} ensemble spectrum", lf.lyapunov_spectrum, ensemble, x, 3)
    show(f"{name} ensemble flossing", lf.flossing_value_and_grad, ensemble, x, 2)
    models = lf.stack([lf.Model.random(cell, 1, rng=rng) for cell in cells])
    options = {"epochs": 4, "seed": [1, 2, 3], "T": 20, "batch": 2}
    show(f"{name} ensemble train", lf.train, models, lf.tasks.DelayedCopy(3), **options)


def of_saturated_networks() -> None:
    """Steps in doubt, and directions that are lost."""
    for seed, cell_class, gain in itertools.product(
        range(6), (lf.TanhRNN, lf.ReluRNN, lf.GRU), (1.0, 10.0)
    ):
        rng = np.random.default_rng(seed)
        x = 10 * rng.standard_normal((60, 1))
        cell = cell_class.random(5, 1, rng=rng, g=gain)
        show(
            f"{cell_class.__name__} g={gain:g} seed={seed} saturated",
            lf.lyapunov_spectrum,
            cell,
            x,
            t_ons=3,
        )


def main() -> None:
    warnings.simplefilter("ignore", lf.LyapflowWarning)
    for cell_class, dtype in itertools.product(CLASSES.values(), (np.float64, np.float32)):
        rng = np.random.default_rng(7)
        for units in (3, 20):
            rectified = cell_class in (lf.ReluRNN, lf.ElmanReluRNN)
            gain = 0.9 if rectified or cell_class is lf.LinearRNN else 1.2
            cells = [cell_class.random(units, 1, rng=rng, g=gain, dtype=dtype) for _ in range(3)]
            if rectified:  # most units active, or nothing is left to floss
                cells = [cell._replace(b=cell.b + dtype(2)) for cell in cells]
            name = f"{cell_class.__name__} {np.dtype(dtype)} {units} units:"
            of_a_cell(name, cells[0], rng)
            of_an_ensemble(name, cells, rng)
    of_saturated_networks()
    A = np.random.default_rng(0).standard_normal((50, 40))
    Q, R = show("qr", lf.qr, A)
    show("qr_pullback", lf.qr_pullback, Q, R, A, R)
    cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(1))
    show("condition_number", lf.condition_number, cell, A[:, :1], steps=[5, 40])


if __name__ == "__main__":
    main()
