"""Where a flossing epoch spends its time, operation by operation, against the rate of a matrix product.

    python -m validation.benchmarks.operations

N = 80, k = 75 (LSTM: k = 40), one thread. For each operation of a time step: microseconds, and
those that its floating- point operations take at the rate of the product of a block (k, n) with a
matrix (n, n). One minute."""

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow.cells import interface
from lyapflow.linalg.qr import orthonormalise, workspace
from lyapflow.linalg.qr_pullback import pull_back_log
from validation.benchmarks import ours
from validation.benchmarks.measure import side_by_side

N, TIMES = 80, 50


@jit
def _step(cell, turned, h, x, h_next, record):
    for _ in range(TIMES):
        interface.step(cell, turned, h, x, h_next, record)


@jit
def _tangent(cell, turned, record, Q, Q_next, work):
    for _ in range(TIMES):
        interface.tangent(cell, turned, record, Q, Q_next, work)


@jit
def _orthonormalise(block, Q, F, work):
    for _ in range(TIMES):
        orthonormalise(block, Q, F, work, 0.0, 0.0)


@jit
def _pull_back_log(Q, F, g, Q_bar, M, A_bar):
    for _ in range(TIMES):
        pull_back_log(Q, F, g, Q_bar, M, A_bar)


@jit
def _step_pullback(cell, record, h_next_bar, h_bar, work):
    for _ in range(TIMES):
        interface.step_pullback(cell, record, h_next_bar, h_bar, work)


@jit
def _tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    for _ in range(TIMES):
        interface.tangent_pullback(
            cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work
        )


@jit
def _accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    for _ in range(TIMES):
        interface.accumulate(
            cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
        )


def operations(cell, k, steps):
    """{operation: (call, floating-point operations of one)}; accumulate is that of as many steps as a chunk has."""
    size, rng, dtype = interface.sizes(cell), np.random.default_rng(0), cell[0].dtype
    n, weights = size.state, cell.W.size

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    record, turned = np.zeros((1, size.record), dtype), interface.transposed(cell)
    block, Q, F = draw(k, n), np.empty((k, n), dtype), np.empty((k, k), dtype)
    work = workspace(k, n, dtype == np.float64)
    h, x, h_next = draw(1, n), draw(1, 1), np.empty((1, n), dtype)
    step_work, tangent_work = np.zeros((1, size.step_work), dtype), draw(k, size.tangent_work)
    Q_bar, M, A_bar = np.zeros((k, n), dtype), np.empty((k, k), dtype), np.empty((k, n), dtype)
    _step(cell, turned, h, x, h_next, record)
    _orthonormalise(block, Q, F, work)
    many = (draw(steps, 1, 1), draw(steps, 1, n), draw(steps, 1, size.record), draw(steps, 1, n))
    many += (
        draw(steps, 1, size.step_work),
        draw(steps, k, n),
        draw(steps, k, n),
        draw(steps, k, size.tangent_work),
    )
    gradient = interface.zeros_like(cell)
    back = (cell, turned, record[0], Q, block, Q_bar, h[0].copy(), step_work[0], tangent_work)
    return {
        "step": (lambda: _step(cell, turned, h, x, h_next, record), 2 * weights),
        "tangent": (
            lambda: _tangent(cell, turned, record[0], Q, Q_bar, tangent_work),
            2 * weights * k,
        ),
        "QR": (lambda: _orthonormalise(block, Q, F, work), 2 * n * k * k + k**3 / 3),
        "QR pullback": (
            lambda: _pull_back_log(Q, F, np.ones(k, dtype), Q_bar, M, A_bar),
            4 * n * k * k,
        ),
        "step pullback": (lambda: _step_pullback(cell, record, h, h_next, step_work), 2 * weights),
        "tangent pullback": (
            lambda: _tangent_pullback(*back),
            2 * weights * k * (1 if isinstance(cell, lf.TanhRNN) else 2),  # gates recompute W q
        ),
        f"accumulate, of {steps} steps": (
            lambda: _accumulate(cell, *many, gradient),
            2 * weights * k * steps,
        ),
    }


def main() -> None:
    console = Console()
    for cell_class, k, steps in ((lf.TanhRNN, 75, 6), (lf.LSTM, 40, 12)):
        for dtype in (np.float64, np.float32):
            cell = cell_class.random(N, 1, rng=np.random.default_rng(0), dtype=dtype)
            found = operations(cell, k, steps)
            run, flops = ours.products(N, k, dtype)
            with one_blas_thread():
                seconds = side_by_side(
                    {"product": run, **{name: call for name, (call, _) in found.items()}}, 9
                )
            rate = flops / seconds["product"]
            title = f"{cell_class.__name__}, {dtype.__name__}, k = {k}; products at {rate / 1e9:.0f} GFLOP/s"
            table = Table("operation", "µs", "µs at that rate", "ratio", title=title)
            total = np.zeros(2)
            for name, (_, work) in found.items():
                share = np.array([seconds[name] / TIMES, work / rate]) / (
                    steps if "steps" in name else 1
                )
                total += share
                table.add_row(
                    name.split(",")[0],
                    *(f"{1e6 * s:.1f}" for s in share),
                    f"{share[0] / share[1]:.2f}",
                )
            table.add_row(
                "a step, forward and back",
                *(f"{1e6 * s:.1f}" for s in total),
                f"{total[0] / total[1]:.2f}",
            )
            console.print(table)


if __name__ == "__main__":
    main()
