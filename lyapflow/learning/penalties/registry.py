"""The penalties of the package. A new one has a file of its own, and a line here."""

from typing import Any

from lyapflow.learning.penalties.exponents import Exponents
from lyapflow.learning.penalties.one_step import OneStepJacobian
from lyapflow.learning.penalties.spectral_radius import SpectralRadius

# by the word that names a penalty on the command line
PENALTIES: dict[str, Any] = {
    "exponents": Exponents,
    "spectral-radius": SpectralRadius,
    "one-step-jacobian": OneStepJacobian,
}
# and by the name of its class, as in files
CLASSES: dict[str, Any] = {penalty.__name__: penalty for penalty in PENALTIES.values()}
