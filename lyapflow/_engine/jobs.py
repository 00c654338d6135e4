"""Jobs of a team: a kernel and its arguments as two addresses."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lyapflow._engine.atomics import INDEX

PART_FUNCTION = ir.FunctionType(ir.VoidType(), [INDEX, INDEX])


@intrinsic
def do_part(typingctx, function, arguments, part):
    """Call the function of a job for one part."""

    def codegen(context, builder, signature, values):
        function, arguments, part = values
        builder.call(builder.inttoptr(function, PART_FUNCTION.as_pointer()), [arguments, part])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


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
            function = cgutils.get_or_insert_function(builder.module, PART_FUNCTION, name)
            if function.is_declaration:
                function.linkage = "linkonce_odr"
                inside = ir.IRBuilder(function.append_basic_block())
                arguments, part = function.args
                job_value = inside.load(inside.inttoptr(arguments, values[0].type.as_pointer()))
                callee = context.declare_function(builder.module, compiled.fndesc)
                context.call_conv.call_function(
                    inside, callee, types.none, (job, types.intp), (job_value, part)
                )
                inside.ret_void()
            place = [builder.ptrtoint(pointer, INDEX) for pointer in (function, slot)]
            return context.make_tuple(builder, signature.return_type, place)

        return types.UniTuple(types.intp, 2)(job), codegen

    return addresses
