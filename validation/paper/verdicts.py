"""What is made of a claim: it holds, holds with a caveat, or does not hold."""

from typing import NamedTuple

CHANCE, SOLVED = 0.6, 0.95  # accuracies: at chance below the one, solved from the other on


class Claim(NamedTuple):
    """A claim of the paper and what the runs say.

    Attributes
    ----------
    text : str
    holds : bool
        The criterion of the claim as the paper makes it.
    nearly : bool
        A weaker one, for a claim that is right in its direction only.
    found : str
        The numbers that decide.
    small : bool
        Whether it is judged of small, briefly trained networks, too.
    """

    text: str
    holds: bool
    nearly: bool
    found: str
    small: bool = False

    @property
    def verdict(self) -> str:
        return "holds" if self.holds else "holds with a caveat" if self.nearly else "does not hold"
