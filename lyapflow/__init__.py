"""Lyapunov spectra of recurrent networks: measured, with exact gradients, and controlled (gradient flossing)."""

from lyapflow._engine.pool import set_threads
from lyapflow._version import __version__ as __version__
from lyapflow.cells.elman import ElmanReluRNN, ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.layers import Layers, layers
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.linearisation import jacobian
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.rate import RateRNN
from lyapflow.cells.relu import ReluRNN
from lyapflow.cells.tanh import TanhRNN
from lyapflow.certificate import Audit, audit
from lyapflow.ensemble import stack
from lyapflow.errors import Diverged, LyapflowError, LyapflowWarning
from lyapflow.interop.gates import from_gates
from lyapflow.interop.keras import from_keras, to_keras
from lyapflow.interop.onnx import from_onnx
from lyapflow.interop.torch import from_torch, to_torch
from lyapflow.learning import penalties, tasks
from lyapflow.learning.adam import Adam
from lyapflow.learning.bptt import bptt_value_and_grad
from lyapflow.learning.closed_loop import closed_loop
from lyapflow.learning.flossing import Flossing, floss
from lyapflow.learning.model import Model
from lyapflow.learning.outputs import outputs
from lyapflow.learning.recommended import recommended
from lyapflow.linalg.stacks import qr, qr_pullback
from lyapflow.lyapunov.condition import predicted_condition
from lyapflow.lyapunov.finite_time import FiniteTime
from lyapflow.lyapunov.flossing_loss import flossing_value_and_grad
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.lyapunov.product import product_spectrum
from lyapflow.lyapunov.reach import Reach, gradient_reach
from lyapflow.lyapunov.spectrum import lyapunov_spectrum
from lyapflow.lyapunov.trajectory import trajectory
from lyapflow.lyapunov.vectors import CovariantVectors, covariant_vectors
from lyapflow.precision.condition import ConditionNumber, condition_number
from lyapflow.runs.collect import collect
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.master import Swept
from lyapflow.runs.resumable import resumable_spectrum
from lyapflow.runs.sweep import sweep
from lyapflow.runs.train import resume, train
from lyapflow.runs.weights import digest, load, save

__all__ = [
    "GRU",
    "LSTM",
    "Adam",
    "Audit",
    "ConditionNumber",
    "CovariantVectors",
    "Diverged",
    "ElmanRNN",
    "ElmanReluRNN",
    "FiniteTime",
    "Flossing",
    "GRUResetBefore",
    "Layers",
    "LinearRNN",
    "LyapflowError",
    "LyapflowWarning",
    "Model",
    "RateRNN",
    "Reach",
    "ReluRNN",
    "RunFolder",
    "Spectrum",
    "Swept",
    "TanhRNN",
    "audit",
    "bptt_value_and_grad",
    "closed_loop",
    "collect",
    "condition_number",
    "covariant_vectors",
    "digest",
    "floss",
    "flossing_value_and_grad",
    "from_gates",
    "from_keras",
    "from_onnx",
    "from_torch",
    "gradient_reach",
    "jacobian",
    "layers",
    "load",
    "lyapunov_spectrum",
    "outputs",
    "penalties",
    "predicted_condition",
    "product_spectrum",
    "qr",
    "qr_pullback",
    "recommended",
    "resumable_spectrum",
    "resume",
    "save",
    "set_threads",
    "stack",
    "sweep",
    "tasks",
    "to_keras",
    "to_torch",
    "train",
    "trajectory",
]
