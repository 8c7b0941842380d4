"""The weights of a deep network: arrays by layer, and all of them as one flat vector."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

NAME = re.compile(r"([Wb])(\d+)")


def in_order(name: str) -> tuple[int, bool]:
    """Where an array stands: layer by layer, W before b."""
    match = NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(f"weights are named W0, b0, W1, ..., not {name!r}")
    return int(match[2]), match[1] == "b"


class Weights:
    """Arrays ``W0, b0, W1, ...`` of a deep network, views of one vector; iterating gives the arrays, in this order.

    Parameters
    ----------
    arrays : mapping of str to array_like
        Each W (out, fan), each b (out,).

    Attributes
    ----------
    flat : ndarray, (P,)
        All entries, array after array, each row by row.

    Raises
    ------
    InputError
    """

    flat: Array
    #: what a run of such states calls its objective, in TeX
    symbol = "R(f_t)"

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        if not isinstance(arrays, Mapping) or not arrays:
            raise InputError("arrays must be a mapping of names W0, b0, W1, ... to arrays, with one at least")
        checked = {
            name: _check.array(arrays[name], name, ndim=1 if name[0] == "b" else 2)
            for name in sorted(arrays, key=in_order)
        }
        shapes = {name: one.shape for name, one in checked.items()}
        self._set(np.concatenate([one.reshape(-1) for one in checked.values()]), shapes)

    def _set(self, flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.flat = flat
        self._arrays = views(flat, shapes)

    @classmethod
    def over(cls, flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
        """Weights that share the memory of a flat vector.

        Parameters
        ----------
        flat : ndarray, (P,)
        shapes : mapping of str to tuple of int
            In order.
        """
        made = object.__new__(cls)
        made._set(flat, shapes)
        return made

    def __iter__(self) -> Iterator[Array]:
        return iter(self._arrays.values())

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, key: str | int) -> Array:
        if isinstance(key, str):
            return self._arrays[_check.choice(key, "a layer", self._arrays)]
        return list(self._arrays.values())[key]

    def __repr__(self) -> str:
        return f"Weights({', '.join(f'{name} {one.shape}' for name, one in self._arrays.items())})"

    def __getstate__(self) -> dict[str, Any]:
        return self.to_arrays()

    def __setstate__(self, arrays: dict[str, Any]) -> None:
        Weights.__init__(self, arrays)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays, by name."""
        return {name: one.shape for name, one in self._arrays.items()}

    def to_arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return dict(self._arrays)

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any]) -> Weights:
        """The inverse of `to_arrays`, from such `arrays`."""
        return cls(arrays)


def views(flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """The arrays in a flat vector, without copies."""
    found, low = {}, 0
    for name, shape in shapes.items():
        high = low + prod(shape)
        found[name] = flat[low:high].reshape(shape)
        low = high
    return found
