"""Networks in arbitrary precision: nothing here shares code with the kernels, so that it can disagree with them."""
