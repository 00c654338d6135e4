"""How large the experiments are: smoke (minutes), night (one night of two cores), full (as the paper's)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers in which the sizes differ; all else is the paper's protocol.

    Attributes
    ----------
    seeds : int
        Networks a point; `many` where the paper has ten or more.
    epochs, short : int
        Training epochs of a run; of the tasks and figures for which the paper takes fewer.
    throughout : int
        Training epochs where flossing goes on throughout.
    episodes : tuple of int
        The five early episodes.
    again : int
        Epoch of the second episode where there are two.
    delays, grid : tuple of int
        Delays of the figures over delays, and of those over delays and numbers of exponents.
    ks : tuple of int
        Numbers of exponents flossed.
    larger : tuple of (int, int)
        Units of the networks that are larger instead of flossed, and how many of each.
    """

    units: int
    k: int
    T: int
    seeds: int
    many: int
    epochs: int
    short: int
    throughout: int
    floss_epochs: int
    episodes: tuple[int, ...]
    again: int
    copy_delays: tuple[int, ...]
    delays: tuple[int, ...]
    grid: tuple[int, ...]
    ks: tuple[int, ...]
    larger: tuple[tuple[int, int], ...]
    items: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def window(self) -> int:
        """Epochs of a window of a curve."""
        return max(1, self.epochs // 100)

    @property
    def hard(self) -> int:
        """The delay that only flossing during training bridges."""
        return self.delays[-1]

    @property
    def middle(self) -> int:
        """The delay that is not learnt without flossing."""
        return self.grid[1]


SIZES = {
    "smoke": Size(
        units=16, k=12, T=40, seeds=1, many=2, epochs=40, short=30, throughout=30, floss_epochs=4,
        episodes=(0, 5, 10, 15, 20), again=20, copy_delays=(2, 4, 8), delays=(2, 4, 8), grid=(2, 4, 8),
        ks=(2, 12), larger=((24, 1),), items=((4, (1, 4)),),
    ),
    "night": Size(
        units=80, k=75, T=300, seeds=5, many=10, epochs=10_000, short=5_000, throughout=3_000,
        floss_epochs=500, episodes=(0, 100, 200, 300, 400), again=500,
        copy_delays=(10, 20, 30, 40, 60), delays=(20, 30, 40, 50, 60, 70), grid=(20, 40, 60, 70),
        ks=(5, 20, 40, 60, 75), larger=((160, 5), (320, 3)),
        items=((20, (1, 4, 20)), (40, (1, 4, 40)), (80, (1, 4, 20))),
    ),
    "full": Size(
        units=80, k=75, T=300, seeds=20, many=20, epochs=10_000, short=5_000, throughout=10_000,
        floss_epochs=500, episodes=(0, 100, 200, 300, 400), again=500,
        copy_delays=(5, 10, 20, 30, 40, 50, 60, 80), delays=(10, 20, 30, 40, 50, 60, 70),
        grid=(20, 40, 50, 60, 70), ks=(1, 5, 10, 20, 30, 40, 50, 60, 75, 80),
        larger=((160, 20), (320, 20), (640, 20)),
        items=((20, (1, 2, 4, 10, 20)), (40, (1, 2, 4, 10, 20, 40)), (80, (1, 2, 4, 10, 20, 40, 80))),
    ),
}  # fmt: skip
