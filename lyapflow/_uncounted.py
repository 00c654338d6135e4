"""Arrays without counted references, for kernels whose caller holds what they work on.

Numba counts the references to an array's memory at every slice. A count is an atomic write: dear in a loop of small
steps, and dearer where two threads slice the same array, each waiting for the other's cache line.
"""

from numba.core import cgutils, types
from numba.extending import intrinsic


def _strip(context, builder, kind, value):
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for i, inner in enumerate(kind.types):
            stripped = _strip(context, builder, inner, builder.extract_value(value, i))
            value = builder.insert_value(value, stripped, i)
    return value


@intrinsic
def uncounted(typingctx, value):
    """The same arrays, or tuples of them, with slices that count no references; whoever calls must hold them."""

    def codegen(context, builder, signature, values):
        return _strip(context, builder, *signature.args, *values)

    return value(value), codegen
