"""First Lyapunov exponents driven to targets, and whole spectra flossed (paper, Fig. 1B-D and 6).

    python -m validation.targets

N = 32, ten networks per row, Gaussian input of unit variance, fresh in every epoch. λ₁ is measured before every update
on one held-out input per network, of 1000 steps: the epoch in which it first comes within 0.02 of the target, and
whether it stays. Tanh and LSTM networks have gains ~ Unif(0, 1), ReLU networks Unif(0, 2), so that some are unstable at
first. Then tanh networks with k = 1, 16 and 32 exponents flossed to 0. Writes lyapflow-targets.png. Exit code 1 unless
the targets 0 and -0.5 are reached within 100 epochs by at least eight of ten tanh networks, and 0 by eight of ten ReLU
and LSTM networks, the unstable ReLU networks among them. Six minutes.
"""

from typing import NamedTuple

import numpy as np

import lyapflow as lf

N, NETWORKS, STEPS, TOLERANCE = 32, 10, 100, 0.02
HELD_OUT, TRANSIENT = 1000, 20


class Course(NamedTuple):
    """Epochs by networks: λ₁ on the held-out input; epochs by networks: the flossing loss; spectra at the end."""

    exponent: np.ndarray
    loss: np.ndarray
    spectra: np.ndarray


def networks(cell_class: type, largest_gain: float) -> lf.cells.ensemble.Ensemble:
    cells = []
    for seed in range(NETWORKS):
        rng = np.random.default_rng([1, seed])
        gain = {} if cell_class is lf.LSTM else {"g": largest_gain * rng.random()}  # an LSTM draws its own
        cells.append(cell_class.random(N, 1, rng=rng, **gain))
    return lf.stack(cells)


def inputs(purpose: int, epoch: int, steps: int) -> np.ndarray:
    """One input per network."""
    return np.stack(
        [np.random.default_rng([purpose, seed, epoch]).standard_normal((steps, 1)) for seed in range(NETWORKS)]
    )


def floss(cells, k: int, target: float, rate: float, epochs: int) -> Course:
    """Floss an ensemble, looking at it before every update."""
    held_out = inputs(2, 0, HELD_OUT)
    optimizer = lf.Adam(rate)
    state = optimizer.init(cells)
    exponent, losses = [], []
    for epoch in range(epochs + 1):
        spectrum = lf.lyapunov_spectrum(cells, held_out, 1, q_transient=TRANSIENT)
        exponent.append(spectrum.exponents[:, 0])
        loss, gradient, _ = lf.flossing_value_and_grad(
            cells, inputs(3, epoch, STEPS), k, target=target, q_transient=TRANSIENT
        )
        losses.append(loss)
        cells, state = optimizer.update(state, cells, gradient)
    spectra = lf.lyapunov_spectrum(cells, held_out, q_transient=TRANSIENT).exponents
    return Course(np.array(exponent), np.array(losses), spectra)
