"""The largest exponent of large autonomous tanh networks against mean-field theory.

    python -m validation.mean_field

W ~ N(0, g²/n), no input, g = 2: as n grows λ₁ must approach ln g + ½ ln<sech⁴ h>, h ~ N(0, σ²), σ²
= g²<tanh² h>. Three networks per size, 4000 steps. Exit code 1 if an error exceeds 4/n. Ten
seconds."""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from tests.exact_systems import mean_field_exponent


def main() -> int:
    theory = mean_field_exponent(2.0)
    table = Table(
        "n", "λ₁ - theory, three networks", "standard errors", title=f"g = 2, theory {theory:.6f}"
    )
    holds = True
    for n in (250, 500, 1000):
        spectra = []
        for seed in range(3):
            rng = np.random.default_rng([n, seed])
            cell = lf.TanhRNN.random(n, 0, rng=rng, g=2.0)
            h0 = 2 * rng.standard_normal(n)
            x = np.empty((4000, 0))
            spectra.append(lf.lyapunov_spectrum(cell, x, 1, h0=h0, transient=200, q_transient=100))
        errors = [float(s.exponents[0] - theory) for s in spectra]
        holds &= max(map(abs, errors)) < 4 / n
        stderr = (f"{s.stderr[0]:.4f}" for s in spectra)
        table.add_row(str(n), ", ".join(f"{error:+.4f}" for error in errors), ", ".join(stderr))
    Console().print(table)
    return not holds


if __name__ == "__main__":
    sys.exit(main())
