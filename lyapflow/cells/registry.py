"""The cells of the package. A new one has a file of its own, and a line here."""

from typing import Any

from lyapflow.cells.elman import ElmanReluRNN, ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.rate import RateRNN
from lyapflow.cells.relu import ReluRNN
from lyapflow.cells.tanh import TanhRNN

# by the word that names a cell on the command line
CELLS: dict[str, Any] = {
    "tanh": TanhRNN,
    "relu": ReluRNN,
    "linear": LinearRNN,
    "rate": RateRNN,
    "elman": ElmanRNN,
    "elman-relu": ElmanReluRNN,
    "lstm": LSTM,
    "gru": GRU,
    "gru-reset-before": GRUResetBefore,
}
# and by the name of its class, as in files
CLASSES: dict[str, Any] = {cell_class.__name__: cell_class for cell_class in CELLS.values()}
