"""Chaotic rate networks against published values of 4096 units.

    python -m validation.rate_networks

``h' = (1 - δ) h + δ J tanh(h)``, J ~ N(0, g²/N), g = 3, without input. Engelken, Wolf and Abbott (2023), *Lyapunov
spectra of chaotic recurrent neural networks*, Phys. Rev. Research 5, 043044, have at N = 4096: λ₁ = 0.2145 per unit
of time for δ = 0.5; for δ = 1 λ₁ = 0.3096 per step, the Kaplan-Yorke dimension 0.2872 N and the entropy rate 0.02511 N.

Smaller networks differ from these by more than their error bars: λ₁ at δ = 0.5 grows with N throughout. So largest
exponents are compared at N = 4096, where they must lie within 3 of their standard errors, and the two that take the
spectrum at N = 1024, where they must lie within 2 %. Exit code 1 if not. A quarter of an hour."""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf

GAIN, TRANSIENT = 3.0, 500
# of each N: networks and steps for the largest exponent
LARGEST = {256: (16, 6000), 512: (12, 6000), 1024: (8, 6000), 2048: (3, 4000), 4096: (2, 3000)}
PUBLISHED = {0.5: 0.2145, 1.0: 0.3096}  # λ₁ per unit of time at N = 4096, by δ
SPECTRA, STEPS, K = 4, 1500, 400  # whole spectra, of 1024 units
NEAR = 0.02


def spectrum(n: int, delta: float, seed: int, steps: int, k: int) -> lf.Spectrum:
    rng = np.random.default_rng([n, seed])
    cell = lf.RateRNN.random(n, 0, rng=rng, g=GAIN, leak=delta)
    h0 = GAIN * rng.standard_normal(n)
    times = {"steps": steps, "transient": TRANSIENT, "q_transient": 200}
    return lf.lyapunov_spectrum(cell, k=k, h0=h0, **times).per(delta)


def main() -> int:
    table = Table("quantity", "N", "published, N = 4096", "found", "standard error", "off")
    holds = True
    for delta, published in PUBLISHED.items():
        for n, (count, steps) in LARGEST.items():
            found = [spectrum(n, delta, seed, steps, 1) for seed in range(count)]
            values = [s.exponents[0] for s in found]
            # of the networks' scatter, and of the time that each was run for
            scatter = np.std(values, ddof=1) / np.sqrt(count)
            error = max(scatter, np.linalg.norm([s.stderr[0] for s in found]) / count)
            off = (np.mean(values) - published) / error
            holds &= n < max(LARGEST) or bool(abs(off) < 3)
            shown = f"{np.mean(values):.4f}", f"{error:.4f}", f"{off:+.1f} standard errors"
            table.add_row(f"λ₁ per time, δ = {delta:g}", str(n), f"{published}", *shown)
    spectra = [spectrum(1024, 1.0, seed, STEPS, K) for seed in range(SPECTRA)]
    for name, published, values in (
        ("Kaplan-Yorke dimension / N", 0.2872, [s.kaplan_yorke_dimension for s in spectra]),
        ("entropy rate / N", 0.02511, [s.entropy_rate for s in spectra]),
    ):
        mean, error = np.mean(values) / 1024, np.std(values, ddof=1) / 1024 / np.sqrt(SPECTRA)
        off = mean / published - 1
        holds &= bool(abs(off) < NEAR)
        shown = f"{mean:.5f}", f"{error:.5f}", f"{100 * off:+.1f} %"
        table.add_row(f"{name}, δ = 1", "1024", f"{published}", *shown)
    Console(width=120).print(table)
    return not holds


if __name__ == "__main__":
    sys.exit(main())
