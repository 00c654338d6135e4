"""Lyapunov spectra through time. Its files, in the order in which they build on each other:

- `schedule`, `problem`: which steps do what; the checked arguments of all that follows
- `sweep`, `trajectory`: states, tangent block and log R, step by step; the states alone
- `growth` with `rank`: log R of one trajectory, however small or lost
- `layers`: a problem for each layer of a network, driven by the layer below
- `spectrum` with `interval`, `rounding`, `error_bars`, `doubts`, `dimension`: exponents
- `tape` with `resolution`, `pullback`, `flossing_loss`: the gradient of a loss on exponents
- `coefficients`, `vectors`: covariant vectors, from the same tape
- `condition`: what exponents predict
"""
