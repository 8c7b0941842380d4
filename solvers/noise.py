"""Counter-based noise: standard normals, uniforms and integers that depend on (seed, step, index) and on nothing else.

Philox4x32-10 (Salmon and others 2011) makes of a counter and a key 128 random bits; two words of a seed are hashed to
the key, and the step and the index are the counter. So the noise of particle i in step k is the same whatever
block, thread or process computes it, and a run can be resumed anywhere. Normals are by Box and Muller (1958), two from
each call, correct to 1e-12.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import carray
from numpy.typing import NDArray

from solvers import _check
from solvers._jit import compiled
from solvers._philox import LANES, philox, place, scratch, write_normals, write_uniforms
from solvers._rng import seed_words
from solvers.errors import InputError

NUMBERS = 2 * LANES
LOW, HALF, ONE, MANY = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(1), np.uint64(LANES)
TRY, ALL = np.uint64(1 << 16), np.uint64(1 << 32)
# Streams of one seed: normals, uniforms and integers have nothing in common.
NORMALS, UNIFORMS, INTEGERS = np.uint64(1), np.uint64(2), np.uint64(3)


@compiled(fastmath=False, forceinline=True)
def _stream(seed0, seed1, step, purpose):
    """Key and step as the generator takes them: a hash of the seed, so that seeds 0, 1, 2 have nothing in common."""
    s0, s1 = np.uint64(seed0), np.uint64(seed1)
    k0, k1, high, low = philox(s1 & LOW, s1 >> HALF, purpose, np.uint64(0), s0 & LOW, s0 >> HALF)
    return k0, k1, (high << HALF | low) + np.uint64(step)


@numba.njit(
    error_model="numpy", forceinline=True
)  # not cached: an intrinsic among its arguments cannot be pickled
def _fill(write, k0, k1, step, start, out):
    """The numbers start, start + 1, ... of a step into a contiguous vector; block q holds the numbers 2q and 2q + 1."""
    spare = scratch(out)
    numbers = carray(spare, NUMBERS)
    block = start >> ONE
    skip = np.int64(start & ONE)
    done = 0
    while done < out.size:
        count = min(NUMBERS - skip, out.size - done)
        fits = count == NUMBERS
        write(place(out, done, fits, spare), block, step, k0, k1)
        if not fits:
            for i in range(count):
                out[done + i] = numbers[skip + i]
        done += count
        block += MANY
        skip = 0


@compiled(fastmath=False)
def fill_normals(seed0, seed1, step, first, out):
    """Standard normals of particles first, first + 1, ... in a step, for compiled code: 1.8 ns each in rows of 2048.

    The normal of coordinate c of particle i is a function of (seed0, seed1, step, i p + c), p coordinates a particle.

    Parameters
    ----------
    seed0, seed1 : uint64
        The seed, as from `seed_words`.
    step : int
        Number of the time step, at least 0.
    first : int
        The particle in row 0 of `out`.
    out : ndarray, (rows, p) or (rows,), C-contiguous
        Filled; a float32 array gets the float64 normals, rounded.
    """
    k0, k1, time = _stream(seed0, seed1, step, NORMALS)
    start = np.uint64(first) * np.uint64(out.size // max(1, len(out)))
    _fill(write_normals, k0, k1, time, start, out.reshape(out.size))


@compiled(fastmath=False)
def fill_uniforms(seed0, seed1, step, first, out):
    """Uniform numbers in [0, 1), multiples of 2^-52, numbered as in `fill_normals` but independent of those.

    Parameters
    ----------
    seed0, seed1 : uint64
    step : int
    first : int
        The particle in row 0 of `out`.
    out : ndarray of float64, (rows, p) or (rows,), C-contiguous
        Filled. (In float32 the largest would round to 1.)
    """
    k0, k1, time = _stream(seed0, seed1, step, UNIFORMS)
    start = np.uint64(first) * np.uint64(out.size // max(1, len(out)))
    _fill(write_uniforms, k0, k1, time, start, out.reshape(out.size))


@compiled(fastmath=False)
def fill_integers(seed0, seed1, step, first, below, out):
    """Integers uniform on 0 .. below - 1, without bias: a multiplication and a rejection (Lemire 2019).

    Parameters
    ----------
    seed0, seed1 : uint64
    step : int
    first : int
        The index of out[0], below 2^48.
    below : int
        At least 1, at most 2^32.
    out : ndarray of integers, (count,)
        Filled.
    """
    k0, k1, time = _stream(seed0, seed1, step, INTEGERS)
    n = np.uint64(below)
    refused = ALL % n
    for i in range(out.size):
        index = np.uint64(first + i)
        again = np.uint64(0)
        left = True
        while left:
            words = philox(index & LOW, (index >> HALF) + again, time & LOW, time >> HALF, k0, k1)
            for word in words:
                product = word * n
                # Of the 2^32 words, the floor(2^32 / n) that give an integer in full remain for each.
                if left and product & LOW >= refused:
                    out[i] = np.int64(product >> HALF)
                    left = False
            again += TRY


def _words(seed: Any) -> NDArray[np.uint64]:
    """The two words of a seed, from themselves or from what an `rng` argument takes."""
    if isinstance(seed, np.ndarray) and seed.dtype == np.uint64 and seed.shape == (2,):
        return seed
    return seed_words(seed, "noise")


def _array(shape: Any, dtype: Any) -> NDArray[Any]:
    """An array to fill, as (particles, numbers of each)."""
    sizes = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    if not sizes:
        raise InputError(
            "shape must have at least one axis, that of the particles; pass 1 for a single number"
        )
    return np.empty(
        (_natural(sizes[0], "shape"), math.prod(_natural(size, "shape") for size in sizes[1:])), dtype
    )


def normals(seed: Any, step: int, shape: Any, first: int = 0, dtype: Any = np.float64) -> NDArray[Any]:
    """Standard normals of a step: row i is the noise of particle ``first + i``.

    Parameters
    ----------
    seed : ndarray of uint64, (2,), or int, SeedSequence or Generator
        Two words, as `fill_normals` takes them, or what an `rng` argument takes.
    step : int
    shape : int or tuple
        Particles first.
    first : int
        The particle in row 0.
    dtype : numpy.float64 or numpy.float32
        The float32 normals are the float64 ones, rounded.
    """
    kind = _check.choice(np.dtype(dtype).name, "dtype", ("float64", "float32"))
    words, out = _words(seed), _array(shape, kind)
    fill_normals(words[0], words[1], _natural(step, "step"), _natural(first, "first"), out)
    return out.reshape(shape)


def uniforms(seed: Any, step: int, shape: Any, first: int = 0) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) of a step, independent of its normals.

    Parameters
    ----------
    seed : ndarray of uint64, (2,), or int, SeedSequence or Generator
    step : int
    shape : int or tuple
        Particles first.
    first : int
        The particle in row 0.
    """
    words, out = _words(seed), _array(shape, np.float64)
    fill_uniforms(words[0], words[1], _natural(step, "step"), _natural(first, "first"), out)
    return out.reshape(shape)


def integers(seed: Any, step: int, count: int, below: int, first: int = 0) -> NDArray[np.int64]:
    """Integers of a step, uniform on 0 .. below - 1 without bias, drawn with replacement.

    Parameters
    ----------
    seed : ndarray of uint64, (2,), or int, SeedSequence or Generator
    step : int
    count : int
    below : int
        At least 1, at most 2^32.
    first : int
        The index of the first one.
    """
    if not 1 <= _natural(below, "below") <= 2**32:
        raise InputError(f"below must be between 1 and 2^32, not {below}")
    words, out = _words(seed), np.empty(_natural(count, "count"), dtype=np.int64)
    fill_integers(words[0], words[1], _natural(step, "step"), _natural(first, "first"), below, out)
    return out


def _natural(value: Any, name: str) -> int:
    return int(_check.number(value, name, nonnegative=True, integer=True))
