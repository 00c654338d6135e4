"""How Python, Numba and processors are made to do it; knows no matrix and no network. README.md has the contracts."""
