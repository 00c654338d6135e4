"""How many vector registers there are, and how wide, on the processor that Numba compiles for.

Numba's settings may name another processor than this one, or forbid some of its instructions, so
LLVM is asked for code rather than the processor for what it has."""

import functools
import re

import llvmlite.binding
from numba.core.registry import cpu_target

NARROWEST, WIDER = 16, (64, 32)  # bytes: of SSE2 and NEON; of AVX-512 and AVX


def vector_registers() -> int:
    """Number of registers for such vectors."""
    triple, _, _ = cpu_target.target_context.codegen().magic_tuple()
    return 32 if vector_bytes() == WIDER[0] or triple.startswith(("aarch64", "arm64")) else 16


@functools.cache
def vector_bytes() -> int:
    """Bytes of the widest vectors that a single instruction adds."""
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    target = llvmlite.binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, features=features)
    for width in WIDER:
        vector = f"<{width // 8} x double>"
        sum_of_two = f"define {vector} @f({vector} %a, {vector} %b) {{ %c = fadd {vector} %a, %b ret {vector} %c }}"
        code = machine.emit_assembly(llvmlite.binding.parse_assembly(sum_of_two))
        if len(re.findall(r"^\s+\w*add\w*\s", code, re.MULTILINE)) == 1:
            return width
    return NARROWEST
