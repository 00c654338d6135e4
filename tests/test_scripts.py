"""What the scripts of validation import from the project exists; most run too long to be run by a test."""

import ast
import importlib
from pathlib import Path

import pytest

import lyapflow as lf

VALIDATION = Path(__file__).parent.parent / "validation"
OURS = ("lyapflow", "validation")


def imported(name):
    """A module of the project; None if it needs a library that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith(OURS):
            raise
    except lf.LyapflowError as error:
        if "which is not installed" not in str(error):
            raise
    return None


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, id=str(path.relative_to(VALIDATION))) for path in VALIDATION.rglob("*.py")],
)
def test_what_it_imports_exists(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(OURS):
            module = imported(node.module)
            for name in node.names if module else ():
                if not hasattr(module, name.name):
                    imported(f"{node.module}.{name.name}")
