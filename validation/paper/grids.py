"""The training runs behind the figures, group by group: grids as `lyapflow.sweep` takes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lyapflow.runs.recipe import Recipe
from validation.paper.sizes import Size

NONE: dict[str, Any] = {"floss": "none"}


@dataclass(frozen=True)
class Group:
    """Runs that belong together.

    Attributes
    ----------
    grids : tuple of mappings
    window : int, optional
        Epochs of a window of the curves that are kept of each run; none are kept by default.
    measured : bool
        Whether what was measured on held-out inputs is kept, too.
    """

    grids: tuple[Mapping[str, Any], ...]
    window: int | None = None
    measured: bool = False


def conditions(size: Size) -> dict[str, dict[str, Any]]:
    """Schedules of flossing by name."""
    episodes = {
        "before": (0,),
        "twice": (0, size.again),
        "five": size.episodes,
        "throughout": range(0, size.throughout, size.episodes[1]),
    }
    return {"none": NONE} | {name: {"floss_at": text(at)} for name, at in episodes.items()}


def text(epochs: Iterable[int]) -> str:
    """Epochs as one value of a grid, in which a list is several."""
    return ",".join(map(str, epochs))


def condition(size: Size, recipe: Recipe) -> str:
    """The name of a run's schedule."""
    names = {schedule.get("floss_at"): name for name, schedule in conditions(size).items()}
    return names[None if recipe.floss == "none" else text(recipe.floss_at)]


def groups(size: Size) -> dict[str, Group]:
    """All groups of a size."""
    protocol = {
        "units": size.units,
        "steps": size.T,
        "epochs": size.epochs,
        "dtype": "float32",
        "measure_every": size.epochs // 10,
        "seed": list(range(size.seeds)),
    }
    flossed = {"k": size.k, "floss_epochs": size.floss_epochs}
    schedules = conditions(size)
    # a network that has learnt its task, and will not be flossed again, learns nothing new
    solved = {"stop_at": 0.99, "stop_window": 300}

    def grid(condition: str, **settings: Any) -> dict[str, Any]:
        """The runs of a condition; a setting overrides the protocol's."""
        chosen = protocol | schedules[condition]
        chosen |= {} if condition == "none" else flossed
        chosen |= settings
        if "stop_at" in chosen:
            # a run is not over before what its last episode did has been seen
            last = int(chosen.get("floss_at", "0").split(",")[-1])
            chosen["stop_after"] = last + chosen["stop_window"]
        return chosen

    def grids(names: str, **settings: Any) -> tuple[dict[str, Any], ...]:
        return tuple(grid(name, **settings) for name in names.split())

    copy, temporal, binary, spatial = (
        {"task": name} for name in ("copy", "temporal-xor", "binary-xor", "spatial-xor")
    )
    copy = {"delay": list(size.copy_delays), **copy}
    temporal = {"delay": list(size.copy_delays), **temporal}
    binary = {"delay": list(size.delays), **binary, **solved}
    spatial = {"delay": list(size.delays), **spatial, **solved, "epochs": size.short}
    numbers = binary | {"delay": list(size.grid), "k": list(size.ks)}
    hardest = {"task": "binary-xor", "delay": size.hard}
    middle = binary | {"delay": size.middle}
    rank = hardest | {
        "epochs": max(size.short // 5, size.episodes[-1] + 5),
        "measure_every": max(1, size.window // 10),
        "seed": [0, 1],
    }
    controls = [
        {"floss_penalty": penalty, **middle} for penalty in ("spectral-radius", "one-step-jacobian")
    ]
    return {
        "copy": Group(grids("none before", **copy), window=size.window),
        "temporal": Group(grids("none before", **temporal), window=size.window),
        "binary": Group(grids("none before twice", **binary), window=size.window),
        "spatial": Group(grids("none before twice", **spatial), window=size.window),
        "number": Group(grids("five", **numbers)),
        "number-before": Group(grids("before", **numbers)),
        "gradient": Group(
            grids(
                "none five",
                **hardest,
                seed=list(range(size.many)),
                measure_every=max(1, size.epochs // 200),
                measure_vectors=5,
            ),
            window=max(1, size.window // 5),
            measured=True,
        ),
        "rank": Group(grids("none five", **rank), window=max(1, size.window // 10), measured=True),
        "throughout": Group(
            grids("none five throughout", **hardest, epochs=size.throughout),
            window=max(1, size.window // 10),
        ),
        "orthogonal-binary": Group(
            grids("none before twice", **binary, weights="orthogonal"), window=size.window
        ),
        "orthogonal-spatial": Group(
            grids("none before twice", **spatial, weights="orthogonal"), window=size.window
        ),
        "linear": Group(
            (
                *grids("none before", **copy | {"delay": size.copy_delays[-2]}, cell="linear"),
                *grids("before", **middle, cell="linear"),
            )
        ),
        "controls": Group(
            tuple(grid(name, **control) for control in controls for name in ("before", "five"))
        ),
        "rate": Group(
            grids(
                "before",
                **binary | {"delay": [size.middle, size.hard]},
                floss_lr=[0.003, 0.01, 0.03],
            )
        ),
        "gain": Group(grids("none before", **middle, gain=[0.5, 1.5, 2.0])),
        "larger": Group(
            tuple(
                grid("none", **middle | {"units": units, "seed": list(range(seeds))})
                for units, seeds in size.larger
            )
        ),
        "items": Group(
            tuple(
                grid(name, task="item-copy", delay=delay, items=list(items))
                for delay, items in size.items
                for name in ("none", "before")
            )
        ),
        "gated": Group(gated(size)),
        "relu": Group(relu(size)),
    }


def gated(size: Size) -> tuple[dict[str, Any], ...]:
    """LSTM and GRU with their recommended optimiser: not flossed, and flossed by three schedules.

    Few: a twentieth of the units, once before training. Five: an eighth, in five episodes. As
    tanh: as many exponents as units, in five episodes."""
    units = size.units // 2
    common = {
        "units": units,
        "steps": size.T // 3,
        "epochs": max(size.epochs * 3 // 10, size.episodes[-1] + 5),
        "dtype": "float32",
        "measure_every": size.epochs // 10,
        "seed": list(range(size.seeds)),
        "floss_epochs": size.floss_epochs * 2 // 5,
    }
    tasks = [
        {"task": "copy", "delay": size.delays[0]},
        {"task": "copy", "delay": size.middle},
        {"task": "binary-xor", "delay": size.delays[0]},
    ]
    episodes = {"floss_at": text(size.episodes)}
    schedules = (
        NONE,
        {"floss_at": "0", "k": max(1, units // 20)},
        {**episodes, "k": max(1, units // 8)},
        {**episodes, "k": units},
    )
    return tuple(
        common | {"cell": cell} | task | schedule
        for cell in ("lstm", "gru")
        for task in tasks
        for schedule in schedules
    )


def relu(size: Size) -> tuple[dict[str, Any], ...]:
    """ReLU networks, not flossed and flossed as `lyapflow.recommended` has it."""
    common = {
        "cell": "relu",
        "units": size.units,
        "steps": size.T // 3,
        "epochs": max(size.epochs * 3 // 10, size.episodes[-1] + 5),
        "dtype": "float32",
        "measure_every": size.epochs // 10,
        "seed": list(range(size.seeds)),
        "delay": size.delays[0],
        "task": ["copy", "binary-xor"],
    }
    flossed = {"floss_at": text(size.episodes), "floss_epochs": size.floss_epochs}
    return (common | NONE, common | flossed)
