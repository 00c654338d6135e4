"""Hypothesis strategies: random cells, their inputs and their states."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import first_array, sizes
from lyapflow.errors import LyapflowError

GAINS = (1e-3, 0.5, 1.0, 3.0, 30.0)  # from tiny to saturating


def _hypothesis() -> Any:
    try:
        from hypothesis import strategies
    except ImportError:
        raise LyapflowError(
            "strategies of lyapflow.testing need hypothesis, which is not installed; pip install 'lyapflow[test]'"
        ) from None
    return strategies


def cells(
    cell_class: Any,
    *,
    dtype: Any = np.float64,
    gains: Sequence[float] = GAINS,
    units: int = 8,
    inputs: int = 3,
    make: Callable | None = None,
) -> Any:
    """A hypothesis strategy: random cells of a class, small, without parameters that are zero.

    Parameters
    ----------
    cell_class : class
    dtype : float64 or float32
    gains : sequence of float
        Of the recurrent weights.
    units, inputs : int
        The most that there may be; units are at least one.
    make : callable, optional
        ``make(n, m, rng, g)`` -> cell, for a class that has no ``random(n, m, rng=, g=)``.

    Returns
    -------
    strategy

    Raises
    ------
    LyapflowError
        If hypothesis is not installed, or there is no way to make a cell.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from hypothesis import given, settings
    >>> from lyapflow.testing import cells, check_cell
    >>> @settings(max_examples=2, deadline=None, database=None)
    ... @given(cells(lf.TanhRNN, units=3))
    ... def test(cell):
    ...     check_cell(cell)
    >>> test()
    """
    strategies, dtype = _hypothesis(), _checks.dtype(dtype)
    if make is None and not hasattr(cell_class, "random"):
        raise LyapflowError(
            f"{cell_class.__name__} has no random(n, m, rng=, g=); give make=, a function (n, m, rng, g)"
        )

    def draw(n: int, m: int, seed: int, g: float) -> Any:
        rng = np.random.default_rng(seed)
        if make is not None:
            return map_arrays(lambda a: a.astype(dtype), make(n, m, rng, g))
        cell = cell_class.random(n, m, rng=rng, g=g)
        return map_arrays(
            lambda a: np.where(a == 0, 0.5 * rng.standard_normal(a.shape), a).astype(dtype), cell
        )

    gain = strategies.sampled_from(list(gains))
    return strategies.builds(
        draw,
        strategies.integers(1, units),
        strategies.integers(0, inputs),
        strategies.integers(0, 2**32 - 1),
        gain,
    )


def _normal(shape: tuple[int, ...], dtype: Any) -> Any:
    seeds = _hypothesis().integers(0, 2**32 - 1)
    return seeds.map(lambda seed: np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def inputs(cell: Any, T: int, batch: int | None = None) -> Any:
    """A hypothesis strategy: standard normal inputs of a cell, (T, m), or (T, batch, m).

    Parameters
    ----------
    cell : cell
    T : int
        Steps.
    batch : int, optional
        Trajectories; by default one, without an axis.

    Returns
    -------
    strategy

    Raises
    ------
    LyapflowError
        If hypothesis is not installed, or it is no cell.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from hypothesis import given
    >>> from lyapflow.testing import inputs
    >>> cell = lf.LinearRNN.random(2, 1, rng=np.random.default_rng(0))
    >>> @given(x=inputs(cell, T=5))
    ... def test_states_have_the_length_of_the_input(x):
    ...     assert lf.trajectory(cell, x).shape == (5, 2)
    >>> test_states_have_the_length_of_the_input()
    """
    return _normal(
        (T, *(() if batch is None else (batch,)), sizes(cell).inputs), first_array(cell).dtype
    )


def states(cell: Any, batch: int | None = None) -> Any:
    """A hypothesis strategy: standard normal states of a cell, (n_state,), or (batch, n_state).

    Parameters
    ----------
    cell : cell
    batch : int, optional
        Trajectories; by default one, without an axis.

    Returns
    -------
    strategy

    Raises
    ------
    LyapflowError
        If hypothesis is not installed, or it is no cell.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from hypothesis import given
    >>> from lyapflow.testing import states
    >>> cell = lf.LinearRNN.random(2, 0, rng=np.random.default_rng(0))
    >>> @given(h0=states(cell))
    ... def test_a_linear_network_keeps_its_scale(h0):
    ...     doubled = lf.trajectory(cell, h0=2 * h0, steps=5)
    ...     assert (doubled == 2 * lf.trajectory(cell, h0=h0, steps=5)).all()
    >>> test_a_linear_network_keeps_its_scale()
    """
    return _normal(
        (*(() if batch is None else (batch,)), sizes(cell).state), first_array(cell).dtype
    )
