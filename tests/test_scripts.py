"""What the scripts of validation import from the project exists; most run too long to be run by a test."""

import ast
import importlib
from pathlib import Path

import pytest

VALIDATION = Path(__file__).parent.parent / "validation"


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, id=str(path.relative_to(VALIDATION))) for path in VALIDATION.rglob("*.py")],
)
def test_what_it_imports_exists(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("lyapflow", "validation")):
            if node.module == "lyapflow.torch":
                continue  # imports PyTorch, an extra
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.import_module(
                    f"{node.module}.{name.name}"
                ), f"{node.module} has no {name.name}"
