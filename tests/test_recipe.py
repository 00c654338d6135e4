"""Recipes: settings in words and numbers, by themselves and with each other."""

import dataclasses

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.learning.streams import stream
from lyapflow.runs.recipe import Recipe

SMALL = {"units": 6, "delay": 2, "steps": 12, "batch": 2, "epochs": 3}


def test_a_recipe_is_the_library():
    recipe = Recipe(
        **SMALL, task="spatial-xor", dtype="float32", seed=7, gain=0.5, clip=0, floss="none"
    )
    rng = stream(7, "weights")
    cell = lf.TanhRNN.random(6, 3, rng=rng, g=0.5, dtype=np.float32)
    start = lf.Model.random(cell, 1, rng=rng)
    assert lf.digest(recipe.start()) == lf.digest(start)
    training = recipe.training(start)
    assert (training.task, training.seed) == (lf.tasks.SpatialXOR(2), 7)
    assert (training.epochs, training.T, training.batch) == (3, 12, 2)
    assert training.optimizer == lf.Adam(1e-3)
    assert training.flossing is None


def test_every_setting_of_flossing_arrives():
    words = {"k": 3, "floss_epochs": 4, "floss_steps": 9, "floss_transient": 2, "floss_lr": 0.5}
    recipe = Recipe(**SMALL, **words, target=-0.5, t_ons=2, floss_at="2,0,2", measure_every=None)
    training = recipe.training(recipe.start())
    assert training.flossing == lf.Flossing(
        k=3,
        epochs=4,
        steps=9,
        q_transient=2,
        optimizer=lf.Adam(0.5),
        target=-0.5,
        t_ons=2,
        at=(0, 2),
    )
    assert training.measure_every is None
    assert Recipe(**SMALL, measure_vectors=4).training(recipe.start()).measure_vectors == 4


def test_items_are_those_of_the_task():
    recipe = Recipe(**SMALL | {"task": "item-copy", "delay": 4, "items": 2})
    assert recipe.training(recipe.start()).task == lf.tasks.ItemCopy(4, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exponents", lf.penalties.Exponents(3, -0.5, t_ons=2, q_transient=4)),
        ("spectral-radius", lf.penalties.SpectralRadius(np.exp(-0.5))),
        ("one-step-jacobian", lf.penalties.OneStepJacobian(3, -0.5, 4)),
    ],
)
def test_penalties_arrive(name, expected):
    words = {"k": 3, "target": -0.5, "t_ons": 2, "floss_transient": 4, "floss_epochs": 7}
    recipe = Recipe(
        **SMALL,
        **words,
        floss="before",
        floss_penalty=name,
        penalty=name,
        penalty_weight=0.1,
        penalty_every=2,
    )
    training = recipe.training(recipe.start())
    assert (training.penalty, training.weight, training.every) == (expected, 0.1, 2)
    assert training.flossing.descended == expected
    assert (training.flossing.epochs, training.flossing.at) == (7, (0,))
    assert training.flossing.optimizer == lf.Adam(1e-3)
    lf.train(recipe.start(), **vars(training))


def test_equal_settings_are_equal_however_they_are_written():
    written = Recipe(floss_at="500,0", gain=1, lr=1, seed=np.int64(3))
    assert written == Recipe(floss_at=[0, 500, 0], gain=1.0, lr=1.0, seed=3)
    assert written.digest() == Recipe(floss_at=(0, 500), lr=1.0, seed=3).digest()


