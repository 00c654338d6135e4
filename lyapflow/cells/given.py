"""Given Jacobians in place of a network: they are its inputs, the state stays zero, only tangent vectors move."""

from typing import NamedTuple

import numpy as np

from lyapflow.cells.interface import Sizes, implement, sizes, step, tangent
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.products import gemm


class GivenJacobians(NamedTuple):
    """Tangents move by the Jacobians D (n, n) that the inputs hold, row by row.

    Attributes
    ----------
    state : array (n,)
        Its length and dtype alone count.
    """

    state: np.ndarray


@sizes.register
def _(cell: GivenJacobians) -> Sizes:
    n = len(cell.state)
    return Sizes(n, n, n * n, record=n * n, step_work=0, tangent_work=0, shapes={"state": (n,)})


@implement(step, GivenJacobians)
def given_step(cell, turned, h, x, h_next, record):
    copy(x, record)
    h_next[:] = 0.0


@implement(tangent, GivenJacobians)
def given_tangent(cell, turned, record, Q, Q_next, work):
    n = len(cell.state)
    gemm(Q, False, record.reshape(n, n), True, 1.0, 0.0, Q_next)
