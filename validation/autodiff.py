"""Every cell against other libraries, in float64.

    python -m pip install ".[validation]" && python -m validation.autodiff

Exponents, the gradients of flossing, of one-step Jacobians' singular values and of tasks against
JAX's automatic differentiation of the plain equations, and steps of LSTM and GRU against PyTorch's
with copied weights. Prints the worst error per cell and quantity, relative to its largest entry,
over sizes, t_ons, transients, targets and losses. Exit code 1 if one exceeds 1e-9. Some ten
minutes, most of them JAX's compiler. Half of the exponents of n at most: an interval of t_ons steps
with all of them has a condition number that costs both sides digits."""

import functools
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow._trees import arrays
from lyapflow.cells.interface import sizes
from tests.gradcheck import next_state as equations

LIMIT = 1e-9
TIMINGS = [(1, 0, 0), (1, 3, 4), (3, 0, 5), (4, 2, 7)]  # t_ons, transient, q_transient

jax.config.update("jax_enable_x64", True)


next_state = functools.partial(equations, xp=jnp)


def exponents(cell, x, h, q, t_ons, transient, q_transient):
    """The first k exponents, with the Jacobian by automatic differentiation as well."""
    total, since, counting = 0.0, 0, transient + q_transient
    for t, driven in enumerate(x):
        if t >= transient:
            q = jax.jacfwd(next_state, argnums=1)(cell, h, driven) @ q
            since += 1
            if since == t_ons or t + 1 in (counting, len(x)):
                q, r = jnp.linalg.qr(q)
                total += jnp.log(jnp.abs(jnp.diag(r))) * (t >= counting)
                since = 0
        h = next_state(cell, h, driven)
    return total / (len(x) - counting)


def flossing_loss(cell, x, h, q, target, *timing):
    return jnp.sum((exponents(cell, x, h, q, *timing) - target) ** 2)


def one_step_loss(cell, x, h, k, target, transient):
    total = 0.0
    for t, driven in enumerate(x):
        if t >= transient:
            D = jax.jacfwd(next_state, argnums=1)(cell, h, driven)
            log_sigma = jnp.log(jnp.linalg.svd(D, compute_uv=False))[:k]
            total += jnp.sum((log_sigma - target) ** 2)
        h = next_state(cell, h, driven)
    return total / (len(x) - transient)


def task_loss(model, x, y, first, loss):
    def scored(h, driven):
        h = jax.vmap(next_state, (None, 0, 0))(model.cell, h, driven)
        return h, h[:, : model.W_out.shape[1]] @ model.W_out.T + model.b_out

    h0 = jnp.broadcast_to(model.h0, (x.shape[1], model.h0.size))
    z = jax.lax.scan(scored, h0, x)[1][first:]
    y = y[first:]
    return jnp.mean((z - y) ** 2 if loss == "mse" else jnp.logaddexp(0.0, z) - y * z)


def difference(ours, theirs) -> float:
    """The largest error of any array, relative to the largest entry of all."""
    ours, theirs = (
        [np.asarray(a) for a in (arrays(t) if isinstance(t, tuple) else [t])]
        for t in (ours, theirs)
    )
    scale = max(np.abs(a).max() for a in theirs if a.size)
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs) if a.size) / scale


def random_cell(cell_class, n, rng):
    """With weights and biases of a size that matters, and most units of a ReLU network active."""
    cell = cell_class.random(n, 2, rng=rng)
    scale = {lf.LSTM: 1.0, lf.GRU: 1.0}.get(cell_class, 0.0) / np.sqrt(n)
    cell = cell._replace(W=cell.W + scale * rng.standard_normal(cell.W.shape))
    biases = {
        name: 0.5 * rng.standard_normal(getattr(cell, name).shape)
        for name in cell._fields
        if name[0] == "b"
    }
    if cell_class is lf.ReluRNN:
        biases["b"] = 1 + np.abs(biases["b"])
    return cell._replace(**biases)


