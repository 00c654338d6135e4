"""The machine room: Numba, threads and processors. It knows no matrix and no network; README.md has the contracts."""
