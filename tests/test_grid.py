"""Grids of settings: which runs they stand for, and what their folders are called."""

import itertools

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.runs.grid import names, recipes
from lyapflow.runs.recipe import Recipe


def settings(runs, *of):
    return [tuple(getattr(run, name) for name in of) for run in runs]


def test_lists_are_combined_and_the_last_varies_fastest():
    runs = recipes({"delay": [20, 40], "units": 7, "seed": range(3)})
    assert settings(runs, "delay", "seed") == list(itertools.product([20, 40], range(3)))
    assert {run.units for run in runs} == {7}


def test_ranges_have_both_ends():
    grid = {"seed": {"from": 2, "to": 4}, "gain": {"from": 0.1, "to": 0.7, "step": 0.1}}
    runs = recipes(grid)
    assert {run.seed for run in runs} == {2, 3, 4}
    assert sorted({run.gain for run in runs}) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert settings(recipes({"delay": {"from": 10, "to": 25, "step": 10}}), "delay") == [
        (10,),
        (20,),
    ]


def test_zipped_lists_go_hand_in_hand():
    grid = {"zip": {"delay": [20, 40], "epochs": [100, 300]}, "seed": [0, 1]}
    found = settings(recipes(grid), "delay", "epochs", "seed")
    assert found == [(20, 100, 0), (20, 100, 1), (40, 300, 0), (40, 300, 1)]
    two = [{"delay": [20, 40], "k": [1, 2]}, {"lr": [0.1, 0.2], "clip": [0, 1]}]
    assert len(recipes({"zip": two})) == 4


def test_a_list_of_grids_is_their_union_and_each_run_stands_once():
    inner = [{"floss": "none", "delay": [20, 40]}, {"delay": [40, 60], "floss": ["none", "before"]}]
    runs = recipes({"units": 9, "delay": 10, "grid": inner})
    assert settings(runs, "delay", "floss") == [
        (20, "none"),
        (40, "none"),
        (40, "before"),
        (60, "none"),
        (60, "before"),
    ]
    assert runs == recipes([{"units": 9, **part} for part in inner])


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        """
        units = 9
        measure_every = "none"
        floss = ["none", "during"]
        seed = { from = 0, to = 1 }
        [[zip]]
        delay = [20, 40]
        floss_at = ["0", "0,500"]
        [[grid]]
        lr = 0.1
        [[grid]]
        lr = ["none", 0.1]
        """
    )
    zipped = [{"delay": [20, 40], "floss_at": [(0,), (0, 500)]}]
    common = {"units": 9, "measure_every": None, "floss": ["none", "during"], "seed": [0, 1]}
    grid = [{**common, "zip": zipped, "lr": lr} for lr in (0.1, [None, 0.1])]
    assert recipes(path) == recipes(grid)
    assert len(recipes(str(path))) == 16


def test_values_of_numpy():
    assert recipes({"gain": np.linspace(0.5, 1, 2), "seed": np.arange(2)}) == recipes(
        {"gain": [0.5, 1.0], "seed": [0, 1]}
    )
    with pytest.raises(lf.LyapflowError, match=r"seed must be an integer at least 0, got array\(3"):
        recipes({"seed": np.array(3)})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"dealy": 20}, "got 'dealy'; did you mean delay?"),
        ({"xyz": 20}, "got 'xyz'; the settings are task, delay, "),
        ({"delay": []}, "delay must have at least one value, got an empty list"),
        ([], "a list of grids must have at least one, got none"),
        ("no.toml", "cannot read the grid no.toml"),
        (3, "grid must be a list of grids, got 3"),
        ([3], "a grid must be a mapping from settings to values, got 3"),
        ({"grid": [{"grid": []}]}, "a grid must be a mapping from settings to values"),
        ({"zip": {"delay": [2, 4], "k": [1]}}, "must be of one length, got 2 of delay, 1 of k"),
        ({"zip": 3}, "zip must be a table of lists of one length, got 3"),
        ({"zip": {"k": [1, 2]}, "k": 3}, "k must stand once in a grid, got it twice"),
        ({"seed": {"first": 0}}, "a range of seed must have from, to and maybe step, got first"),
        ({"seed": {"from": 3, "to": 0}}, "a range of seed must go up, got from 3 to 0"),
        ({"seed": {"from": 0, "to": "x"}}, "to of seed must be a finite number, got 'x'"),
        ({"floss_at": [0, 500]}, "floss_at must be epochs separated by commas"),
        ({"cell": ["tanh", "rnn"]}, "cell must be one of 'tanh', "),
        ({"seed": range(1001)}, "the grid has 1001 runs, more than 1000; if so many are meant"),
        ({name: range(10**6) for name in ("seed", "k")}, "the grid has 1000000000000 runs"),
        # neither may be written out first, which takes all memory
        ({"seed": range(10**15)}, "seed must have at most 1000000 values, got 1e+15"),
        ({"seed": {"from": 0, "to": 10**15}}, "seed must have at most 1000000 values, got 1e+15"),
        ({"gain": {"from": 0, "to": 1e300, "step": 1e-300}}, "at most 1000000 values, got inf"),
        ({"seed": np.arange(4).reshape(2, 2)}, "seed must be an integer at least 0, got array"),
        ({"seed": np.array([[0, 1]])}, "seed must be an integer at least 0, got array"),
    ],
)
def test_grids_that_make_no_sense(grid, message):
    with pytest.raises(lf.LyapflowError) as caught:
        recipes(grid)
    assert message in str(caught.value)


def test_a_file_that_is_no_toml(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("delay = [20")
    with pytest.raises(lf.LyapflowError, match=r"^cannot read the grid .*grid.toml: "):
        recipes(path)


def test_many_runs_if_they_are_meant():
    assert len(recipes({"seed": range(1001)}, many=True)) == 1001


def test_folders_are_named_by_what_differs():
    runs = recipes({"units": 7, "floss_at": ["0,5", "none"], "seed": [3], "epochs": [10, 20]})
    expected = ["epochs=10,floss_at=0+5", "epochs=20,floss_at=0+5"]
    expected += ["epochs=10,floss_at=None", "epochs=20,floss_at=None"]
    assert names(runs) == [f"{text}-{run.digest()}" for text, run in zip(expected, runs)]
    assert names([Recipe()]) == [f"run-{Recipe().digest()}"]
