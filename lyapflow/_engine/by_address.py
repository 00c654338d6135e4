"""Kernels that other kernels call by address.

A kernel that is linked into its callers is optimised anew with each of them: for every cell, every
dtype, every sweep. One that is called by address is compiled once. It stands in a table that is
filled as soon as a caller is compiled, or, where the caller came from a cache, the first time that
it calls."""

import _thread
import ctypes
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from lyapflow._engine.atomics import INDEX, symbol

DTYPES = (types.float64, types.float32)


class ByAddress:
    """A kernel with a signature for each dtype, under a name that callers in a cache know.

    Parameters
    ----------
    name : str
    kernel : a `lyapflow._engine.jit.jit` function, which must not raise
    signature : callable
        Numba's type of a dtype -> types of the kernel's arguments.
    """

    def __init__(self, name: str, kernel: Any, signature: Callable[[Any], tuple]) -> None:
        self.name, self.kernel, self.signatures = (
            f"lyapflow_{name}",
            kernel,
            [signature(dtype) for dtype in DTYPES],
        )
        self.addresses = np.zeros(len(DTYPES), np.int64)  # 0: neither compiled nor loaded yet
        self._provide = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self._provided)
        llvmlite.binding.add_symbol(self.name, self.addresses.ctypes.data)
        llvmlite.binding.add_symbol(
            f"{self.name}_provide", ctypes.cast(self._provide, ctypes.c_void_p).value
        )

    def find(self, index: int) -> Any:
        """Compile it for a dtype, or load it; the type of what it returns."""
        self.kernel.compile(self.signatures[index])
        found = self.kernel.overloads[self.signatures[index]]
        self.addresses[index] = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        return found.signature.return_type

    def _provided(self, index: int) -> None:
        """What a kernel calls that came from a cache; nothing may be raised here, so Ctrl-C has to wait."""
        interrupted = False
        while not self.addresses[index]:
            try:
                self.find(index)
            except KeyboardInterrupt:
                interrupted = True
            except BaseException:
                traceback.print_exc()
                os.abort()
        if interrupted:
            threading.Timer(0.01, _thread.interrupt_main).start()  # once this call is over

    def call(self, dtype: Any, *given: Any, more: Sequence[int] = ()) -> tuple[Any, Callable]:
        """What an intrinsic of the types given returns: its signature, and code that calls the kernel of the dtype.

        The kernel gets more numbers behind its arguments, if it takes them.
        """
        index = DTYPES.index(dtype)
        returned = self.find(index)

        def codegen(context, builder, signature, values):
            place = ir.Constant(INDEX, index)
            table = symbol(builder.module, ir.ArrayType(INDEX, len(self.addresses)), self.name)
            entry = builder.gep(table, [ir.Constant(INDEX, 0), place])
            look, provide, ready = (
                builder.append_basic_block(name) for name in ("look", "provide", "ready")
            )
            builder.branch(look)
            builder.position_at_end(look)
            builder.cbranch(cgutils.is_null(builder, builder.load(entry)), provide, ready)
            # again and again, should Ctrl-C come before a line of it is run
            builder.position_at_end(provide)
            kind = ir.FunctionType(ir.VoidType(), [INDEX])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kind, f"{self.name}_provide"),
                [place],
            )
            builder.branch(look)
            builder.position_at_end(ready)
            wanted = self.signatures[index]
            kind = context.call_conv.get_function_type(returned, wanted)
            kernel = builder.inttoptr(builder.load(entry), kind.as_pointer())
            arguments = [*values, *(ir.Constant(INDEX, number) for number in more)]
            return context.call_conv.call_function(builder, kernel, returned, wanted, arguments)[1]

        return returned(*given), codegen