def errors(cell_class) -> dict[str, float]:
    """Worst error per quantity for random cells of one class."""
    worst = dict.fromkeys(
        ("exponents", "flossing gradient", "one-step gradient", "task gradient"), 0.0
    )
    gradient_of_flossing = jax.jit(jax.grad(flossing_loss), static_argnums=(5, 6, 7))
    gradient_of_steps = jax.jit(jax.grad(one_step_loss), static_argnums=(3, 5))
    for seed, (n, k, timing) in enumerate(
        (n, k, timing) for n, k in ((6, 3), (12, 5)) for timing in TIMINGS
    ):
        rng = np.random.default_rng(seed)
        cell = random_cell(cell_class, n, rng)
        n_state = sizes(cell).state
        x, h = 0.3 * rng.standard_normal((16, 2)), rng.standard_normal(n_state)
        q, target = lf.qr(rng.standard_normal((n_state, k)))[0], rng.standard_normal(k)
        options = dict(zip(("t_ons", "transient", "q_transient"), timing))
        try:
            _, gradient, found = lf.flossing_value_and_grad(
                cell, x, k, target=target, h0=h, q0=q, **options
            )
        except lf.Diverged as error:  # silent units
            k = error.rank
            q, target = q[:, :k], target[:k]
            _, gradient, found = lf.flossing_value_and_grad(
                cell, x, k, target=target, h0=h, q0=q, **options
            )
        worst["exponents"] = max(
            worst["exponents"], difference(found, exponents(cell, x, h, q, *timing))
        )
        theirs = gradient_of_flossing(cell, x, h, q, target, *timing)
        worst["flossing gradient"] = max(worst["flossing gradient"], difference(gradient, theirs))

        penalty = lf.penalties.OneStepJacobian(k, 0.2, transient=timing[1])
        try:
            _, gradient, _ = penalty.value_and_grad(cell, x, h)
        except lf.Diverged as error:
            penalty = replace(penalty, k=error.rank)
            _, gradient, _ = penalty.value_and_grad(cell, x, h)
        theirs = gradient_of_steps(cell, x, h, penalty.k, 0.2, timing[1])
        worst["one-step gradient"] = max(worst["one-step gradient"], difference(gradient, theirs))

        model = lf.Model.random(cell, 3, rng=rng)._replace(h0=h)
        xs, ys = rng.standard_normal((50, 4, 2)), rng.random((50, 4, 3))
        for loss in ("mse", "cross_entropy"):
            _, gradient = lf.bptt_value_and_grad(model, xs, ys, first=7, loss=loss)
            theirs = jax.grad(task_loss)(model, xs, ys, 7, loss)
            worst["task gradient"] = max(worst["task gradient"], difference(gradient, theirs))
    return worst


def steps_against_torch() -> dict[str, float]:
    """Worst error of the states of 50 steps of LSTM and GRU, weights copied to PyTorch."""
    worst = {}
    for cell_class, network_class in ((lf.LSTM, torch.nn.LSTM), (lf.GRU, torch.nn.GRU)):
        rng = np.random.default_rng(0)
        cell, x = random_cell(cell_class, 10, rng), rng.standard_normal((50, 4, 2))
        network = network_class(2, 10, dtype=torch.float64)
        hidden_bias = np.zeros_like(cell.b)
        if cell_class is lf.GRU:
            hidden_bias[2] = cell.b_n
        with torch.no_grad():
            for name, array in (
                ("weight_hh", cell.W),
                ("weight_ih", cell.V),
                ("bias_ih", cell.b),
                ("bias_hh", hidden_bias),
            ):
                parameter = getattr(network, f"{name}_l0")
                parameter.copy_(torch.from_numpy(array.reshape(parameter.shape)))
            theirs, last = network(torch.from_numpy(x))
        ours = lf.trajectory(cell, x)
        worst[cell_class.__name__] = difference(ours[:, :, :10], theirs.numpy())
        if cell_class is lf.LSTM:
            worst["LSTM"] = max(worst["LSTM"], difference(ours[-1, :, 10:], last[1][0].numpy()))
    return worst


def main() -> int:
    found = {
        cls.__name__: errors(cls) for cls in (lf.TanhRNN, lf.ReluRNN, lf.LinearRNN, lf.LSTM, lf.GRU)
    }
    for name, error in steps_against_torch().items():
        found[name]["states (PyTorch)"] = error
    quantities = list(found["GRU"])
    table = Table(
        "cell", *quantities, title="Worst relative error against JAX and PyTorch, float64"
    )
    for name, worst in found.items():
        table.add_row(
            name,
            *(f"{worst[quantity]:.1e}" if quantity in worst else "" for quantity in quantities),
        )
    Console().print(table)
    return any(error > LIMIT for worst in found.values() for error in worst.values())


if __name__ == "__main__":
    sys.exit(main())
