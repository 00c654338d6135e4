"""Run the demo under two instruction sets, and under the settings that make them agree.

    python -m validation.instruction_sets

Those settings, `PORTABLE`, fix the processor that OpenBLAS and Numba choose their instructions for.
What is left, NumPy and the C library, is then made to choose as on a processor without AVX-512.
Digests must agree; that of this processor's own instructions is shown beside them. Six minutes on
two cores."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import numpy as np

PORTABLE = {"OPENBLAS_CORETYPE": "Haswell", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def without_avx512() -> dict[str, str]:
    """What makes NumPy and the C library do without it."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[index,call-overload]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            name for name in found if name.startswith(("AVX512", "X86_V4"))
        ),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW",
    }


def demo(environment: Mapping[str, str]) -> list[str]:
    """The digests that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", "from lyapflow.cli import main; main()", "demo"],
            env={**os.environ, **environment},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    return re.findall(r"^digest .*: ([0-9a-f]{16})$", done.stdout, re.MULTILINE)


def main() -> int:
    cases = {
        "this processor's instructions": {},
        "portable": PORTABLE,
        "portable, nothing with AVX-512": PORTABLE | without_avx512(),
        "portable, one thread": PORTABLE | ONE_THREAD,
    }
    found = {}
    for name, environment in cases.items():
        begun = time.perf_counter()
        found[name] = demo(environment)
        print(
            f"{name:32s} {' '.join(found[name])}   {time.perf_counter() - begun:.0f} s", flush=True
        )
    same = {tuple(digests) for name, digests in found.items() if name.startswith("portable")}
    print("the portable digests agree" if len(same) == 1 else "the portable digests differ")
    return len(same) != 1 or not all(map(len, same))


if __name__ == "__main__":
    sys.exit(main())
