"""The measured quantities as a user of PyTorch would write them: eager loops, torch.linalg.qr, autograd, fused LSTM."""

import torch

import lyapflow as lf


def _tanh_tangent(cell, h, x, Q):
    a = torch.tanh(h)
    return cell.W @ a + cell.V @ x + cell.b, cell.W @ ((1 - a * a)[:, None] * Q)


def _elman_tangent(cell, a, x, Q):
    a = torch.tanh(cell.W @ a + cell.V @ x + cell.b)
    return a, (1 - a * a)[:, None] * (cell.W @ Q)


def _lstm_tangent(cell, state, x, Q):
    n = len(state) // 2
    h, c = state[:n], state[n:]
    W = cell.W.reshape(4 * n, n)
    a = W @ h + cell.V.reshape(4 * n, -1) @ x + cell.b.reshape(-1)
    gates = torch.sigmoid(a)
    i, f, _, o = gates.view(4, n)
    i_slope, f_slope, _, o_slope = (gates * (1 - gates)).view(4, n)
    g = torch.tanh(a[2 * n : 3 * n])
    p_i, p_f, p_g, p_o = (W @ Q[:n]).view(4, n, -1)
    c_next = f * c + i * g
    t = torch.tanh(c_next)
    q_c = (
        f[:, None] * Q[n:]
        + (i_slope * g)[:, None] * p_i
        + (f_slope * c)[:, None] * p_f
        + (i * (1 - g * g))[:, None] * p_g
    )
    q_h = (o_slope * t)[:, None] * p_o + (o * (1 - t * t))[:, None] * q_c
    return torch.cat([o * t, c_next]), torch.cat([q_h, q_c])


TANGENTS = {lf.TanhRNN: _tanh_tangent, lf.ElmanRNN: _elman_tangent, lf.LSTM: _lstm_tangent}


def _tensors(cell):
    return type(cell)(*(torch.from_numpy(a.copy()).requires_grad_() for a in cell))


def _exponents(tangent, cell, x, Q):
    h, growth = torch.zeros(Q.shape[0], dtype=Q.dtype), 0.0
    for driven in x:
        h, Q = tangent(cell, h, driven, Q)
        Q, R = torch.linalg.qr(Q)
        growth = growth + torch.log(torch.abs(torch.diagonal(R)))
    return growth / len(x)


def flossing(cell, x, Q):
    tangent, cell, x, Q = (
        TANGENTS[type(cell)],
        _tensors(cell),
        torch.from_numpy(x),
        torch.from_numpy(Q),
    )

    def run():
        loss = (_exponents(tangent, cell, x, Q) ** 2).sum()
        return loss, torch.autograd.grad(loss, list(cell), allow_unused=True)

    return run


def spectrum(cell, x, Q):
    tangent, cell, x, Q = (
        TANGENTS[type(cell)],
        _tensors(cell),
        torch.from_numpy(x),
        torch.from_numpy(Q),
    )

    @torch.no_grad
    def run():
        return _exponents(tangent, cell, x, Q)

    return run


def training(model, task, T, batch, lr, clip_norm, rng):
    dtype, m = torch.from_numpy(model.h0).dtype, model.cell.V.shape[-1]
    if isinstance(model.cell, lf.LSTM):
        network = torch.nn.LSTM(m, len(model.h0) // 2, dtype=dtype)
    else:
        network = torch.nn.RNN(m, len(model.h0), dtype=dtype)  # of a = tanh(h): the same work
    readout = torch.nn.Linear(network.hidden_size, 1, dtype=dtype)
    parameters = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr)

    def run():
        x, y, first = task.sample(rng, T, batch, model.h0.dtype)
        optimizer.zero_grad()
        z = readout(network(torch.from_numpy(x))[0][first:])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.from_numpy(y[first:]))
        loss.backward()
        for p in parameters:
            torch.nn.utils.clip_grad_norm_(p, clip_norm)
        optimizer.step()
        return loss.item()

    return run
