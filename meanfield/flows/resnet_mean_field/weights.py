"""The state of a residual network: what moves, and the embeddings that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers import _check
from solvers._files import register_state
from solvers.errors import InputError
from solvers.protocols import Array

NAMES = ("U", "V", "W_E", "W_U")


class Weights:
    """U and V, (L, D, M), which move, and the embeddings W_E, (D, d_in), and W_U, (D, d_out), which do not.

    Parameters
    ----------
    U, V : array_like, (L, D, M)
        Column j of U[l] and of V[l] is unit j of block l.
    W_E : array_like, (D, d_in)
    W_U : array_like, (D, d_out)

    Raises
    ------
    InputError
        Shapes that do not chain, entries that are not finite.
    """

    #: what a run of such states calls its objective, in TeX
    symbol = "R(f_t)"

    def __init__(self, U: Any, V: Any, W_E: Any, W_U: Any) -> None:
        self.U, self.V = _check.array(U, "U", ndim=3), _check.array(V, "V", ndim=3)
        self.W_E, self.W_U = _check.array(W_E, "W_E", ndim=2), _check.array(W_U, "W_U", ndim=2)
        if self.V.shape != self.U.shape:
            raise InputError(
                f"V must have the shape of U, (L, D, M) = {self.U.shape}, but its shape is {self.V.shape}"
            )
        for name in ("W_E", "W_U"):
            found = getattr(self, name).shape
            if found[0] != self.U.shape[1]:
                raise InputError(
                    f"{name} must have one row per coordinate of the embedding, D = {self.U.shape[1]} as in U, but its "
                    f"shape is {found}"
                )

    @classmethod
    def over(cls, U: Array, V: Array, W_E: Array, W_U: Array) -> Weights:
        """Weights that share the memory of arrays `U`, `V`, `W_E` and `W_U`, which are not checked."""
        made = object.__new__(cls)
        made.U, made.V, made.W_E, made.W_U = U, V, W_E, W_U
        return made

    def __repr__(self) -> str:
        depth, dim, width = self.U.shape
        return f"Weights(depth={depth}, width={width}, dim={dim}, d_in={self.W_E.shape[1]}, d_out={self.W_U.shape[1]})"

    def __getstate__(self) -> dict[str, Any]:
        return self.to_arrays()

    def __setstate__(self, arrays: dict[str, Any]) -> None:
        Weights.__init__(self, **arrays)

    @property
    def flat(self) -> Array:
        """What moves, as one vector: U, then V, row by row; a copy."""
        return np.concatenate([self.U.reshape(-1), self.V.reshape(-1)])

    @property
    def embeddings(self) -> Array:
        """``[W_E, W_U]``, (D, d_in + d_out)."""
        return np.hstack([self.W_E, self.W_U])

    def to_arrays(self) -> dict[str, Array]:
        """The four arrays by name."""
        return {name: getattr(self, name) for name in NAMES}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any]) -> Weights:
        """The inverse of `to_arrays`, from such `arrays`."""
        return cls(*(arrays[name] for name in NAMES))


register_state("mean-field ResNet", Weights)
