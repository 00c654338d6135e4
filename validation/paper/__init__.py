"""The paper, figure by figure: `python -m validation.paper` runs every claim and gives a verdict."""
