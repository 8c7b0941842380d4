"""Random numbers enter through one argument, `rng`; each purpose draws from a stream of its own."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.errors import InputError


def _sequence(rng: Any, purpose: str) -> np.random.SeedSequence:
    """The seed sequence of (rng, purpose): the same integer gives independent streams to data, start and SGD."""
    tag = zlib.crc32(purpose.encode())
    if isinstance(rng, np.random.SeedSequence):
        return np.random.SeedSequence(entropy=rng.entropy, spawn_key=(*rng.spawn_key, tag))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if rng < 0:
            raise InputError(f"rng must be a non-negative integer, not {rng}")
        return np.random.SeedSequence(entropy=int(rng), spawn_key=(tag,))
    raise InputError(
        "rng must be a non-negative integer, a numpy.random.SeedSequence or a numpy.random.Generator, "
        f"not {rng!r}"
    )


def generator(rng: Any, purpose: str = "") -> np.random.Generator:
    """The generator behind an `rng` argument.

    An integer or `SeedSequence` gives the stream of (rng, purpose), so that data, start and SGD may share
    ``rng=0`` and stay independent whatever the order of lines; a `Generator` is used as it is.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(_sequence(rng, purpose))


def seed_words(rng: Any, purpose: str = "") -> NDArray[np.uint64]:
    """Two 64-bit words that key a counter-based generator (Philox); a `Generator` is asked for them."""
    if isinstance(rng, np.random.Generator):
        return rng.integers(0, 2**64, size=2, dtype=np.uint64)
    return np.asarray(_sequence(rng, purpose).generate_state(2, np.uint64), dtype=np.uint64)
