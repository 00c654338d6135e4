"""The flossing loss within JAX: of a cell of JAX arrays, differentiable once, under jit and vmap."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.interop.extras import imported
from lyapflow.lyapunov.flossing_loss import flossing_value_and_grad
from lyapflow.lyapunov.layers import number_wanted

if TYPE_CHECKING:
    import jax
else:
    jax = imported("jax")


def flossing_loss(
    cell: Any,
    x: Any,
    k: int | tuple[int, ...] | None = None,
    *,
    target: Any = 0.0,
    transient: int = 0,
    q_transient: int = 0,
    t_ons: int = 1,
    average: str = "exponents",
    one_sided: bool = False,
) -> tuple[Any, Any]:
    r"""The flossing loss :math:`\sum_i (\lambda_i - \lambda_i^{target})^2` of a cell of JAX arrays.

    Cells are pytrees, so that they go through ``jax.grad`` and optimisers as they are.

    Parameters
    ----------
    cell : cell, or network of layers, of JAX arrays
        Such as ``lf.GRU(W, V, b, b_n)``.
    x : array (T, m) or (T, B, m)
    k : int, or a tuple for layers, optional
    target : float or array (k,)
        Constants; nats per step.
    transient, q_transient, t_ons, average, one_sided
        As in `lyapflow.flossing_value_and_grad`.

    Returns
    -------
    loss : array ()
        Differentiable once in cell and x.
    exponents : array (k,)
        Without gradients.

    Raises
    ------
    LyapflowError
        If arguments do not fit; `Diverged` if an exponent of the k does not exist. Where values tell
        it, JAX wraps both in a `JaxRuntimeError`, whose last line is theirs.

    Examples
    --------
    >>> import jax, numpy as np, lyapflow as lf, lyapflow.jax
    >>> rng = np.random.default_rng(0)
    >>> cell = lf.GRU.random(16, 3, rng=rng, dtype=np.float32)
    >>> x = rng.standard_normal((50, 3)).astype(np.float32)
    >>> gradient = jax.grad(lambda cell: lyapflow.jax.flossing_loss(cell, x, 4)[0])(cell)
    >>> gradient.W.shape
    (3, 16, 16)
    """
    aims = _checks.finite("target", target)
    if aims is None or aims.ndim > 1:
        raise LyapflowError(
            f"target must be a finite number or one per exponent, got {target!r:.80}"
        )
    if k is not None and not isinstance(k, (tuple, list)):
        k = _checks.integer("k", k, 1)
    settings = (
        ("transient", transient),
        ("q_transient", q_transient),
        ("t_ons", t_ons),
        ("average", average),
        ("one_sided", one_sided),
        ("target", tuple(aims.tolist()) if aims.ndim else float(aims)),
    )
    cell, x = jax.tree.map(jax.numpy.asarray, cell), jax.numpy.asarray(x)
    loss, exponents = _loss(k, settings, cell, x)
    return loss, jax.lax.stop_gradient(exponents)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loss(k: Any, settings: tuple, cell: Any, x: Any) -> tuple[Any, Any]:
    return _computed(k, settings, cell, x)[:2]


def _computed(k: Any, settings: tuple, cell: Any, x: Any) -> tuple[Any, ...]:
    """Loss, exponents, and the gradients in cell and x."""
    shaped = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (cell, x))
    number = number_wanted(shaped[0], k)
    results = (
        jax.ShapeDtypeStruct((), x.dtype),
        jax.ShapeDtypeStruct((number,), x.dtype),
        *shaped,
    )
    return jax.pure_callback(
        functools.partial(_call, k, dict(settings)), results, cell, x, vmap_method="sequential"
    )


def _call(k: Any, settings: dict[str, Any], cell: Any, x: Any) -> tuple[Any, ...]:
    cell, x = jax.tree.map(np.array, (cell, x))
    if isinstance(settings["target"], tuple):
        settings = settings | {"target": np.array(settings["target"])}
    loss, of_cell, exponents, of_x = flossing_value_and_grad(
        cell, x, k, input_gradient=True, **settings
    )
    return np.asarray(loss, x.dtype), exponents, of_cell, of_x


def _forward(k: Any, settings: tuple, cell: Any, x: Any) -> tuple[Any, Any]:
    loss, exponents, of_cell, of_x = _computed(k, settings, cell, x)
    return (loss, exponents), (of_cell, of_x)


def _backward(k: Any, settings: tuple, gradients: Any, bars: Any) -> Any:
    return jax.tree.map(lambda gradient: bars[0] * gradient, gradients)


_loss.defvjp(_forward, _backward)
