"""The parametrization of Chizat (2019): a ReLU neuron whose weights are signed squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Euclidean, standard_normal, unit_directions


@dataclass(frozen=True)
class SignedSquareReLU:
    """``Phi(w; x) = relu(sum_k w_k |w_k| x_k)``, positively 2-homogeneous in w.

    The square is taken coordinate by coordinate, as in the published code of Chizat (2019, 1907.10300). With
    the penalty `Ridge` on w it is a sparsity penalty on w |w|. Outputs are non-negative combinations: give
    particles ``signs=`` for a signed network.

    Parameters
    ----------
    d : int
        Number of inputs.
    """

    d: int

    smooth = False
    homogeneity = 2
    outputs = 1

    def __post_init__(self) -> None:
        _check.number(self.d, "d", positive=True, integer=True)

    @property
    def dim(self) -> int:
        """Coordinates of a neuron: d."""
        return self.d

    @property
    def layout(self) -> dict[str, tuple[int, int]]:
        """One layer, w."""
        return {"w": (0, self.d)}

    @property
    def space(self) -> Euclidean:
        """R^d."""
        return Euclidean(self.d)

    def check_inputs(self, X: Any) -> Array:
        """Inputs as (n, d), or one sentence; a vector is read as n points of one input when d = 1."""
        inputs = _check.array(X, "X", ndim=(1, 2))
        return self._inputs(inputs[:, None] if inputs.ndim == 1 else inputs)

    def _inputs(self, X: Any) -> Array:
        inputs = np.asarray(X, dtype=np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != self.d:
            raise InputError(
                f"X must have shape (n, {self.d}) for this network, but its shape is {inputs.shape}"
            )
        return inputs

    def features(self, positions: Any, X: Any) -> Array:
        """Phi(w_j; x_i), (m, n)."""
        w = np.asarray(positions, dtype=np.float64)
        return np.maximum((w * np.abs(w)) @ self._inputs(X).T, 0.0)

    def vjp(self, positions: Any, X: Any, q: Any) -> Array:
        """sum_i q_i grad Phi(w_j; x_i) = 2 |w_j| * sum over active i of q_i x_i, (m, d)."""
        w, inputs = np.asarray(positions, dtype=np.float64), self._inputs(X)
        active = (w * np.abs(w)) @ inputs.T > 0
        return np.asarray(2 * np.abs(w) * ((active * np.asarray(q)) @ inputs))

    def jvp(self, positions: Any, X: Any, direction: Any) -> Array:
        """grad Phi(w_j; x_i) . v_j for the `direction` v (m, d), the active pattern held fixed: (m, n)."""
        w, inputs = np.asarray(positions, dtype=np.float64), self._inputs(X)
        active = (w * np.abs(w)) @ inputs.T > 0
        return np.asarray(active * ((2 * np.abs(w) * direction) @ inputs.T))

    def curved(self, positions: Any, X: Any, q: Any, direction: Any) -> Array:
        """sum_i q_i Hess Phi(w_j; x_i) v_j for the `direction` v (m, d), the active pattern held fixed: (m, d)."""
        w, inputs = np.asarray(positions, dtype=np.float64), self._inputs(X)
        active = (w * np.abs(w)) @ inputs.T > 0
        return np.asarray(2 * np.sign(w) * direction * ((active * np.asarray(q)) @ inputs))

    def sample(self, kind: str, m: int, rng: Any, *, std: float = 1.0, method: str = "random") -> Array:
        """Draw m neurons: "gaussian" N(0, std^2 I) or "sphere" (uniform, norm `std`)."""
        _check.choice(kind, "kind", ("gaussian", "sphere"))
        draw = generator(rng, "measure")
        points = standard_normal if kind == "gaussian" else unit_directions
        return std * points(m, self.d, draw, method)
