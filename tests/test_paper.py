"""The tables of the paper's runs, and the page that is made of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from lyapflow.learning.history import History, Log, TrainingRecord
from lyapflow.runs.grid import recipes
from lyapflow.runs.sweep_folder import Status
from validation.paper.figures import TITLES, figure
from validation.paper.grids import groups
from validation.paper.page import PAGE, page
from validation.paper.sizes import SIZES
from validation.paper.tables import Tables, name_of, reached, windows


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


def test_a_network_that_breaks_down_is_a_result_and_a_machine_that_fails_is_none(tmp_path):
    tables = Tables("night")
    tables.folder = tmp_path
    broken, lost = recipes(tables.groups["gain"].grids, many=True)[:2]
    ends = {
        "broken": Status("failed", reason="epoch 0: the tangent block lost rank"),
        "lost": Status("failed", reason="out of memory: 1 GB"),
    }
    folder = SimpleNamespace(
        path=tmp_path, runs=lambda: {"broken": broken, "lost": lost}, status=ends.get
    )
    tables._take_in("gain", folder)
    (row,) = tables.runs("gain").to_dict("records")
    assert row["run"] == name_of(broken)
    assert row["accuracy"] == 0.0
    assert row["failed"] == "epoch 0: the tangent block lost rank"
