"""Philox4x32-10 and what is made of its words, written as vector instructions for 32 blocks at a time (see `_jit`).

Philox (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11) is ten rounds of
multiplications and exclusive ors that turn a counter of four 32-bit words, under a key of two, into four random ones.

A loop over numbers would do, but LLVM would vectorize it eight at a time: one chain of 130 dependent instructions, in
which the processor waits. 32 at a time are four such chains side by side (2.7 against 1.8 ns a normal). LLVM cuts
the vectors into what the processor has, so the code and its bits are the same on any.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from solvers._floats import binary_parts, call, evaluate_polynomial, splat

LANES = 32
ROUNDS = 10
# The multipliers and the steps of the key of Philox4x32.
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF
WORD, DOUBLE, INDEX = ir.IntType(64), ir.DoubleType(), ir.IntType(32)

# Minimax fits (benchmarks/minimax.py) to 1e-12, which is more than noise needs: -2 log(1 + g) / g for 1 + g between
# sqrt(1/2) and sqrt(2), error 1.4e-13; sin(2 pi v)/v and cos(2 pi v) in v^2 for |v| <= 1/4, 3.2e-13 and 1.9e-15.
LOG = (-2.000000000000104, 1.00000000000408, -0.6666666665584334, 0.49999999851023474, -0.40000001769422877,
     0.33333349888497377, -0.28571325800650005, 0.24999158209078579, -0.22224778482335092, 0.2002239269256082,
     -0.18158632010772896, 0.16349105765083916, -0.15284913742959202, 0.1646109356489083, -0.1623361141439138,
     0.08197916730055542)  # fmt: skip
SINE = (6.283185307179272, -41.34170223990533, 81.60524914932438, -76.70584756480028, 42.05813551943939,
     -15.081492416294772, 3.6659042475933528)  # fmt: skip
COSINE = (0.9999999999999981, -19.739208802174755, 64.93939402133591, -85.4568170359396, 60.24463062219452,
     -26.425889072233755, 7.8965595605086945, -1.6452408201574593)  # fmt: skip


def _everywhere(builder: Any, number: Any, like: Any) -> Any:
    """A number in every lane, where `like` is a vector."""
    if not isinstance(like, ir.VectorType):
        return number
    nothing = ir.Constant(like, ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(INDEX, 0))
    return builder.shuffle_vector(one, nothing, splat(ir.VectorType(INDEX, like.count), 0))


def rounds(builder: Any, counter: list[Any], key: list[Any]) -> list[Any]:
    """Philox4x32-10 of four words, numbers or vectors of 64 bits of which the lower 32 are used, and a key of two."""
    kind = counter[0].type
    low, half = splat(kind, LOW), splat(kind, 32)
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for number in range(ROUNDS):
        if number:
            k0 = builder.and_(builder.add(k0, ir.Constant(WORD, W0)), ir.Constant(WORD, LOW))
            k1 = builder.and_(builder.add(k1, ir.Constant(WORD, W1)), ir.Constant(WORD, LOW))
        first = builder.mul(builder.and_(c0, low), splat(kind, M0))
        second = builder.mul(builder.and_(c2, low), splat(kind, M1))
        # The lower words take products whole: what stands above 32 bits is masked before it counts.
        c0 = builder.xor(builder.xor(builder.lshr(second, half), c1), _everywhere(builder, k0, kind))
        c2 = builder.xor(builder.xor(builder.lshr(first, half), c3), _everywhere(builder, k1, kind))
        c1, c3 = second, first
    return [builder.and_(c, low) for c in (c0, c1, c2, c3)]


@intrinsic
def philox(typingctx: Any, c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """The four words (uint64 below 2^32) of one counter under one key."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(
            builder, signature.return_type, rounds(builder, list(args[:4]), list(args[4:]))
        )

    return types.UniTuple(types.uint64, 4)(*[types.uint64] * 6), codegen


