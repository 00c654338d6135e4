"""Threads that share work in parts, from nopython code: products of a large network, pieces of a batch.

Helpers wait for work, and whoever has some takes parts of it himself. Which thread does which part is open, and so is
whether a helper is there at all: work must not depend on it. What they agree on stands on a board, whose first word
counts jobs and says, in its lower bits, which parts of the present one nobody has taken. A part is taken by changing
it, which fails where a new job has begun. Who gives out the work takes the last part, a helper the first: so, call
after call, a part is where its data are, in the cache of one processor. Helpers that find nothing offer their processor
to others, and leave after a few milliseconds: long enough to be there for the next of many short calls.
"""

import ctypes
import functools
import os

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lyapflow._jit import jit
from lyapflow._threads import have_helpers

_board = np.zeros(64, np.int64)
WORD, DONE, BUSY, HELPERS, FUNCTION, ARGUMENTS = range(0, 48, 8)  # places on it, a line of the cache each
BITS = 16  # of the word, for the first part that is left, and for the one behind the last
MOST = 1 << BITS  # parts are fewer, where they are shared
SPINS = 200  # looks in vain before a thread rests, some microseconds
RESTS = 1000  # before a helper leaves, some milliseconds
SHARE = 2**17  # terms m n k of a product that are worth a part of their own
HELP = 2**19  # those that are worth a helper

_INDEX = ir.IntType(64)
_BOARD = ir.ArrayType(_INDEX, _board.size)
_PART_FUNCTION = ir.FunctionType(ir.VoidType(), [_INDEX, _INDEX])

_rest = ctypes.windll.kernel32.SwitchToThread if os.name == "nt" else ctypes.CDLL(None).sched_yield  # type: ignore
if hasattr(os, "register_at_fork"):  # helpers and jobs of the parent are not there
    os.register_at_fork(after_in_child=lambda: _board.fill(0))
llvmlite.binding.add_symbol("lyapflow_board", _board.ctypes.data)
llvmlite.binding.add_symbol("lyapflow_rest", ctypes.cast(_rest, ctypes.c_void_p).value)


def symbol(module, kind, name):
    """What stands at a registered address, as a variable of a module."""
    return module.globals.get(name) or ir.GlobalVariable(module, kind, name)


def _place(builder, place):
    board = symbol(builder.module, _BOARD, "lyapflow_board")
    return builder.gep(board, [ir.Constant(_INDEX, 0), place], inbounds=True)


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
def _rest_a_moment(typingctx):
    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "lyapflow_rest"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _pause(typingctx):
    def codegen(context, builder, signature, values):
        if "x86" in builder.module.triple:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _do(typingctx, function, arguments, part):
    def codegen(context, builder, signature, values):
        function, arguments, part = values
        builder.call(builder.inttoptr(function, _PART_FUNCTION.as_pointer()), [arguments, part])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@jit
def _wait(waited):
    if waited < SPINS:
        _pause()
        return waited + 1
    _rest_a_moment()
    return 0


@jit
def _take(helps):
    """Do one part of what is on the board, if there is any."""
    word = load(WORD)
    first, behind = word & (MOST - 1), word >> BITS & (MOST - 1)
    if first == behind:
        return False
    function, arguments = load(FUNCTION), load(ARGUMENTS)
    if swap(WORD, word, word + 1 if helps else word - MOST):
        _do(function, arguments, first if helps else behind - 1)
        add(DONE, 1)
    return True


@jit
def share(parts, function, arguments):
    """Do all parts, with the helpers if there are any who are free."""
    if not 1 < parts < MOST or load(HELPERS) == 0 or not swap(BUSY, 0, 1):
        for part in range(parts):
            _do(function, arguments, part)
        return
    store(FUNCTION, function)
    store(ARGUMENTS, arguments)
    store(DONE, 0)
    store(WORD, ((load(WORD) >> 2 * BITS) + 1 << 2 * BITS) + (parts << BITS))
    while _take(False):
        pass
    waited = 0
    while load(DONE) < parts:
        waited = _wait(waited)
    store(BUSY, 0)


@jit
def _help():
    """What a helper does, until there has been nothing to do for a while."""
    add(HELPERS, 1)
    waited = rests = 0
    while rests < RESTS:
        if _take(True):
            waited = rests = 0
        else:
            waited = _wait(waited)
            rests += waited == 0
    add(HELPERS, -1)


@functools.cache
def _compiled() -> None:
    """`_help` is compiled by the caller: a process that forks while a helper compiles would inherit Numba's lock."""
    _help.compile(())


def call_help(terms: int, parts: int = 1) -> None:
    """See that other threads help: with that many parts, or with products of that many terms m n k."""
    helpers = max(terms // HELP, parts - 1)
    if helpers > 0:
        _compiled()
        have_helpers(_help, helpers)


def in_parts(kernel):
    """An intrinsic of a job, a tuple: the addresses of a function that calls kernel(job, part), and of the job.

    The kernel must not raise: nobody would hear of it.
    """

    @intrinsic
    def addresses(typingctx, job):
        dispatcher = types.Dispatcher(kernel)
        dispatcher.get_call_type(typingctx, (job, types.intp), {})
        compiled = kernel.overloads[job, types.intp]

        def codegen(context, builder, signature, values):
            context.add_linking_libs([compiled.library])
            with builder.goto_entry_block():
                slot = builder.alloca(values[0].type)
            builder.store(values[0], slot)
            name = f"part_of_{compiled.fndesc.mangled_name}"
            function = cgutils.get_or_insert_function(builder.module, _PART_FUNCTION, name)
            if function.is_declaration:
                function.linkage = "linkonce_odr"
                inside = ir.IRBuilder(function.append_basic_block())
                arguments, part = function.args
                job_value = inside.load(inside.inttoptr(arguments, values[0].type.as_pointer()))
                callee = context.declare_function(builder.module, compiled.fndesc)
                context.call_conv.call_function(inside, callee, types.none, (job, types.intp), (job_value, part))
                inside.ret_void()
            place = [builder.ptrtoint(pointer, _INDEX) for pointer in (function, slot)]
            return context.make_tuple(builder, signature.return_type, place)

        return types.UniTuple(types.intp, 2)(job), codegen

    return addresses
