"""Flossing and spectra of PyTorch's recurrent modules, in their own layout."""

from lyapflow.interop.torch_hooks import Flossing, Monitor
from lyapflow.interop.torch_losses import Exponents, flossing_loss, lyapunov_spectrum

__all__ = ["Exponents", "Flossing", "Monitor", "flossing_loss", "lyapunov_spectrum"]
