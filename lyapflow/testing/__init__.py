"""Checks of cells, and hypothesis strategies that draw them: what lyapflow's own tests use, for the tests of others."""

from lyapflow.testing.checks import check_cell
from lyapflow.testing.findings import CellError, Report
from lyapflow.testing.strategies import cells, inputs, states

__all__ = ["CellError", "Report", "cells", "check_cell", "inputs", "states"]
