"""How to cite lyapflow, and what it implements."""

from lyapflow._version import __version__

ENTRIES = """\
@software{{lyapflow,
  title = {{lyapflow: Lyapunov spectra of recurrent networks}},
  version = {{{version}}},
}}
@inproceedings{{engelken2023flossing,
  title = {{Gradient Flossing: Improving Gradient Descent through Dynamic Control of Jacobians}},
  author = {{Engelken, Rainer}},
  booktitle = {{Advances in Neural Information Processing Systems}},
  year = {{2023}},
}}"""


def citation() -> str:
    """BibTeX entries of this version and of the paper that it implements.

    Returns
    -------
    str

    Examples
    --------
    >>> import lyapflow as lf
    >>> print(lf.citation().splitlines()[0])
    @software{lyapflow,
    """
    return ENTRIES.format(version=__version__)
