"""The figures of the paper, its tables and sections, and the questions beyond it: a script each."""

from importlib import import_module
from types import ModuleType

TITLES = {
    "figure1": "Figures 1B-D and 6",
    "figure2": "Figure 2",
    "figure3": "Figure 3",
    "figure4": "Figure 4",
    "figure5": "Figures 5 and 7",
    "figure8": "Figures 8 and 9",
    "figure10": "Figures 10 and 11",
    "figure12": "Figure 12",
    "figure13": "Figure 13",
    "figure14": "Figure 14",
    "figure15": "Figure 15",
    "figure16": "Figure 16",
    "cost": "Table 1 and App. F",
    "overlap": "App. D",
    "linear": "App. E",
    "controls": "Section 7",
    "rate": "A faster flossing",
    "gain": "The size of the weights at the start",
    "larger": "A larger network instead",
    "items": "Delays and items",
    "gated": "Gated cells and ReLU",
}


def figure(name: str) -> ModuleType:
    """The script of a figure.

    It has `judge` and `draw`, which take the tables and the size, and either the names of its
    `GROUPS` of training runs, or `compute`, which makes tables without any, or both.
    """
    return import_module(f"validation.paper.{name}")
