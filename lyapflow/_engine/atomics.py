"""A board of numbers that threads read and write atomically, and how a thread waits."""

import ctypes
import os

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lyapflow._engine.forks import in_a_child

LINE = 8  # numbers of a cache line
board = np.zeros(64, np.int64)
INDEX = ir.IntType(64)
_BOARD = ir.ArrayType(INDEX, board.size)

if os.name == "nt":
    _rest = ctypes.windll.kernel32.SwitchToThread  # type: ignore
# where the system has nothing that lets other threads go first, a call that does nothing has to do
else:
    _rest = getattr(ctypes.CDLL(None), "sched_yield", ctypes.pythonapi.PyThread_get_thread_ident)
in_a_child(lambda: board.fill(0))  # helpers and jobs of the parent are not there
llvmlite.binding.add_symbol("lyapflow_board", board.ctypes.data)
llvmlite.binding.add_symbol("lyapflow_rest", ctypes.cast(_rest, ctypes.c_void_p).value)


def symbol(module, kind, name):
    """Declare a registered symbol as a global of an LLVM module."""
    return module.globals.get(name) or ir.GlobalVariable(module, kind, name)


def _place(builder, place):
    return builder.gep(
        symbol(builder.module, _BOARD, "lyapflow_board"),
        [ir.Constant(INDEX, 0), place],
        inbounds=True,
    )


@intrinsic
def load(typingctx, place):
    def codegen(context, builder, signature, values):
        return builder.load_atomic(_place(builder, *values), "seq_cst", 8)

    return types.intp(types.intp), codegen


@intrinsic
def store(typingctx, place, value):
    def codegen(context, builder, signature, values):
        builder.store_atomic(values[1], _place(builder, values[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def add(typingctx, place, value):
    def codegen(context, builder, signature, values):
        builder.atomic_rmw("add", _place(builder, values[0]), values[1], "seq_cst")
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def swap(typingctx, place, expected, value):
    """Store value where the expected one still stands, and say whether it did."""

    def codegen(context, builder, signature, values):
        place, expected, value = values
        found = builder.cmpxchg(_place(builder, place), expected, value, "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.intp, types.intp, types.intp), codegen


@intrinsic
def rest(typingctx):
    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "lyapflow_rest"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def pause(typingctx):
    def codegen(context, builder, signature, values):
        if "x86" in builder.module.triple:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), []
            )
        return context.get_dummy_value()

    return types.void(), codegen
