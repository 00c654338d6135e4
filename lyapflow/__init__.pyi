from . import plots
from ._engine.pool import set_threads
from .cells.elman import ElmanReluRNN, ElmanRNN
from .cells.gru import GRU
from .cells.gru_reset_before import GRUResetBefore
from .cells.layers import Layers, layers
from .cells.linear import LinearRNN
from .cells.linearisation import jacobian
from .cells.lstm import LSTM
from .cells.rate import RateRNN
from .cells.relu import ReluRNN
from .cells.tanh import TanhRNN
from .certificate import Audit, audit
from .citation import citation
from .ensemble import stack
from .errors import Diverged, LyapflowError, LyapflowWarning
from .interop.gates import from_gates
from .interop.keras import from_keras, to_keras
from .interop.onnx import from_onnx
from .interop.torch import from_torch, to_torch
from .learning import penalties, tasks
from .learning.adam import Adam
from .learning.bptt import bptt_value_and_grad
from .learning.closed_loop import closed_loop
from .learning.flossing import Flossing, floss
from .learning.model import Model
from .learning.outputs import outputs
from .learning.recommended import recommended
from .linalg.stacks import qr, qr_pullback
from .lyapunov.condition import predicted_condition
from .lyapunov.finite_time import FiniteTime
from .lyapunov.flossing_loss import flossing_value_and_grad
from .lyapunov.measured import Spectrum
from .lyapunov.product import product_spectrum
from .lyapunov.reach import Reach, gradient_reach
from .lyapunov.spectrum import lyapunov_spectrum
from .lyapunov.trajectory import trajectory
from .lyapunov.vectors import CovariantVectors, covariant_vectors
from .precision.condition import ConditionNumber, condition_number
from .runs.collect import collect
from .runs.folder import RunFolder
from .runs.master import Swept
from .runs.resumable import resumable_spectrum
from .runs.sweep import sweep
from .runs.train import resume, train
from .runs.weights import digest, load, save

__version__: str

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
    "citation",
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
    "plots",
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
