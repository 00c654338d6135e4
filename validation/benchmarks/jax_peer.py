"""The measured quantities as a user of JAX would write them: scan, jnp.linalg.qr, autodiff, everything under jit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import lyapflow as lf
from lyapflow.ensemble import Ensemble

jax.config.update("jax_enable_x64", True)


def _tanh_step(cell, h, x):
    return cell.W @ jnp.tanh(h) + cell.V @ x + cell.b


def _lstm_step(cell, state, x):
    h, c = jnp.split(state, 2)
    n = h.size
    a = cell.W.reshape(4 * n, n) @ h + cell.V.reshape(4 * n, -1) @ x + cell.b.reshape(-1)
    i, f, g, o = a.reshape(4, n)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c])


def _tanh_tangent(cell, h, x, Q):
    """By hand, as the paper's own code has it: faster than forward mode of the step."""
    return _tanh_step(cell, h, x), cell.W @ ((1 - jnp.tanh(h) ** 2)[:, None] * Q)


def _lstm_tangent(cell, h, x, Q):
    h_next, push = jax.linearize(partial(_lstm_step, cell, x=x), h)
    return h_next, jax.vmap(push, 1, 1)(Q)


STEPS = {lf.TanhRNN: (_tanh_step, _tanh_tangent), lf.LSTM: (_lstm_step, _lstm_tangent)}


def _exponents(tangent, cell, x, Q, uncounted=0):
    def move(carry, driven):
        h, Q = tangent(cell, carry[0], driven, carry[1])
        Q, R = jnp.linalg.qr(Q)
        return (h, Q), jnp.log(jnp.abs(jnp.diag(R)))

    start = jnp.zeros(Q.shape[0], Q.dtype), Q
    return jax.lax.scan(move, start, x)[1][uncounted:].mean(axis=0)


def _flossing_loss(tangent, cell, x, Q, uncounted=0):
    return jnp.sum(_exponents(tangent, cell, x, Q, uncounted) ** 2)


def flossing(cell, x, Q):
    """A call without arguments that does one epoch: value and gradient; of ensembles where arrays lead with members."""
    loss = partial(_flossing_loss, STEPS[_class(cell)][1])
    value_and_grad = jax.value_and_grad(loss)
    if np.ndim(x) == 3:
        value_and_grad = jax.vmap(value_and_grad, (0, 0, None))
    return _ready(
        jax.jit(value_and_grad),
        jax.tree.map(jnp.asarray, _arrays(cell)),
        jnp.asarray(x),
        jnp.asarray(Q),
    )


def spectrum(cell, x, Q):
    exponents = partial(_exponents, STEPS[_class(cell)][1])
    return _ready(
        jax.jit(exponents), jax.tree.map(jnp.asarray, cell), jnp.asarray(x), jnp.asarray(Q)
    )


def _task_loss(step, model, x, y, first):
    """Cross-entropy of targets from `first` on."""

    def scored(h, driven):
        h = jax.vmap(step, (None, 0, 0))(model.cell, h, driven)
        return h, h

    h0 = jnp.broadcast_to(model.h0, (x.shape[1], model.h0.size))
    h = jax.lax.scan(scored, h0, x)[1][first:, :, : model.W_out.shape[1]]
    z = h @ model.W_out.T + model.b_out
    return jnp.mean(jnp.logaddexp(0.0, z) - y[first:] * z)


def _adam(state, count, gradient, lr, clip_norm):
    """Clipped Adam: state of parameters, means and mean squares."""
    parameters, mean, square = state
    gradient = jax.tree.map(
        lambda g: g * jnp.minimum(1, clip_norm / (jnp.linalg.norm(g.ravel()) + 1e-30)), gradient
    )
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)

    def update(p, m, v):
        return p - lr * (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)

    return jax.tree.map(update, parameters, mean, square), mean, square


def _first_state(parameters):
    copied = jax.tree.map(lambda a: jnp.array(a, copy=True), parameters)
    return copied, *(jax.tree.map(jnp.zeros_like, copied) for _ in range(2))


def whole_run(model, delay, Q, epochs, floss_epochs, T, floss_T, uncounted, batch, lr, clip_norm):
    """A call that preflosses and trains on the binary XOR, each scanned on the device, data and all."""
    step, tangent = STEPS[type(model.cell)]
    dtype, Q = model.h0.dtype, jnp.asarray(Q)

    def drawn(key, steps, sequences):
        return jax.random.bernoulli(key, shape=(steps, sequences, 1)).astype(dtype)

    def floss(state, given):
        count, key = given
        x = drawn(key, floss_T, 1)[:, 0]
        gradient = jax.grad(partial(_flossing_loss, tangent))(state[0], x, Q, uncounted)
        return _adam(state, count, gradient, lr, clip_norm), None

    def learn(state, given):
        count, key = given
        x = drawn(key, T, batch)
        y = jnp.roll(x, delay // 2, 0) != jnp.roll(x, delay, 0)
        loss = partial(_task_loss, step, x=x, y=y.astype(dtype), first=delay)
        value, gradient = jax.value_and_grad(loss)(state[0])
        return _adam(state, count, gradient, lr, clip_norm), value

    @jax.jit
    def run(model):
        keys = jax.random.split(jax.random.key(0), floss_epochs + epochs)
        counts = jnp.arange(1, floss_epochs + epochs + 1).astype(dtype)
        before = counts[:floss_epochs], keys[:floss_epochs]
        (cell, *_), _ = jax.lax.scan(floss, _first_state(model.cell), before)
        after = counts[:epochs], keys[floss_epochs:]
        return jax.lax.scan(learn, _first_state(model._replace(cell=cell)), after)

    return _ready(run, jax.tree.map(jnp.asarray, model))


def training(model, task, T, batch, lr, clip_norm, rng):
    """A training epoch: data, gradient of the cross-entropy, clipped Adam."""
    loss = partial(_task_loss, STEPS[type(model.cell)][0])

    @partial(jax.jit, static_argnums=6, donate_argnums=(0, 1, 2))
    def epoch(model, mean, square, count, x, y, first):
        value, gradient = jax.value_and_grad(loss)(model, x, y, first)
        return *_adam((model, mean, square), count, gradient, lr, clip_norm), value

    dtype = model.h0.dtype
    state = _first_state(model)
    count = 0

    def run():
        nonlocal state, count
        count += 1
        x, y, first = task.sample(rng, T, batch, dtype)
        *state, value = epoch(*state, jnp.asarray(count, dtype), x, y, first)
        return float(value)

    return run


def _class(cell):
    return type(cell[0]) if isinstance(cell, Ensemble) else type(cell)


def _arrays(cell):
    """An ensemble as one cell whose arrays lead with the member axis."""
    cls = _class(cell)
    return cls(*(getattr(cell, field) for field in cls._fields))


def _ready(function, *arguments):
    return lambda: jax.block_until_ready(function(*arguments))
