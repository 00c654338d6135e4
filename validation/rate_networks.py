"""Chaotic rate networks of 1024 units against published values of 4096.

    python -m validation.rate_networks

``h' = (1 - δ) h + δ J tanh(h)``, J ~ N(0, g²/N), g = 3, without input. Engelken, Wolf and Abbott (2023), *Lyapunov
spectra of chaotic recurrent neural networks*, Phys. Rev. Research 5, 043044, have at N = 4096: λ₁ = 0.2145 per unit
of time for δ = 0.5; for δ = 1 λ₁ = 0.3096 per step, the Kaplan-Yorke dimension 0.2872 N and the entropy rate 0.02511 N.

Limits: means over the networks within 3 of their standard errors, from the scatter of the networks. Exit code 1 if
one is passed. Ten minutes."""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf

N, GAIN = 1024, 3.0
NETWORKS = {0.5: 8, 1.0: 4}  # by δ
K = {0.5: 1, 1.0: 400}
STEPS = {0.5: 6000, 1.0: 1500}
TRANSIENT = 500


def spectrum(delta: float, seed: int) -> lf.Spectrum:
    rng = np.random.default_rng(seed)
    cell = lf.RateRNN.random(N, 0, rng=rng, g=GAIN, leak=delta)
    h0 = GAIN * rng.standard_normal(N)
    times = {"steps": STEPS[delta], "transient": TRANSIENT, "q_transient": 200}
    return lf.lyapunov_spectrum(cell, k=K[delta], h0=h0, **times).per(delta)


def main() -> int:
    table = Table("quantity", "published", "found", "standard error", "off, in these")
    holds = True
    for delta, count in NETWORKS.items():
        found = [spectrum(delta, seed) for seed in range(count)]
        rows = {f"λ₁ per time, δ = {delta}": (0.2145, [s.exponents[0] for s in found])}
        if delta == 1.0:
            rows = {
                "λ₁ per step, δ = 1": (0.3096, [s.exponents[0] for s in found]),
                "Kaplan-Yorke dimension / N": (
                    0.2872,
                    [s.kaplan_yorke_dimension / N for s in found],
                ),
                "entropy rate / N": (0.02511, [s.entropy_rate / N for s in found]),
            }
        for name, (published, values) in rows.items():
            mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(count)
            off = (mean - published) / error
            holds &= bool(abs(off) < 3)
            table.add_row(name, f"{published}", f"{mean:.5f}", f"{error:.5f}", f"{off:+.1f}")
    Console(width=120).print(table)
    return not holds


if __name__ == "__main__":
    sys.exit(main())
