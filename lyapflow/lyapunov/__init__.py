"""Lyapunov spectra through time: the forward sweep, its reverse, and what is read off them."""
