"""exp, expm1, tanh, sigmoid and softplus for float64, branch-free, so that LLVM vectorizes loops over them.

Numba's ``math.exp`` and ``math.tanh`` are calls into libm, one number at a time: 10 to 15 ns each. These are plain
arithmetic: argument reduction by multiples of log 2 with a magic constant, a polynomial, and the exponent put
together as bits. NaN goes through, overflow gives infinity, underflow goes through the denormals.

They are compiled without ``reassoc``: reordering sums would undo the argument reduction. `contract` (fused
multiply-add) is welcome.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from solvers._jit import compiled

EXACT = {"contract", "nsz"}
# Adding 1.5 * 2^52 rounds to an integer, which then stands in the low bits of the sum.
MAGIC = 6755399441055744.0
MAGIC_BITS = 0x4338000000000000
LOG2_E = 1.4426950408889634
# log 2 in two parts; k * LN2_HIGH is exact for |k| < 2^11.
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    """The 64 bits of a float as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _from_bits(typingctx: Any, n: Any) -> Any:
    """The float of 64 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@compiled(fastmath=EXACT, forceinline=True)
def _tail(r: float) -> float:
    """``(e^r - 1 - r) / r^2`` for |r| <= log(2)/2: Taylor to degree 13 of e^r, remainder below 1e-17."""
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    return p * r + 0.5


@compiled(fastmath=EXACT, forceinline=True)
def exp(x: float) -> float:
    """``e^x``; at most 1 ulp off (tested)."""
    x = 710.0 if x > 710.0 else x  # written so that NaN stays
    x = -746.0 if x < -746.0 else x
    t = x * LOG2_E + MAGIC
    k = t - MAGIC
    n = _bits(t) - MAGIC_BITS
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    e = 1.0 + (r + r * r * _tail(r))
    # Two factors of half the exponent each: the result may be denormal, or overflow, but they are neither.
    half = n >> 1
    return e * _from_bits((half + 1023) << 52) * _from_bits((n - half + 1023) << 52)


@compiled(fastmath=EXACT, forceinline=True)
def expm1(x: float) -> float:
    """``e^x - 1`` with full relative accuracy near 0; at most 2 ulp off (tested)."""
    tiny = x
    x = 710.0 if x > 710.0 else x
    x = -40.0 if x < -40.0 else x  # -1 to rounding
    t = x * LOG2_E + MAGIC
    k = t - MAGIC
    n = _bits(t) - MAGIC_BITS
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    # What rounding took from r goes back in: near k = -1 and 1 the sum below cancels.
    lost = (high - r) - low
    p = r + (lost + r * r * _tail(r))
    # 2^k p + (2^k - 1), scaled in two steps: at the top of the range 2^1024 overflows, the result may not.
    half = n >> 1
    rest = n - half
    value = p * _from_bits((half + 1023) << 52) + (
        _from_bits((half + 1023) << 52) - _from_bits((1023 - rest) << 52)
    )
    return tiny if tiny == 0.0 else value * _from_bits((rest + 1023) << 52)


@compiled(fastmath=EXACT, forceinline=True)
def tanh(x: float) -> float:
    """Hyperbolic tangent, odd to the last bit; at most 3 ulp off (tested)."""
    size = -x if x < 0.0 else x
    e = expm1(-2.0 * (20.0 if size > 20.0 else size))
    value = -e / (e + 2.0)
    return -value if x < 0.0 else (x if x == 0.0 else value)


@compiled(fastmath=EXACT, forceinline=True)
def sigmoid(x: float) -> float:
    """``1 / (1 + e^-x)`` without overflow and with full relative accuracy in the left tail; at most 2 ulp (tested)."""
    e = exp(x if x < 0.0 else -x)
    inverse = 1.0 / (1.0 + e)
    return e * inverse if x < 0.0 else inverse


@compiled(fastmath=EXACT, forceinline=True)
def log1p_unit(e: float) -> float:
    """``log(1 + e)`` for 0 <= e <= 1: ``2 artanh(e/(2 + e))`` by its series, remainder below 1e-17 relative."""
    s = e / (2.0 + e)
    q = s * s
    p = 1.0 / 33.0
    p = p * q + 1.0 / 31.0
    p = p * q + 1.0 / 29.0
    p = p * q + 1.0 / 27.0
    p = p * q + 1.0 / 25.0
    p = p * q + 1.0 / 23.0
    p = p * q + 1.0 / 21.0
    p = p * q + 1.0 / 19.0
    p = p * q + 1.0 / 17.0
    p = p * q + 1.0 / 15.0
    p = p * q + 1.0 / 13.0
    p = p * q + 1.0 / 11.0
    p = p * q + 1.0 / 9.0
    p = p * q + 1.0 / 7.0
    p = p * q + 1.0 / 5.0
    p = p * q + 1.0 / 3.0
    return 2.0 * (s + s * q * p)


@compiled(fastmath=EXACT, forceinline=True)
def softplus(x: float) -> float:
    """``log(1 + e^x)`` without overflow and with full relative accuracy in the left tail; at most 3 ulp (tested)."""
    return (x if x > 0.0 else 0.0) + log1p_unit(exp(-x if x > 0.0 else x))
