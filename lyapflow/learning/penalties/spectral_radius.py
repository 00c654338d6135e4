"""The spectral radius of the recurrent weights as a penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._trees import named_arrays
from lyapflow.cells.interface import Cell, checked, zeros_like
from lyapflow.cells.layers import Layers, each_layer
from lyapflow.errors import Diverged, LyapflowError, warn

# |u^H v| of unit vectors below which an eigenvalue counts as defective: the gradient is as long as
# 1/|u^H v|, and has lost more than half of its digits
DEFECTIVE = 1e-5
TIE = 8.0  # rounding errors by which numbers may differ that count as equal


@dataclass(frozen=True)
class SpectralRadius:
    r"""Distance of the spectral radius of the recurrent weights W from a target: a control of the paper (§7).

    .. math:: L = \sum_g (\rho(W_g) - target)^2

    over the recurrent matrices of all gates of an LSTM or GRU, and of all layers; other networks
    have one. A matrix of zeros, such as that of the forget gate of a random LSTM, does not count.
    Input and states do not matter.

    Parameters
    ----------
    target : float
        Wanted spectral radius, at least 0.

    Raises
    ------
    LyapflowError
        If target is not such a number.

    Notes
    -----
    With the eigenvalue μ of the largest modulus, u^H W = μ u^H and W v = μ v, the gradient is dρ/dW_ij
    = Re( (μ* / ρ) u_i* v_j / (u^H v) ) (Horn and Johnson 2012, *Matrix Analysis*, Theorem 6.3.12).
    The values are the spectral radii. Where moduli other than those of a conjugate pair are tied, as
    in an orthogonal W, there is no gradient: that of one of them is taken (of equal eigenvalues that
    of their mean), with a LyapflowWarning. Where μ is defective, or nearly so, the gradient would be
    infinite: `Diverged`.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(np.diag([1.5, 0.5]), np.empty((2, 0)), np.zeros(2))
    >>> loss, gradient, radii = lf.penalties.SpectralRadius().value_and_grad(cell)
    >>> loss, radii
    (0.25, array([1.5]))
    >>> gradient.W  # 2 (ρ - 1) in the place of the largest eigenvalue
    array([[1., 0.],
           [0., 0.]])
    """

    target: float = 1.0

    def __post_init__(self) -> None:
        _checks.number("target", self.target, 0.0)

    def n_values(self, cell: Cell, x: ArrayLike | None = None) -> int:
        """The number of recurrent matrices."""
        return sum(len(_matrices(layer)) for layer in each_layer(checked(cell)))

    def value_and_grad(
        self, cell: Cell, x: ArrayLike | None = None, h0: ArrayLike | None = None
    ) -> tuple[float, Any, np.ndarray]:
        """Loss, gradient, and the spectral radius of each recurrent matrix."""
        cell = checked(cell)
        if isinstance(cell, Layers):
            of = [self.value_and_grad(layer) for layer in cell.layers]
            losses, gradients, radii = zip(*of)
            return sum(losses), Layers(gradients), np.concatenate(radii)
        matrices, gradient = _matrices(cell), zeros_like(cell)
        if not matrices.any():
            raise Diverged("the spectral radius of weights W that are all zero has no gradient")
        gradients, radii = _matrices(gradient), np.zeros(len(matrices))
        loss = 0.0
        for g, W in enumerate(matrices):
            if not W.any():
                continue
            name = "W" if len(matrices) == 1 else f"W[{g}]"
            radii[g], slope = _radius_and_gradient(W.astype(float), name)
            loss += (radii[g] - self.target) ** 2
            gradients[g] = 2.0 * (radii[g] - self.target) * slope
        return float(loss), gradient, radii.astype(matrices.dtype)


def _matrices(cell: Cell) -> np.ndarray:
    """The recurrent matrices (gates, n, n) of a cell, a view."""
    W: np.ndarray = getattr(cell, "W", np.empty(0))
    if W.ndim not in (2, 3) or W.shape[-1] != W.shape[-2]:
        raise LyapflowError(
            f"SpectralRadius needs a cell with recurrent matrices W (n, n) or (gates, n, n), "
            f"this {type(cell).__name__} has {', '.join(f'{name} {a.shape}' for name, a in named_arrays(cell))}"
        )
    return W if W.ndim == 3 else W[None]


def _radius_and_gradient(W: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """ρ(W) and dρ/dW."""
    scale = np.abs(W).max()  # so that nothing overflows
    W = W / scale
    noise = TIE * np.sqrt(len(W)) * np.finfo(float).eps * np.linalg.norm(W)
    with one_blas_thread():
        eigenvalues = _eigenvalues(W)
        moduli = np.abs(eigenvalues)
        mu, radius = eigenvalues[np.argmax(moduli)], moduli.max()
        # its left and right eigenvectors, several where it is multiple; not from LAPACK's geev, which
        # scales rows and columns first, and so may lose small entries that matter
        left, distances, right = np.linalg.svd(W - mu * np.eye(len(W)))
        multiple = max(1, int(np.count_nonzero(distances <= noise)))
        U, V = left[:, -multiple:].conj().T, right[-multiple:].conj().T
        along = np.linalg.svd(U @ V, compute_uv=False)[-1]
        if radius == 0 or along < DEFECTIVE:
            raise Diverged(
                f"the spectral radius of {name} has no gradient, for its largest eigenvalue {scale * mu:.4g} is "
                f"defective, or nearly so: use other weights"
            )
        projector = V @ np.linalg.solve(U @ V, U)
    tied = np.count_nonzero(moduli >= radius - noise / along)
    if tied > (1 if mu.imag == 0 else 2):  # one, or a conjugate pair
        warn(
            f"the spectral radius of {name} has no gradient where eigenvalues tie, here {tied} of modulus "
            f"{scale * radius:.4g}: that of one of them was taken; weights whose eigenvalues differ have one"
        )
    return float(scale * radius), (mu.conjugate() / radius * projector.T).real / multiple


def _eigenvalues(W: np.ndarray) -> np.ndarray:
    """From the real Schur form, whose pairs are blocks with equal numbers on the diagonal."""
    T = scipy.linalg.schur(W)[0]
    turning = np.sqrt(np.abs(np.diagonal(T, -1))) * np.sqrt(np.abs(np.diagonal(T, 1)))
    return np.diagonal(T) + 1j * (np.append(turning, 0.0) - np.append(0.0, turning))
