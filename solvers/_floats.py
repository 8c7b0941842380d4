"""The pieces of vector mathematics that Python has no word for, for float64 and float32 alike (see `_jit`, `_vecmath`).

Each is an intrinsic of a few instructions whose types follow its argument, so that a function written once with
them computes in float32 when it is given a float32. `fma` rounds once, explicitly: compiled without fast-math
flags, a function made of these gives the same bits wherever it is inlined, vectorized or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Values = Sequence[float]
SPLIT = 8


def splat(kind: Any, value: float) -> Any:
    """A constant of an LLVM type; of every lane, where the type is a vector."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


class _Format:
    """Layout of a binary floating-point type: its integer of the same size, mantissa bits and exponent bias."""

    def __init__(self, value: Any) -> None:
        single = _suffix(value.type).endswith("f32")
        word = ir.IntType(32 if single else 64)
        self.float = value.type
        self.integer = (
            ir.VectorType(word, value.type.count) if isinstance(value.type, ir.VectorType) else word
        )
        self.mantissa = 23 if single else 52
        self.bias = 127 if single else 1023

    def bits(self, builder: Any, x: Any) -> Any:
        return builder.bitcast(x, self.integer)

    def number(self, builder: Any, n: Any) -> Any:
        return builder.bitcast(n, self.float)

    def word(self, n: int) -> Any:
        return splat(self.integer, n)


def _suffix(kind: Any) -> str:
    """An LLVM type in the name of an LLVM intrinsic."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return "f32" if isinstance(kind, ir.FloatType) else "f64"


def call(builder: Any, name: str, *args: Any) -> Any:
    """Call an LLVM intrinsic whose arguments and result have one type, number or vector."""
    kind = args[0].type
    full = f"llvm.{name}.{_suffix(kind)}"
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), full)
    return builder.call(function, args)


def constant(double: float, single: float | None = None) -> Any:
    """A number in the type of its argument: ``c(x)`` is a float32 where x is one (a literal would promote x).

    Parameters
    ----------
    double : float
    single : float, optional
        The value for float32 if it is not the same number rounded.
    """

    @intrinsic
    def value(typingctx: Any, like: Any) -> Any:
        chosen = single if single is not None and like == types.float32 else double

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return ir.Constant(args[0].type, chosen)

        return like(like), codegen

    return value


def polynomial(double: Values, single: Values) -> Any:
    """``c[0] + c[1] x + ...``, unrolled, one fused operation a coefficient.

    Horner's rule is one chain in which each operation waits for the one before; even and odd coefficients, from 8 of
    them, in two chains in x^2 (and each of these again in two) keep the processor's units busy.

    Parameters
    ----------
    double, single : sequence of float
        Coefficients for float64 and for float32.
    """

    @intrinsic
    def evaluate(typingctx: Any, x: Any) -> Any:
        chosen = single if x == types.float32 else double

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return evaluate_polynomial(builder, chosen, args[0])

        return x(x), codegen

    return evaluate


def evaluate_polynomial(builder: Any, c: Values, x: Any) -> Any:
    """The instructions of `polynomial`, for a number or a vector."""
    if len(c) >= SPLIT:
        square = builder.fmul(x, x)
        even, odd = (evaluate_polynomial(builder, c[parity::2], square) for parity in (0, 1))
        return call(builder, "fma", odd, x, even)
    total = splat(x.type, c[-1])
    for coefficient in reversed(c[:-1]):
        total = call(builder, "fma", total, x, splat(x.type, coefficient))
    return total


@intrinsic
def real(typingctx: Any, x: Any) -> Any:
    """A float32 or float64 as it is, any other number as float64."""
    result = x if x in (types.float32, types.float64) else types.float64

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], signature.args[0], signature.return_type)

    return result(x), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "fma", *args)

    return a(a, a, a), codegen


@intrinsic
def magnitude(typingctx: Any, x: Any) -> Any:
    """``|x|``, also of -0.0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "fabs", *args)

    return x(x), codegen


@intrinsic
def signed(typingctx: Any, size: Any, like: Any) -> Any:
    """`size` with the sign of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "copysign", *args)

    return size(size, size), codegen


@intrinsic
def power_of_two(typingctx: Any, t: Any) -> Any:
    """``2^n`` where t = 1.5 * 2^mantissa + bias + n, so that the low bits of t are the exponent to be."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        f = _Format(args[0])
        return f.number(builder, builder.shl(f.bits(builder, args[0]), f.word(f.mantissa)))

    return t(t), codegen


@intrinsic
def half_power_of_two(typingctx: Any, t: Any) -> Any:
    """``2^h`` where t = 1.5 * 2^mantissa + 2 bias + n and h = n // 2 (the bias of each half is in t)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        f = _Format(args[0])
        half = builder.lshr(f.bits(builder, args[0]), f.word(1))
        return f.number(builder, builder.shl(half, f.word(f.mantissa)))

    return t(t), codegen


@intrinsic
def other_half_power_of_two(typingctx: Any, t: Any) -> Any:
    """``2^(n - h)`` for the same t: the product of both is 2^n, even where that is no normal number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        f = _Format(args[0])
        bits = f.bits(builder, args[0])
        rest = builder.sub(bits, builder.lshr(bits, f.word(1)))
        return f.number(builder, builder.shl(rest, f.word(f.mantissa)))

    return t(t), codegen


def _offset(f: _Format) -> int:
    """What moves the border between two exponents from 1 to sqrt(1/2), as a difference of bit patterns."""
    root = 0x3F3504F3 if f.mantissa == 23 else 0x3FE6A09E667F3BCD
    return (f.bias << f.mantissa) - root


def binary_parts(builder: Any, x: Any) -> tuple[Any, Any]:
    """(k, m) with x = 2^k m and m in [sqrt(1/2), sqrt 2), for positive normal x, number or vector."""
    f = _Format(x)
    moved = builder.add(f.bits(builder, x), f.word(_offset(f)))
    # The integer lands in the low bits of 2^mantissa: quicker than a conversion, which AVX2 has not got.
    whole = builder.or_(builder.lshr(moved, f.word(f.mantissa)), f.word((f.bias + f.mantissa) << f.mantissa))
    k = builder.fsub(f.number(builder, whole), splat(f.float, float(2**f.mantissa + f.bias)))
    kept = builder.and_(moved, f.word((1 << f.mantissa) - 1))
    return k, f.number(builder, builder.add(kept, f.word((f.bias << f.mantissa) - _offset(f))))


@intrinsic
def exponent(typingctx: Any, x: Any) -> Any:
    """``k`` as a float, for normal x = 2^k * m with m in [sqrt(1/2), sqrt 2)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return binary_parts(builder, args[0])[0]

    return x(x), codegen


@intrinsic
def significand(typingctx: Any, x: Any) -> Any:
    """``m`` of the same decomposition."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return binary_parts(builder, args[0])[1]

    return x(x), codegen
