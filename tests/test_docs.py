"""The Python examples of README, docs and public docstrings run as they stand; docstrings have their sections."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import lyapflow as lf
from lyapflow import testing

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs").glob("tutorial-*.md"))  # which run as notebooks, in tests/extras
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {*TUTORIALS})]
# each once, though it may stand on several pages
CODE = {
    code: f"{page.name}-{number}"
    for page in reversed(PAGES)
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
}
EXAMPLES = [pytest.param(code, id=name) for code, name in CODE.items()]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(EXAMPLES) == 44


# their methods have docstrings of their own
PROTOCOLS = {"Penalty": lf.penalties.Penalty}
PUBLIC = [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in (lf, lf.penalties, testing)
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name)) and name not in PROTOCOLS
]


# which have no __all__
OF_MODULES = [
    pytest.param(of, id=f"{module.__name__}.{name}")
    for module in (lf.plots, lf.tasks)
    for name, of in vars(module).items()
    if getattr(of, "__module__", None) == module.__name__ and name[0] != "_"
]


def sections(documented):
    return re.findall(r"^(\w+)\n-{3,}$", inspect.getdoc(documented), re.MULTILINE)


def needed(function):
    """Sections that numpydoc wants of a function; one that takes anything may raise a LyapflowError."""
    signature = inspect.signature(function)
    takes = set(signature.parameters) - {"cls", "self"}
    returns = signature.return_annotation not in (None, "None")
    return ["Parameters"] * bool(takes) + ["Returns"] * returns + ["Raises"] * bool(takes)


@pytest.mark.parametrize("public", PUBLIC)
def test_sections(public):
    summary = inspect.getdoc(public).splitlines()
    assert summary[0].endswith((".", ":")) and not any(summary[1:2]), "a summary of one line"
    if not inspect.isclass(public):
        assert [name for name in sections(public) if name in needed(public)] == needed(public)
    elif not issubclass(public, Exception):
        assert {"Attributes", "Parameters"} & set(sections(public))
    if hasattr(public, "random"):
        assert sections(public.random)[:3] == ["Parameters", "Returns", "Raises"]


@pytest.mark.parametrize("public", [*PUBLIC, *PROTOCOLS.values(), *OF_MODULES])
def test_example_of_a_docstring(public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest(
        inspect.getdoc(public), {}, public.__name__, None, 0
    )
    assert examples.examples
    said = []
    runner = doctest.DocTestRunner()
    runner.run(examples, out=said.append)
    assert runner.failures == 0, "".join(said)
