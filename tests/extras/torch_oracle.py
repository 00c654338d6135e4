"""Exponents of PyTorch's recurrent modules by PyTorch alone: its own states, Jacobians and QR, differentiable."""

import numpy as np
import torch

from lyapflow.lyapunov.problem import default_block


def flat(state):
    """A module's state as one vector of each layer, (layers, n_state)."""
    h, c = state if isinstance(state, tuple) else (state, None)
    return h if c is None else torch.cat([h, c], dim=-1)


def step(module, states, x):
    """The next states (layers, n_state) of one sequence."""
    n = module.hidden_size
    lstm = isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell))
    hx = (states[:, :n].contiguous(), states[:, n:].contiguous()) if lstm else states
    if not hasattr(module, "num_layers"):
        hx = (hx[0][0], hx[1][0]) if lstm else hx[0]
        out = module(x, hx)
        return flat(out)[None] if lstm else out[None]
    return flat(module(x[None], hx)[1])


def exponents(module, x, k, q_transient=0):
    """Those of the layers of x (T, B, m), averaged over B, the bottom layer's first; and of each trajectory."""
    lstm = isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell))
    depth = getattr(module, "num_layers", 1)
    size = module.hidden_size * (1 + lstm)
    found = []
    for b in range(x.shape[1]):
        states = x.new_zeros(depth, size)
        block = torch.from_numpy(default_block(size, k, np.dtype(float)).copy()).T.to(x.dtype)
        blocks, total = [block] * depth, [x.new_zeros(k)] * depth
        for t in range(len(x)):
            # block triangular over layers: those on the diagonal drive a layer's own exponents
            D = torch.func.jacrev(lambda s, t=t, b=b: step(module, s, x[t, b]))(states)
            for layer in range(depth):
                q, r = torch.linalg.qr(D[layer, :, layer] @ blocks[layer])
                blocks[layer] = q
                if t >= q_transient:
                    total[layer] = total[layer] + r.diagonal().abs().log()
            states = step(module, states, x[t, b])
        found.append(torch.cat(total) / (len(x) - q_transient))
    return torch.stack(found)
