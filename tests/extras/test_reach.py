"""How far gradients reach, against PyTorch's autograd."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import lyapflow as lf


def last_state(module, inputs, h):
    gated = isinstance(module, nn.LSTM)
    parts = tuple(part[None, None] for part in h.split(5))
    _, last = module(inputs, parts if gated else parts[0])
    return torch.cat([part.ravel() for part in (last if gated else [last])])


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_reach_is_that_of_autograd(kind):
    torch.manual_seed(0)
    module = kind(2, 5).double()
    x = np.random.default_rng(0).standard_normal((40, 2))
    cell = lf.from_torch(module)
    found = lf.gradient_reach(cell, x, [1, 4, 12], times=3)
    states = np.vstack([np.zeros((1, found.log_singular_values.shape[2])), lf.trajectory(cell, x)])
    for a, t in enumerate((12, 26, 40)):
        for i, lag in enumerate((1, 4, 12)):
            inputs = torch.from_numpy(x[t - lag : t, None])
            M = torch.autograd.functional.jacobian(
                partial(last_state, module, inputs), torch.from_numpy(states[t - lag].copy())
            )
            sigma = np.linalg.svd(M.numpy(), compute_uv=False)
            logs = found.log_singular_values[a, i]
            there = ~np.isnan(logs)
            np.testing.assert_allclose(np.exp(logs[there]), sigma[there], rtol=1e-9, atol=1e-14)
