"""Learning: tasks, losses and their gradients, Adam, flossing and training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=("penalties", "tasks"))
