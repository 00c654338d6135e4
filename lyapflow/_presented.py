"""How results show themselves: a few lines of text, a table in a notebook, tables of other libraries."""

import html
import importlib
from typing import Any

from lyapflow.errors import LyapflowError

# what one wants to know first: a word and what is said of it; the first line names the thing
Lines = list[tuple[str, str]]


class Presented:
    """Base of what says of itself, here and in notebooks, what one wants to know first."""

    def _summary(self) -> Lines:
        raise NotImplementedError

    def __repr__(self) -> str:
        return text(self._summary())

    def _repr_html_(self) -> str:
        return table(self._summary())


def text(lines: Lines) -> str:
    """Lines as `repr` shows them."""
    (name, said), *others = lines
    width = max([len(word) for word, _ in others], default=0)
    return "\n".join([f"{name}, {said}", *(f"  {word:{width}} {of}" for word, of in others)])


def table(lines: Lines) -> str:
    """The same as HTML."""
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th {left}>{html.escape(word)}</th><td {left}>{html.escape(said)}</td></tr>"
        for word, said in lines
    )
    return f"<table>{rows}</table>"


def imported(name: str) -> Any:
    """A library of the extra `tables`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise LyapflowError(
            f"this needs {name}, which is not installed: python -m pip install 'lyapflow[tables]'"
        ) from None
