r"""Exponents of products of given Jacobians: of any network, whatever library it is written in, or of depth.

Jacobians are the inputs of a cell whose state stays zero (`lyapflow.cells.given`), so that all else
is done as for a network. Where they are too large to be written down, a function moves the tangent
vectors, and blocks are factorised by LAPACK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.given import GivenJacobians
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.matrix_free import matrix_free_spectrum
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.lyapunov.spectrum import lyapunov_spectrum, spectrum_of_pieces
from lyapflow.lyapunov.supply import PIECE

Jacobians = ArrayLike | Iterable[ArrayLike] | Callable[..., ArrayLike]


def product_spectrum(
    jacobians: Jacobians,
    k: int | None = None,
    *,
    steps: int | None = None,
    n: int | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    q_transient: int = 0,
    until_stderr: float | None = None,
    stderr_of: int | str | None = None,
    max_steps: int | None = None,
    continue_from: Spectrum | None = None,
) -> Spectrum:
    r"""The first k Lyapunov exponents of a product of given Jacobians ``D_T ... D_2 D_1``.

    Parameters
    ----------
    jacobians : array (T, n, n), iterator, or function
        The Jacobian of each step, ``D_ij = ∂h_next_i / ∂h_j``; an iterator of them; or a function
        of the number t of the step, counted from 0, that returns it. With `n`, a function of t and
        of tangent vectors V (n, k) that returns ``D_t V``, so that no n × n matrix is needed.
    k : int, optional
        Number of exponents, all n by default.
    steps : int, optional
        Number of steps, if `jacobians` is a function.
    n : int, optional
        Length of the state, if a function multiplies tangent vectors.
    q0, t_ons, q_transient, until_stderr, stderr_of, max_steps, continue_from
        As in `lyapunov_spectrum`. With a function that multiplies tangent vectors only q0 and
        q_transient, and a QR after every step.

    Returns
    -------
    Spectrum
        Exponents in nats per step, with standard errors, as from `lyapunov_spectrum`; its `state`
        has no meaning.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a Jacobian, or a block, is not finite.

    Warns
    -----
    LyapflowWarning
        As from `lyapunov_spectrum`; if a function multiplies tangent vectors, also if directions
        fall below rounding, which only the Jacobian itself could resolve.

    Notes
    -----
    Steps may be those of a network in time, or its layers in depth. ``docs/any-network.md`` shows
    how to get Jacobians from PyTorch and JAX.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rotation = np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> lf.product_spectrum([2 * rotation, rotation] * 50).exponents.round(6)
    array([0.346574, 0.346574])
    >>> lf.product_spectrum(lambda t, V: V / 2, k=1, n=10**4, steps=20).exponents.round(6)
    array([-0.693147])
    """
    how: dict[str, Any] = {
        "until_stderr": until_stderr,
        "stderr_of": stderr_of,
        "max_steps": max_steps,
        "continue_from": continue_from,
    }
    given = [name for name, value in how.items() if value is not None]
    if n is not None:
        if given or t_ons != 1:
            raise LyapflowError(
                f"a function that moves tangent vectors does not take {', '.join(given or ['t_ons'])}; leave it out"
            )
        return matrix_free_spectrum(jacobians, k, n, steps, q0, q_transient)
    how |= {"q0": q0, "t_ons": t_ons, "q_transient": q_transient}
    if callable(jacobians):
        return _of_function(jacobians, k, steps, how)
    if steps is not None:
        raise LyapflowError("steps is for a function; leave it out, or give fewer Jacobians")
    if isinstance(jacobians, Iterator):
        if given:
            raise LyapflowError(f"{given[0]} is not for an iterator; give a function of the step")
        return _of_iterator(jacobians, k, q0=q0, t_ons=t_ons, q_transient=q_transient)
    found = _checks.array("jacobians", jacobians, ("T", "n", "n"), like=None)
    _square(found.shape[1:])
    if len(found) == 0:
        raise LyapflowError("jacobians must hold at least one, got none")
    rows = found.reshape(len(found), -1)
    return lyapunov_spectrum(GivenJacobians(np.zeros(found.shape[1], found.dtype)), rows, k, **how)


def _square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise LyapflowError(f"Jacobians must be square matrices (n, n), got shape {shape}")


def _checked(name: str, jacobian: Any, like: np.ndarray | None = None) -> np.ndarray:
    """A Jacobian of a function or iterator, as large as the first one."""
    shape = ("n", "n") if like is None else like.shape
    found = _checks.array(name, jacobian, shape, like=like)
    _square(found.shape)
    return found


def _of_function(jacobian: Callable, k: Any, steps: Any, how: dict[str, Any]) -> Spectrum:
    before = how["continue_from"]
    if isinstance(before, Spectrum):
        state = np.zeros(before.n_state, before.exponents.dtype)
    else:
        state = np.zeros_like(_checked("jacobians(0)", jacobian(0))[0])
    like = np.empty((len(state), len(state)), state.dtype)

    def rows(start: int, stop: int) -> np.ndarray:
        # copied one by one, for a function may write all of them to the same array
        return np.stack(
            [_checked(f"jacobians({t})", jacobian(t), like).flatten() for t in range(start, stop)]
        )

    return lyapunov_spectrum(GivenJacobians(state), rows, k, steps=steps, **how)


def _of_iterator(jacobians: Iterator, k: Any, **how: Any) -> Spectrum:
    """The spectrum of as many Jacobians as come, a few at a time."""
    first = next(jacobians, None)
    if first is None:
        raise LyapflowError("jacobians must hold at least one, got an iterator at its end")
    first = _checked("the first Jacobian", first)
    cell = GivenJacobians(np.zeros_like(first[0]))
    at_a_time = max(1, PIECE // first.size)

    def pieces() -> Iterator[np.ndarray]:
        all_of_them = chain([first], jacobians)
        count = 0
        while found := [
            _checked(f"Jacobian {count + i}", D, first).flatten()
            for i, D in enumerate(islice(all_of_them, at_a_time))
        ]:
            count += len(found)
            yield np.stack(found)

    return spectrum_of_pieces(cell, pieces(), k, **how)
