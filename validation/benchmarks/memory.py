"""What checkpoints save and cost: N = 1000, k = 100, T = 2000 in float64, whose full tape takes 1.8 GB.

    python -m validation.benchmarks.memory

Runs the epoch in a process of its own for each budget, and prints time and the peak of the
process's memory above what it takes after a small epoch. Exit code 1 if gradients differ in a bit
or the default budget takes more than 400 MB. Eight minutes."""

import subprocess
import sys

from rich.console import Console
from rich.table import Table

EPOCH = """
import hashlib, resource, sys, time
import numpy as np, lyapflow as lf
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
n, k, T, memory = 1000, 100, 2000, float(sys.argv[1])
cell = lf.TanhRNN.random(n, 1, rng=np.random.default_rng(0))
x = np.random.default_rng(1).standard_normal((T, 1))
lf.flossing_value_and_grad(cell, x[:2], k, memory=0)
before, start = peak(), time.perf_counter()
_, gradient, _ = lf.flossing_value_and_grad(cell, x, k, memory=memory)
digest = hashlib.sha256(b"".join(a.tobytes() for a in gradient)).hexdigest()
print(time.perf_counter() - start, peak() - before, digest[:16])
"""


def main() -> int:
    table, found = Table("budget", "seconds", "MB above the interpreter", "gradient"), []
    for budget in (1e10, 256e6, 0.0):
        command = [sys.executable, "-c", EPOCH, str(budget)]
        seconds, megabytes, digest = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.split()
        found.append((float(megabytes), digest))
        table.add_row(
            f"{budget / 1e6:.0f} MB", f"{float(seconds):.1f}", f"{float(megabytes):.0f}", digest
        )
    Console().print(table)
    return len({digest for _, digest in found}) > 1 or found[1][0] > 400


if __name__ == "__main__":
    sys.exit(main())
