"""What is in the stamp of a cell from outside the package: all that its kernels may depend on, or there is none."""

import importlib
import sys

import pytest

from lyapflow._engine.outside import source_stamp
from tests.test_jit import MAP

NJIT = "from numba import njit\n@njit\ndef f(a): return VALUE * a\n"
# what the cell's module imports, the factor in its kernel, other modules; VALUE is what changes
NOTICED = {
    "function": ("from helper import f", "f(1.0)", {"helper": NJIT}),
    "function of a module": ("import helper", "helper.f(1.0)", {"helper": NJIT}),
    "constant": ("from helper import K", "K", {"helper": "K = VALUE"}),
    "constant of a module": ("import helper", "helper.K", {"helper": "K = VALUE"}),
    "module of a module": ("import a", "a.b.K", {"a": "import b", "b": "K = VALUE"}),
    "tuple": ("from helper import K", "K[0][0]", {"helper": "K = ((VALUE,),)"}),
    "array": (
        "from helper import K",
        "K[0][0]",
        {"helper": "import numpy\nK = (numpy.array([VALUE]),)"},
    ),
    "default": (
        "from helper import f",
        "f(1.0)",
        {
            "helper": "import numba, b\n@numba.njit\ndef f(a, k=b.K): return k * a",
            "b": "K = VALUE",
        },
    ),
    "closure": (
        "from helper import f",
        "f(1.0)",
        {
            "helper": "import numba, b\ndef make(g):\n"
            "    @numba.njit\n    def f(a): return g(a)\n    return f\nf = make(b.f)",
            "b": NJIT,
        },
    ),
    "option": (
        "from helper import f",
        "f(1.0)",
        {
            "helper": "import numba, b\n@numba.njit(fastmath=b.K > 1)\ndef f(a): return a",
            "b": "K = VALUE",
        },
    ),
    "made from text": (
        "from helper import f",
        "f(1.0)",
        {
            "helper": "import numba, b\nexec(f'def f(a): return {b.K} * a', space := {})\n"
            "f = numba.njit(space['f'])",
            "b": "K = VALUE",
        },
    ),
    "function of a library": (
        "from helper import f",
        "f(0.5)",
        {"helper": "import math\nf = math.exp if VALUE > 1 else math.sin"},
    ),
    "type": (
        "from helper import D",
        "D(0.1)",
        {"helper": "import numpy\nD = numpy.float32 if VALUE > 1 else numpy.float64"},
    ),
    "overload": (
        "import helper, b",
        "b.f(1.0)",
        {
            "helper": "import b\nfrom numba.extending import overload\n"
            "@overload(b.f)\ndef _(a): return lambda a: VALUE * a",
            "b": "def f(a): pass",
        },
    ),
}
NEVER_STORED = {
    "list": ("from helper import K", "K[0]", {"helper": "K = [VALUE]"}),
    "enumeration": (
        "from helper import E",
        "E.A.value",
        {"helper": "import enum\nclass E(enum.Enum): A = VALUE"},
    ),
    "ufunc": ("from helper import f", "f(1.0)", {"helper": NJIT.replace("njit", "vectorize")}),
    "module that makes its attributes": (
        "import helper",
        "helper.K",
        {"helper": "def __getattr__(name): return VALUE"},
    ),
    "calls itself": (
        "from helper import f",
        "f(1.0)",
        {"helper": NJIT.replace("VALUE * a", "a if a < 2 else f(a - 1)")},
    ),
    "compiled before": ("from helper import f", "f(1.0)", {"helper": f"K = 1\n{NJIT}\nf(1.0)"}),
    "in Numba's cache": (
        "from helper import f",
        "f(1.0)",
        {"helper": "K = 1\n" + NJIT.replace("@njit", "@njit(cache=True)")},
    ),
}
for case in ("compiled before", "in Numba's cache"):
    helper = NEVER_STORED[case][2]
    helper["helper"] = helper["helper"].replace("VALUE * a", "K * a")


@pytest.fixture
def stamp(tmp_path, monkeypatch):
    """A function: the stamp of a cell whose module and helpers are written anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules = []

    def stamp(value, imports, factor, helpers):
        kernels = MAP.replace("SLOPE", factor).replace(
            "import numpy as np", f"import numpy as np\n{imports}"
        )
        forget()
        modules.extend(("outside_cell", *helpers))
        (tmp_path / "outside_cell.py").write_text(kernels)
        for name, text in helpers.items():
            (tmp_path / f"{name}.py").write_text(text.replace("VALUE", str(value)))
        importlib.invalidate_caches()
        return source_stamp(importlib.import_module("outside_cell").Scaling)

    def forget():
        while modules:
            sys.modules.pop(modules.pop(), None)

    yield stamp
    forget()


@pytest.mark.parametrize("case", NOTICED)
def test_what_changes_changes_the_stamp(stamp, case):
    first = stamp(1.0, *NOTICED[case])
    assert first is not None
    if case != "overload":  # that of before is still there
        assert stamp(1.0, *NOTICED[case]) == first
    assert stamp(2.0, *NOTICED[case]) not in (None, first)


@pytest.mark.parametrize("case", NEVER_STORED)
def test_what_is_not_surely_known_is_never_stored(stamp, case):
    assert stamp(1.0, *NEVER_STORED[case]) is None


@pytest.mark.parametrize("change", ["K = 2.0", "f = g"])
def test_what_changes_within_a_process_is_never_stored(stamp, change):
    """Functions that are compiled keep the values of then."""
    helper = "from numba import njit\nK = 1.0\n@njit\ndef f(a): return K * a\n"
    helper += "@njit\ndef g(a): return K + a\n@njit\ndef h(a): return f(a)\n"
    assert stamp(1.0, "from helper import h", "h(1.0)", {"helper": helper}) is not None
    exec(change, vars(sys.modules["helper"]))
    assert source_stamp(sys.modules["outside_cell"].Scaling) is None
