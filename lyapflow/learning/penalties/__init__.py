"""Penalties: losses on a cell, which an episode descends, or which stand beside the task's loss."""

from lyapflow.learning.penalties.exponents import Exponents
from lyapflow.learning.penalties.one_step import OneStepJacobian
from lyapflow.learning.penalties.penalty import Penalty
from lyapflow.learning.penalties.spectral_radius import SpectralRadius

__all__ = ["Exponents", "OneStepJacobian", "Penalty", "SpectralRadius"]
