"""Exponents, flossing gradients and task gradients against JAX's automatic differentiation, in float64.

    python -m pip install ".[validation]" && python -m validation.autodiff

Prints the worst error per quantity, relative to its largest entry, over sizes, t_ons, transients, targets and losses.
Exit code 1 if one exceeds 1e-9. Under a minute. Half of the exponents at most: an interval of t_ons steps with all of
them has a condition number that costs both sides digits.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.parameters import arrays

LIMIT = 1e-9
TIMINGS = [(1, 0, 0), (1, 3, 4), (3, 0, 5), (4, 2, 7)]  # t_ons, transient, q_transient

jax.config.update("jax_enable_x64", True)


def tanh_step(cell, h, x):
    return cell.W @ jnp.tanh(h) + cell.V @ x + cell.b


def exponents(cell, x, h, q, t_ons, transient, q_transient):
    """The first k exponents, with the Jacobian by automatic differentiation as well."""
    total, since, counting = 0.0, 0, transient + q_transient
    for t, driven in enumerate(x):
        if t >= transient:
            q = jax.jacfwd(tanh_step, argnums=1)(cell, h, driven) @ q
            since += 1
            if since == t_ons or t + 1 in (counting, len(x)):
                q, r = jnp.linalg.qr(q)
                total += jnp.log(jnp.abs(jnp.diag(r))) * (t >= counting)
                since = 0
        h = tanh_step(cell, h, driven)
    return total / (len(x) - counting)


def flossing_loss(cell, x, h, q, target, *timing):
    return jnp.sum((exponents(cell, x, h, q, *timing) - target) ** 2)


def task_loss(model, x, y, first, loss):
    def next_state(h, driven):
        h = jax.vmap(tanh_step, (None, 0, 0))(model.cell, h, driven)
        return h, h @ model.W_out.T + model.b_out

    h0 = jnp.broadcast_to(model.h0, (x.shape[1], model.h0.size))
    z = jax.lax.scan(next_state, h0, x)[1][first:]
    y = y[first:]
    return jnp.mean((z - y) ** 2 if loss == "mse" else jnp.logaddexp(0.0, z) - y * z)


def difference(ours, theirs) -> float:
    """The largest error of any array, relative to the largest entry of all."""
    ours, theirs = ([np.asarray(a) for a in (arrays(t) if isinstance(t, tuple) else [t])] for t in (ours, theirs))
    scale = max(np.abs(a).max() for a in theirs if a.size)
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs) if a.size) / scale


def errors(cell_class) -> dict[str, float]:
    """Worst error per quantity for random cells of one class."""
    worst = dict.fromkeys(("exponents", "flossing gradient", "task gradient"), 0.0)
    gradient_of_flossing = jax.jit(jax.grad(flossing_loss), static_argnums=(5, 6, 7))
    for seed, (n, k, timing) in enumerate((n, k, timing) for n, k in ((6, 3), (12, 5)) for timing in TIMINGS):
        rng = np.random.default_rng(seed)
        cell = cell_class.random(n, 2, rng=rng, g=1.2)
        x, h, q = 0.3 * rng.standard_normal((16, 2)), rng.standard_normal(n), lf.qr(rng.standard_normal((n, k)))[0]
        target = rng.standard_normal(k)
        options = dict(zip(("t_ons", "transient", "q_transient"), timing))
        _, gradient, found = lf.flossing_value_and_grad(cell, x, k, target=target, h0=h, q0=q, **options)
        worst["exponents"] = max(worst["exponents"], difference(found, exponents(cell, x, h, q, *timing)))
        theirs = gradient_of_flossing(cell, x, h, q, target, *timing)
        worst["flossing gradient"] = max(worst["flossing gradient"], difference(gradient, theirs))

        model = lf.Model.random(cell, 3, rng=rng)._replace(h0=h)
        xs, ys = rng.standard_normal((50, 4, 2)), rng.random((50, 4, 3))
        for loss in ("mse", "cross_entropy"):
            _, gradient = lf.bptt_value_and_grad(model, xs, ys, first=7, loss=loss)
            theirs = jax.grad(task_loss)(model, xs, ys, 7, loss)
            worst["task gradient"] = max(worst["task gradient"], difference(gradient, theirs))
    return worst


def main() -> int:
    found = {cls.__name__: errors(cls) for cls in (lf.TanhRNN,)}
    table = Table("cell", *next(iter(found.values())), title="Worst relative error against JAX, float64")
    for name, worst in found.items():
        table.add_row(name, *(f"{error:.1e}" for error in worst.values()))
    Console().print(table)
    return any(error > LIMIT for worst in found.values() for error in worst.values())


if __name__ == "__main__":
    sys.exit(main())
