"""The examples of README, docs and docstrings that take another library run as they stand."""

import doctest
import os
import re
from importlib import import_module

import pytest

from tests.test_docs import PAGES

os.environ["KERAS_BACKEND"] = "torch"
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{library}-{number}")
    for page in PAGES
    for number, (library, code) in enumerate(
        re.findall(r"```python (\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")  # of networks drawn at random
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # which torch.func.jvp calls
@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(EXAMPLES) == 10


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
@pytest.mark.parametrize("name", ["interop.torch_losses", "interop.torch_hooks", "jax"])
def test_docstrings(name):
    found = doctest.testmod(import_module(f"lyapflow.{name}"))
    assert found.failed == 0
    assert found.attempted >= 6
