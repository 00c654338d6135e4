"""The loss on the singular values of one-step Jacobians, and its gradient.

With D = U Σ V^T the derivative of a singular value is d log σ_i = u_i^T dD v_i / σ_i (Magnus and
Neudecker 2019, *Matrix Differential Calculus*, ch. 8). So in the loss Σ_i (log σ_i - target)² the
product D v_i, v_i held constant, has the cotangent 2 (log σ_i - target) u_i / σ_i, from which the
cell's two pullbacks find the rest, as from that of a tangent block. Equal singular values within
the first k do no harm: the sum over them does not depend on the vectors that span their space.
"""

from typing import Any

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow.cells.interface import DIFFERENTIABLE
from lyapflow.cells.joint import as_one
from lyapflow.cells.step_jacobian import jacobian_workspace, linearise
from lyapflow.errors import Diverged, warn
from lyapflow.lyapunov.problem import Problem, each_trajectory, problem
from lyapflow.lyapunov.pullback import Retreat, total
from lyapflow.lyapunov.schedule import state_schedule
from lyapflow.lyapunov.sweep import Tape, new_drive, new_tape, sweep

LARGEST = float(
    np.sqrt(np.finfo(float).max)
)  # entry of a Jacobian whose singular values do not overflow


def one_step_problem(cell: Any, x: Any, k: Any, h0: Any, transient: Any) -> Problem:
    """Checked arguments, with a block of k vectors; steps after the transient are counted."""
    return problem(
        DIFFERENTIABLE,
        cell=as_one(cell),
        x=x,
        k=k,
        steps=None,
        h0=h0,
        q0=None,
        t_ons=1,
        transient=transient,
        q_transient=0,
    )


def one_step_value_and_grad(given: Problem, target: float) -> tuple[float, Any, np.ndarray]:
    r"""``L = 1/(S B) Σ_t Σ_b Σ_{i ≤ k} (log σ_i - target)²``, its gradient, and the mean log σ_i (k,).

    Sums are over the S counted steps of B trajectories. The gradient goes through the states, h0 held constant.

    Raises Diverged if a state or Jacobian is not finite, or fewer than k singular values are above
    rounding, and warns where the k-th and the next are equal."""
    batch, k = len(given.h0), len(given.block)
    counted = (given.plan.steps - given.plan.transient) * batch
    trajectories = each_trajectory(lambda b: _Trajectory(given.alone(b)), batch)
    try:
        found = each_trajectory(lambda b: trajectories[b].back(target, counted), batch)
    except Diverged as error:
        if error.rank is None:
            raise
        least = min(each_trajectory(lambda b: trajectories[b].least_rank(), batch))
        way_out = f"ask for k <= {least}" if least else "use other weights"
        raise Diverged(
            f"{error}; {way_out}", step=error.step, member=error.member, rank=least
        ) from None

    logs = np.concatenate([log_sigma for _, log_sigma, _ in found])
    if ties := [tied for _, _, tied in found if tied is not None]:
        warn(
            f"the loss on {k} singular values has no gradient where the next is equal to the last of them, as at step "
            f"{min(ties)}: a one-sided one was taken; use another k, or all"
        )
    loss = float(((logs - target) ** 2).sum() / counted)
    gradient = total([gradient for gradient, _, _ in found], "one-step")
    return loss, gradient, logs.mean(axis=0).astype(given.x.dtype)


class _Trajectory:
    """One trajectory, and its Jacobians."""

    def __init__(self, given: Problem) -> None:
        self.given = given
        no_block = np.empty((0, given.size.state), given.x.dtype)
        states = given._replace(plan=state_schedule(given.plan.steps), block=no_block)
        self.tape = new_tape(states, full=True)
        self.drive = new_drive(states)
        sweep(states, self.tape)
        self.work = jacobian_workspace(given.size, given.x.dtype)
        self.h_next = np.empty_like(given.h0)
        # what counts as zero, relative to the largest singular value
        self.rounding = given.size.state * float(np.finfo(given.x.dtype).eps)

    def jacobian(self, t: int) -> np.ndarray:
        """D^T of step t, in float64."""
        drive, tape = self.drive, self.tape
        linearise(
            drive.cell,
            drive.transposed,
            tape.states[t],
            drive.x[t],
            self.h_next,
            tape.records[t],
            self.work,
        )
        DT = self.work.DT.astype(float)
        if not np.abs(DT).max() < LARGEST:  # NaN is not, either
            raise Diverged(
                f"the one-step Jacobian overflowed at step {t}: use smaller weights", step=t
            )
        return DT

    def least_rank(self) -> int:
        """Singular values above rounding that every counted step has."""
        with one_blas_thread():
            spectra = (
                np.linalg.svd(self.jacobian(t), compute_uv=False)
                for t in range(self.given.plan.transient, self.given.plan.steps)
            )
            return min(int((sigma > self.rounding * sigma[0]).sum()) for sigma in spectra)

    def back(self, target: float, counted: int) -> tuple[Any, np.ndarray, int | None]:
        """The gradient, log σ_i (S, k) of the counted steps, and a step at which the k-th and the next are equal."""
        given, plan = self.given, self.drive.plan
        k, n = given.block.shape
        transient, dtype = given.plan.transient, given.x.dtype
        back = Retreat(given.cell, given.size, k, chunk=1)
        tape = Tape(
            self.tape.states,
            self.tape.records,
            np.empty((1, k, n), dtype),
            np.empty((0, k, k), dtype),
        )
        log_sigma, tied = np.empty((plan.steps - transient, k)), None
        no_growth = np.empty((0, k), dtype)
        with one_blas_thread():
            for t in range(plan.steps - 1, -1, -1):
                if t >= transient:
                    V, sigma, UT = np.linalg.svd(self.jacobian(t))
                    edge = self.rounding * sigma[0]
                    if sigma[k - 1] <= edge:
                        raise Diverged(
                            f"the one-step Jacobian at step {t} has fewer than {k} singular values above rounding",
                            step=t,
                            rank=int((sigma > edge).sum()),
                        )
                    if k < n and sigma[k - 1] - sigma[k] <= edge:
                        tied = t
                    log_sigma[t - transient] = np.log(sigma[:k])
                    pull = 2.0 * (log_sigma[t - transient] - target) / (counted * sigma[:k])
                    tape.blocks[0] = V[:, :k].T
                    back.bars.block[:] = pull[:, None] * UT[:k]
                # a sweep of this one step, whose block starts here or not at all
                moves = plan._replace(transient=t if t >= transient else plan.steps)
                back.take(self.drive._replace(plan=moves), t, t + 1, tape, no_growth)
        return back.gradient, log_sigma, tied
