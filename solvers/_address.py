"""Calls of machine code by its address: what `solvers._jit` compiled once serves every kernel, optimized once.

A compiled function that a kernel calls by name is linked into the kernel and optimized there again, for each plug-in.
Called by address, it is a number to the kernel. Its arguments are a *frame*, the address of an array of integers that
says where everything is, and a row.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

SIGNATURE = (types.int64, types.int64)


def address_of(function: Any) -> int:
    """Where the machine code of a compiled function of (frame, row) stands in this process."""
    function.compile(SIGNATURE)
    result = function.overloads[SIGNATURE]
    found = int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
    assert found != 0
    return found


@intrinsic
def call(typingctx: Any, address: Any, frame: Any, row: Any) -> Any:
    """What the compiled function at `address` returns, an integer, for (frame, row)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.int64, SIGNATURE)
        function = builder.inttoptr(args[0], kind.as_pointer())
        status, result = convention.call_function(builder, function, types.int64, SIGNATURE, args[1:])
        with builder.if_then(status.is_error, likely=False):
            convention.return_status_propagate(builder, status)
        return result

    return types.int64(types.int64, *SIGNATURE), codegen


@intrinsic
def pointer(typingctx: Any, address: Any) -> Any:
    """An address for `numba.carray`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen
