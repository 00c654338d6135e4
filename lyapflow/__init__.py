"""Lyapunov spectra of recurrent networks: measured, differentiated by hand, and controlled (gradient flossing)."""

from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.linearisation import jacobian
from lyapflow.cells.tanh import TanhRNN
from lyapflow.linalg.qr import qr
from lyapflow.linalg.qr_pullback import qr_pullback
from lyapflow.lyapunov.forward import trajectory
from lyapflow.lyapunov.spectrum import Spectrum, flossing_value_and_grad, lyapunov_spectrum
