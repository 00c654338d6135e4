"""States in time."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.interface import sizes
from tests.gradcheck import next_state
from tests.test_cells import each_cell


@each_cell
@pytest.mark.parametrize("batch", [(), (4,)])
def test_trajectory(cell_class, batch):
    rng = np.random.default_rng(0)
    cell = cell_class.random(5, 2, rng=rng)
    n = sizes(cell).state
    x, h = rng.standard_normal((7, *batch, 2)), rng.standard_normal((*batch, n))
    states = lf.trajectory(cell, x, h)
    assert states.shape == (7, *batch, n)
    step = np.vectorize(lambda h, x: next_state(cell, h, x), signature="(n),(m)->(n)")
    for t in range(7):
        h = step(h, x[t])
        np.testing.assert_allclose(states[t], h, atol=1e-13)
