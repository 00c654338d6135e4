"""Lyapunov spectra of recurrent networks: measured, with exact gradients, and controlled (gradient flossing)."""

import lazy_loader

from lyapflow._version import __version__ as __version__

# what is public stands in __init__.pyi; it is imported where it is first used, so that a command that
# computes nothing starts at once
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
