"""Figure 4: flossing before and during training, on binary temporal XOR (A, C) and spatial XOR (B, D)."""

from matplotlib.figure import Figure

from validation.paper.drawing import listed, over_delays, over_epochs, per_delay
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, SOLVED, Claim

GROUPS = ("binary", "spatial")


def judge(tables: Tables, size: Size, groups: tuple[str, str] = GROUPS) -> list[Claim]:
    """The claims; Figure 14 makes them of orthogonal networks."""
    hard, middle = size.hard, size.middle
    binary, spatial = (tables.runs(group) for group in groups)
    medians, spatial_medians = (per_delay(runs, "accuracy") for runs in (binary, spatial))
    means, spatial_means = (per_delay(runs, "accuracy", "mean") for runs in (binary, spatial))

    def single(runs, condition: str, delay: int):
        return runs[(runs["condition"] == condition) & (runs["delay"] == delay)]["accuracy"]

    late = binary[(binary["condition"] == "none") & (binary["delay"] >= middle)]["accuracy"]
    at_hard = single(binary, "before", hard)
    spatial_at_hard = single(spatial, "before", hard)
    return [
        Claim(
            f"binary XOR: without flossing at chance for d >= {middle}",
            bool((late < CHANCE).all()),
            bool((medians["none"][medians.index >= middle] < CHANCE).all()),
            f"largest accuracy of {len(late)} networks {late.max():.3f}",
        ),
        Claim(
            f"binary XOR: preflossing bridges d = {middle}, and is at chance at d = {hard}",
            bool(medians["before"][middle] >= SOLVED and (at_hard < CHANCE).all()),
            bool(medians["before"][middle] >= SOLVED and at_hard.median() < CHANCE),
            f"d = {middle}: {listed(single(binary, 'before', middle))}; d = {hard}: {listed(at_hard)}",
        ),
        Claim(
            f"binary XOR: flossed again during training, above 80 % at d = {hard}",
            bool(means["twice"][hard] > 0.8),
            bool(means["twice"][hard] > means["before"][hard] + 0.1),
            f"d = {hard}: {listed(single(binary, 'twice', hard))}, mean {means['twice'][hard]:.3f}",
        ),
        Claim(
            f"spatial XOR: preflossing fails beyond d = {size.delays[-2]}",
            bool(spatial_medians["before"][hard] < CHANCE),
            bool((spatial_at_hard < CHANCE).mean() >= 0.4),
            f"d = {hard}: {listed(spatial_at_hard)}",
        ),
        Claim(
            "spatial XOR: flossed again during training, harder tasks are solved",
            bool(
                spatial_medians["twice"][hard] >= 0.9
                and spatial_means["twice"][hard] > spatial_means["before"][hard] + 0.1
            ),
            bool(spatial_means["twice"][hard] > spatial_means["before"][hard]),
            f"d = {hard}: {listed(single(spatial, 'twice', hard))} against {listed(spatial_at_hard)}",
        ),
    ]


def draw(tables: Tables, size: Size, groups: tuple[str, str] = GROUPS) -> Figure:
    figure = Figure(figsize=(10, 8), layout="constrained")
    columns = figure.subplots(2, 2).T
    for (over, across), group, name in zip(columns, groups, ("Binary XOR", "Spatial XOR")):
        curves = tables.curves(group)
        over_epochs(over, curves[curves["delay"] == size.hard], "accuracy", "mean")
        over.set(title=f"{name}, d = {size.hard}", ylabel="accuracy", xscale="log")
        over_delays(across, tables.runs(group), "accuracy", (0.25, 0.75))
        across.set(title=name, ylabel="final accuracy")
    return figure
