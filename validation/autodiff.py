"""Every cell, layers and closed loops against other libraries, in float64.

    python -m pip install ".[validation]" && python -m validation.autodiff

Exponents, the gradients of flossing, of one-step Jacobians' singular values and of tasks, in all parameters and in the
input, against JAX's automatic differentiation of the plain equations, and steps of LSTM and GRU against PyTorch's
with copied weights. Prints the worst error per cell and quantity, relative to its largest entry,
over sizes, t_ons, transients, targets and losses. Exit code 1 if one exceeds 1e-9. Some forty
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
from lyapflow.cells.layers import each_layer
from lyapflow.cells.registry import CLASSES
from tests.gradcheck import next_state as equations
from tests.gradcheck import units_of

LIMIT = 1e-9
TIMINGS = [(1, 0, 0), (1, 3, 4), (3, 0, 5), (4, 2, 7)]  # t_ons, transient, q_transient

jax.config.update("jax_enable_x64", True)


next_state = functools.partial(equations, xp=jnp)


def exponents(cell, x, h, q, t_ons, transient, q_transient):
    """The first k exponents, with the Jacobian by automatic differentiation as well, and the states."""
    total, since, counting, states = 0.0, 0, transient + q_transient, []
    for t, driven in enumerate(x):
        if t >= transient:
            q = jax.jacfwd(next_state, argnums=1)(cell, h, driven) @ q
            since += 1
            if since == t_ons or t + 1 in (counting, len(x)):
                q, r = jnp.linalg.qr(q)
                total += jnp.log(jnp.abs(jnp.diag(r))) * (t >= counting)
                since = 0
        h = next_state(cell, h, driven)
        states.append(h)
    return total / (len(x) - counting), jnp.stack(states)


def exponents_of_all(cell, x, h, blocks, *timing):
    """Those of each layer along its own trajectory, from a block for each."""
    found, start = [], 0
    for layer, block in zip(each_layer(cell), blocks):
        size = sizes(layer)
        own, states = exponents(layer, x, h[start : start + size.state], block, *timing)
        found.append(own)
        x, start = states[:, : size.units], start + size.state
    return jnp.concatenate(found)


def flossing_loss(cell, x, h, blocks, target, *timing):
    return jnp.sum((exponents_of_all(cell, x, h, blocks, *timing) - target) ** 2)


def one_step_loss(cell, x, h, k, target, transient):
    total = 0.0
    for t, driven in enumerate(x):
        if t >= transient:
            D = jax.jacfwd(next_state, argnums=1)(cell, h, driven)
            sigma = jnp.linalg.svd(D, compute_uv=False)[:k]  # those behind may be 0
            total += jnp.sum((jnp.log(sigma) - target) ** 2)
        h = next_state(cell, h, driven)
    return total / (len(x) - transient)


def task_loss(model, x, y, first, loss):
    def scored(h, driven):
        h = jax.vmap(next_state, (None, 0, 0))(model.cell, h, driven)
        shown = units_of(model.cell, h.T).T
        return h, shown[:, : model.W_out.shape[1]] @ model.W_out.T + model.b_out

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
    error = max(np.abs(a - b).max() for a, b in zip(ours, theirs) if a.size)
    if scale == 0.0:  # a ReLU network's exponents, piecewise, do not depend on its input
        return 0.0 if error == 0.0 else np.inf
    return error / scale if np.isfinite(error) else np.inf


def random_cell(cell_class, n, rng, m=2):
    """With weights and biases of a size that matters, and most units of a ReLU network active."""
    cell = cell_class.random(n, m, rng=rng)
    scale = (cell.W.ndim == 3) / np.sqrt(n)  # gates, some of which have no weights
    cell = cell._replace(W=cell.W + scale * rng.standard_normal(cell.W.shape))
    others = {
        name: 0.5 * rng.standard_normal(getattr(cell, name).shape)
        for name in cell._fields
        if name[0] == "b"
    }
    if cell_class in (lf.ReluRNN, lf.ElmanReluRNN):
        others["b"] = 1 + np.abs(others["b"])
    if "leak" in cell._fields:
        others["leak"] = rng.uniform(0.3, 1.0, n)
    return cell._replace(**others)


def random_layers(kinds, n, rng, m=2):
    """Layers of n units and fewer."""
    inputs = (m, *range(n, 0, -1))
    return lf.layers(*(random_cell(kind, n - i, rng, inputs[i]) for i, kind in enumerate(kinds)))


def random_loop(kinds, n, rng):
    """A cell, or layers, fed an output of its own beside two inputs."""
    cell = random_layers(kinds, n, rng, 3) if len(kinds) > 1 else random_cell(*kinds, n, rng, 3)
    model = lf.Model.random(cell, 1, rng=rng)
    # what a state without bounds says of itself must not grow without bounds
    model = model._replace(W_out=0.5 / np.sqrt(n) * model.W_out)
    return lf.closed_loop(model, external=2)


def errors(draw) -> dict[str, float]:
    """Worst error per quantity for cells that draw(n, rng=) makes."""
    worst = dict.fromkeys(
        ("exponents", "flossing gradient", "one-step gradient", "task gradient"), 0.0
    )
    gradient_of_flossing = jax.jit(
        jax.grad(flossing_loss, argnums=(0, 1)), static_argnums=(5, 6, 7)
    )
    gradient_of_steps = jax.jit(jax.grad(one_step_loss), static_argnums=(3, 5))
    gradient_of_task = jax.jit(jax.grad(task_loss, argnums=(0, 1)), static_argnums=(3, 4))
    for seed, (n, k, timing) in enumerate(
        (n, k, timing) for n, k in ((6, 3), (12, 5)) for timing in TIMINGS
    ):
        rng = np.random.default_rng(seed)
        cell = draw(n, rng=rng)
        n_state = sizes(cell).state
        x, h = 0.3 * rng.standard_normal((16, 2)), rng.standard_normal(n_state)
        options = dict(zip(("t_ons", "transient", "q_transient"), timing)) | {"h0": h}
        blocks, target, gradients, found = flossed(cell, x, k, rng, options)
        theirs = exponents_of_all(cell, x, h, blocks, *timing)
        worst["exponents"] = max(worst["exponents"], difference(found, theirs))
        theirs = gradient_of_flossing(cell, x, h, blocks, target, *timing)
        worst["flossing gradient"] = max(
            worst["flossing gradient"], *map(difference, gradients, theirs)
        )

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
            options = {"first": 7, "loss": loss, "input_gradient": True}
            _, *gradients = lf.bptt_value_and_grad(model, xs, ys, **options)
            theirs = gradient_of_task(model, xs, ys, 7, loss)
            worst["task gradient"] = max(
                worst["task gradient"], *map(difference, gradients, theirs)
            )
    return worst


def flossed(cell, x, k, rng, options):
    """Blocks, targets, gradients in cell and input, and exponents, of as many as there are up to k a layer."""
    layers = each_layer(cell)
    blocks = [lf.qr(rng.standard_normal((sizes(layer).state, k)))[0] for layer in layers]
    target = rng.standard_normal(k * len(layers))
    options = options | {"target": target, "input_gradient": True}
    several = len(layers) > 1
    try:
        given = options | {"q0": blocks if several else blocks[0]}
        _, gradient, found, x_bar = lf.flossing_value_and_grad(cell, x, k, **given)
    except lf.Diverged as error:  # silent units
        if several:
            raise
        k = error.rank
        blocks, target = [blocks[0][:, :k]], target[:k]
        given = options | {"q0": blocks[0], "target": target}
        _, gradient, found, x_bar = lf.flossing_value_and_grad(cell, x, k, **given)
    return blocks, target, (gradient, x_bar), found


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


LAYERS = ((lf.LSTM, lf.TanhRNN), (lf.GRU, lf.RateRNN, lf.ElmanRNN))
LOOPS = ((lf.TanhRNN,), (lf.LSTM,), (lf.GRU,), (lf.GRUResetBefore, lf.RateRNN))


def main() -> int:
    drawn = {
        cell_class.__name__: functools.partial(random_cell, cell_class)
        for cell_class in CLASSES.values()
    }
    for kind, draw, every in (
        ("layers", random_layers, LAYERS),
        ("closed loop", random_loop, LOOPS),
    ):
        for kinds in every:
            names = ", ".join(of.__name__ for of in kinds)
            drawn[f"{kind}: {names}"] = functools.partial(draw, kinds)
    found = {}
    for name, draw in drawn.items():
        found[name] = errors(draw)
        print(name, flush=True)
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
