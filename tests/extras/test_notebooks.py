"""The tutorials run as notebooks, cell by cell, as they do for somebody who opens them in Jupyter."""

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_docs import ROOT, TUTORIALS

# a warning in a tutorial is one that its text would have to explain
STRICT = 'import warnings, lyapflow; warnings.simplefilter("error", lyapflow.LyapflowWarning)'


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorial(page, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = jupytext.read(page)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert cells
    for cell in cells:
        assert cell.outputs, cell.source