def _two_words(builder: Any, block: Any, step: Any, key: list[Any]) -> tuple[Any, Any]:
    """Two 64-bit words from each of the blocks ``block .. block + LANES - 1`` of a step."""
    kind = ir.VectorType(WORD, LANES)
    low, half = splat(kind, LOW), splat(kind, 32)
    index = builder.add(_everywhere(builder, block, kind), ir.Constant(kind, list(range(LANES))))
    time = _everywhere(builder, step, kind)
    words = [
        builder.and_(index, low),
        builder.lshr(index, half),
        builder.and_(time, low),
        builder.lshr(time, half),
    ]
    c0, c1, c2, c3 = rounds(builder, words, key)
    return builder.or_(builder.shl(c0, half), c1), builder.or_(builder.shl(c2, half), c3)


def _above_one(builder: Any, word: Any) -> Any:
    """The number in [1, 2) whose mantissa is the upper 52 bits of a word."""
    kind = ir.VectorType(DOUBLE, word.type.count) if isinstance(word.type, ir.VectorType) else DOUBLE
    mantissa = builder.lshr(word, splat(word.type, 12))
    return builder.bitcast(builder.or_(mantissa, splat(word.type, 1023 << 52)), kind)


def box_muller(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Two normals from two words: ``sqrt(-2 log u) (cos, sin)(2 pi v)``.

    u = 2^-52 .. 1 is never 0, so that the largest normal is 8.49; v is in [-1/4, 1/4), and a bit of its own turns the
    pair by half a circle.
    """
    u = builder.fsub(splat(_above_one(builder, a).type, 2.0), _above_one(builder, a))
    kind = u.type
    k, m = binary_parts(builder, u)
    g = builder.fsub(m, splat(kind, 1.0))
    rest = builder.fmul(g, evaluate_polynomial(builder, LOG, g))
    square = call(builder, "fma", k, splat(kind, -2.0 * math.log(2.0)), rest)
    r = call(builder, "copysign", call(builder, "sqrt", square), builder.bitcast(b, kind))
    fraction = _above_one(builder, builder.shl(b, splat(b.type, 1)))
    v = call(builder, "fma", fraction, splat(kind, 0.5), splat(kind, -0.75))
    q = builder.fmul(v, v)
    cosine = evaluate_polynomial(builder, COSINE, q)
    sine = builder.fmul(v, evaluate_polynomial(builder, SINE, q))
    return builder.fmul(r, cosine), builder.fmul(r, sine)


def unit(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Two uniform numbers in [0, 1), multiples of 2^-52."""
    x, y = _above_one(builder, a), _above_one(builder, b)
    return builder.fsub(x, splat(x.type, 1.0)), builder.fsub(y, splat(y.type, 1.0))


def _rounded(builder: Any, x: Any, dtype: Any) -> Any:
    """A vector of float64 in the precision of what it is written to."""
    if dtype == types.float64:
        return x
    return builder.fptrunc(x, ir.VectorType(ir.FloatType(), x.type.count))


def _blocks(transform: Any) -> Any:
    """An intrinsic ``f(pointer, block, step, k0, k1)`` that writes the 2 LANES numbers of LANES blocks, in order."""

    @intrinsic
    def write(typingctx: Any, pointer: Any, block: Any, step: Any, k0: Any, k1: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y = transform(builder, *_two_words(builder, args[1], args[2], list(args[3:])))
            x, y = (_rounded(builder, z, pointer.dtype) for z in (x, y))
            order = [i // 2 + (i % 2) * LANES for i in range(2 * LANES)]
            both = builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INDEX, 2 * LANES), order))
            builder.store(both, builder.bitcast(args[0], both.type.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.none(pointer, *[types.uint64] * 4), codegen

    return write


write_normals = _blocks(box_muller)
write_uniforms = _blocks(unit)


@intrinsic
def scratch(typingctx: Any, out: Any) -> Any:
    """Room for the numbers of LANES blocks, on the stack, in the precision of `out`."""
    if out.dtype not in (types.float64, types.float32):
        raise TypingError(f"out must hold float64 or float32, not {out.dtype}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = context.get_value_type(out.dtype)
        room = cgutils.alloca_once(builder, ir.ArrayType(number, 2 * LANES))
        return builder.bitcast(room, number.as_pointer())

    return types.CPointer(out.dtype)(out), codegen


@intrinsic
def place(typingctx: Any, out: Any, index: Any, fits: Any, spare: Any) -> Any:
    """Where to write: at out[index] if all fits there, else to the spare room."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.select(args[2], builder.gep(data, [args[1]]), args[3])

    return spare(out, types.intp, types.boolean, spare), codegen