def test_every_setting_but_the_epochs_changes_the_digest():
    others = {
        "task": "copy",
        "cell": "gru",
        "weights": "orthogonal",
        "dtype": "float32",
        "floss": "none",
        "floss_at": "7",
        "floss_penalty": "spectral-radius",
        "penalty": "exponents",
        "stop_at": 0.5,
        "leak": 0.5,
    }
    digests = [Recipe().digest()]
    for field in dataclasses.fields(Recipe):
        changed = dataclasses.replace(Recipe(), **{field.name: others.get(field.name, 2)})
        assert (changed.digest() == Recipe().digest()) == (field.name == "epochs")
        digests.append(changed.digest())
    assert len(set(digests)) == len(digests) - 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "nothing"}, "task must be one of 'copy', "),
        ({"cell": "nothing"}, "cell must be one of 'tanh', "),
        ({"delay": 1.5}, "delay must be an integer at least 1, got 1.5"),
        ({"units": True}, "units must be an integer at least 1, got True"),
        ({"gain": "1"}, "gain g must be a finite number at least 0.0, got '1'"),
        ({"target": np.nan}, "target must be a finite number, got nan"),
        ({"dtype": "float16"}, "dtype must be one of 'float64', 'float32', got 'float16'"),
        ({"floss": "always"}, "floss must be one of 'none', "),
        ({"floss_penalty": None}, "floss_penalty must be one of 'exponents', "),
        (
            {"penalty": "weights"},
            "penalty must be one of 'exponents', 'spectral-radius', 'one-step",
        ),
        ({"penalty_weight": 0}, "penalty_weight must be a finite number above 0"),
        ({"penalty_every": 0}, "penalty_every must be an integer at least 1"),
        ({"floss_at": 0}, 'floss_at must be epochs separated by commas, such as "0,500", got 0'),
        ({"floss_at": [0, "x"]}, "each epoch of floss_at must be an integer"),
        ({"stop_at": 95}, "stop_at must be a finite number at least 0.0 and at most 1.0, got 95"),
        ({"stop_window": 0}, "stop_window must be an integer at least 1, got 0"),
        ({"epochs": None}, "epochs must be an integer at least 1, got None"),
    ],
)
def test_a_setting_out_of_its_range(settings, message):
    with pytest.raises(lf.LyapflowError, match="^" + message.replace("(", r"\(")):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delay": 3}, "delay must be even"),
        ({"items": 2}, "items is a setting of item-copy, got 2 of binary-xor"),
        ({"items": 3, "task": "item-copy"}, "items must be an integer between 1 and 2 = delay"),
        ({"delay": 12}, "steps must be more than the delay, got 12 steps with a delay of 12"),
        ({"k": 7}, "k must be between 1 and 6, the length of the network's state, got 7"),
        (
            {"weights": "orthogonal", "cell": "gru"},
            "weights orthogonal is for tanh, linear, rate and elman",
        ),
        ({"floss_steps": 16}, "floss_steps must be longer than its transients, got 16 steps"),
        ({"floss_at": "0,3"}, "floss_at must be epochs from 0 to 2, got 0,3"),
        ({"penalty": "exponents"}, "penalty_weight is needed for the penalty exponents"),
        (
            {
                "penalty": "exponents",
                "penalty_weight": 1,
                "floss_steps": 80,
                "floss_transient": 55,
            },
            "floss_transient must be less than 55, the steps of the input of a penalty",
        ),
        ({"penalty_weight": 1}, "penalty_weight and penalty_every are of a penalty, got 1"),
        ({"penalty_every": 2}, "penalty_weight and penalty_every are of a penalty, got None and 2"),
        (
            {"penalty": "spectral-radius", "penalty_weight": 1, "target": 1e3},
            "target must be a finite number at least 0.0, got inf",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(settings, message):
    recipe = Recipe(**SMALL | settings)
    with pytest.raises(lf.LyapflowError, match="^" + message):
        recipe.training(recipe.start())


def test_an_accuracy_to_stop_at_needs_a_task_with_one():
    recipe = Recipe(**SMALL, stop_at=0.9, stop_window=3, stop_after=2)
    (rule,) = recipe.stop_rules(lf.tasks.BinaryTemporalXOR(2))
    assert (rule.goal, rule.window, rule.after) == (0.9, 3, 2)
    assert Recipe().stop_rules(lf.tasks.DelayedCopy(2)) == []
    with pytest.raises(
        lf.LyapflowError, match=r"^stop_at needs a task with an accuracy, binary-xor or"
    ):
        recipe.stop_rules(lf.tasks.DelayedCopy(2))
