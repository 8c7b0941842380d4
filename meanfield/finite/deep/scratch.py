"""Memory of passes, kept from one to the next: fresh pages cost as much as a third of a step that fills them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from solvers.protocols import Array


class Scratch:
    """Arrays by name, each made once and handed out again, larger where asked for; what they hold is undefined."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Array] = {}

    def array(self, name: str, layer: int, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        """The array of a name, (*shape); the one handed out before by this name is overwritten.

        Parameters
        ----------
        name : str
            Goes with one dtype.
        layer : int
        shape : tuple of int
        dtype : dtype
        """
        size = prod(shape)
        kept = self._kept.get((name, layer))
        if kept is None or kept.size < size:
            kept = self._kept[name, layer] = np.empty(size, dtype)
        return kept[:size].reshape(shape)


# One for each pass that goes on at the same time, not one for each network: many of these may be alive.
_idle: list[Scratch] = []


@contextmanager
def lent() -> Iterator[Scratch]:
    """Scratch that nobody else uses meanwhile, on other threads or further out; nothing in it may be kept."""
    try:
        scratch = _idle.pop()
    except IndexError:
        scratch = Scratch()
    try:
        yield scratch
    finally:
        _idle.append(scratch)
