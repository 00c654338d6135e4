"""The tables of the paper's runs, and the page that is made of them."""

import numpy as np
import pytest

from lyapflow.learning.history import History, Log, TrainingRecord
from lyapflow.runs.grid import recipes
from validation.paper.figures import TITLES, figure
from validation.paper.grids import groups
from validation.paper.page import PAGE, page
from validation.paper.sizes import SIZES
from validation.paper.tables import Tables, reached, windows


def history(accuracies):
    records = [TrainingRecord(e, 1.0 - a, a, 1e-3 * (e % 2)) for e, a in enumerate(accuracies)]
    return History(Log(records))


def test_the_page_says_what_the_tables_say():
    assert PAGE.read_text() == page(Tables("night"))


def test_what_a_run_has_reached():
    found = reached(history([0.5] * 150 + [0.96] * 200))
    assert found["accuracy"] == pytest.approx(0.96)
    assert found["loss"] == pytest.approx(0.04)
    assert (found["epochs_done"], found["epoch_solved"]) == (350, 300)
    assert np.isnan(reached(history([0.5] * 50))["epoch_solved"])


def test_windows_of_a_curve():
    table = windows(history([0.5] * 4 + [1.0] * 5), 4)
    assert list(table["epoch"]) == [4, 8]
    assert list(table["accuracy"]) == [0.5, 1.0]
    assert table["norm"].to_numpy() == pytest.approx([5e-4, 5e-4])
    assert table["largest_norm"].to_numpy() == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("size", SIZES)
def test_every_figure_has_its_runs(size):
    every = groups(SIZES[size])
    needed = {group for name in TITLES for group in getattr(figure(name), "GROUPS", ())}
    assert needed == set(every)
    for group in every.values():
        assert recipes(group.grids, many=True)
