"""Signed measures on the unit sphere of directions: what a homogeneous network is, whatever its neurons are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield import activations
from meanfield.networks import TwoLayer
from meanfield.norms._atoms import atoms
from meanfield.support import lift
from solvers import _check
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array


@dataclass(frozen=True, eq=False)
class SphereMeasure:
    """``nu = sum_j c_j delta(u_j)``: the network ``f(x) = sum_j c_j sigma(u_j . x)``, (x, 1) with a bias.

    Parameters
    ----------
    directions : array_like, (k, D)
        Unit vectors (w, b).
    masses : array_like, (k,)
        c_j, of either sign.
    activation : plug-in or str
        Positively 1-homogeneous.
    bias : bool
        Whether the last coordinate of a direction is b.
    """

    directions: Array
    masses: Array
    activation: Any
    bias: bool

    def __post_init__(self) -> None:
        u = _check.array(self.directions, "directions", ndim=2)
        c = _check.array(self.masses, "masses", shape=(u.shape[0],))
        # a few roundings of a square root
        if np.abs(np.linalg.norm(u, axis=1) - 1.0).max() > 1e-9:
            raise InputError(
                "directions must be unit vectors; divide them by their norms and multiply masses by these"
            )
        resolved = activations.resolve(self.activation)
        if getattr(resolved, "degree", None) != 1:
            raise InputError(
                f"a measure on the sphere needs a positively 1-homogeneous activation, not {resolved!r}"
            )
        for name, value in (
            ("directions", u),
            ("masses", c),
            ("activation", resolved),
            ("bias", bool(self.bias)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, measure: ParticleMeasure, network: TwoLayer) -> SphereMeasure:
        """The lift of a network's neurons, its scale included; a centre that is a measure is subtracted.

        Parameters
        ----------
        measure : ParticleMeasure
        network : TwoLayer
            One output, a positively 1-homogeneous activation.
        """
        raised = lift(measure, network)
        u, c = raised.positions, raised.coefficients
        if network.centre is not None:
            if not isinstance(network.centre, ParticleMeasure):
                raise InputError(
                    "the network's centre is a function, which is no measure on the sphere; centre it by a measure"
                )
            start = lift(network.centre, network)
            u, c = np.vstack([u, start.positions]), np.append(c, -start.coefficients)
        return cls(u, network.scale * c, network.activation, network.bias)

    @property
    def mass(self) -> float:
        """``sum_j |c_j|``: the path norm of these neurons, at least the `variation`."""
        return float(np.abs(self.masses).sum())

    @property
    def variation(self) -> float:
        """|nu|_TV: masses at one direction are added, with their signs, before their absolute values are."""
        return self.merged().mass

    def merged(self, angle: float = 1e-9) -> SphereMeasure:
        """Directions less than `angle` radians from a heavier one joined to it; opposite signs cancel."""
        from scipy.spatial import cKDTree

        angle = _check.number(angle, "angle", positive=True)
        order = np.argsort(-np.abs(self.masses), kind="stable")
        u, c = self.directions[order], self.masses[order]
        owner = np.arange(c.size)
        neighbours = cKDTree(u).query_ball_point(u, 2.0 * np.sin(0.5 * min(angle, np.pi)))
        taken = np.zeros(c.size, dtype=bool)
        for j in range(c.size):
            if not taken[j]:
                mine = [k for k in neighbours[j] if not taken[k]]
                owner[mine], taken[mine] = j, True
        kept, place = np.unique(owner, return_inverse=True)
        total = np.zeros(kept.size)
        np.add.at(total, place, c)
        vector = np.zeros((kept.size, u.shape[1]))
        np.add.at(vector, place, np.abs(c)[:, None] * u)
        length = np.linalg.norm(vector, axis=1)
        centre = np.where(
            length[:, None] > 0.0, vector / np.where(length > 0.0, length, 1.0)[:, None], u[kept]
        )
        return SphereMeasure(centre, total, self.activation, self.bias)

    def neurons(self) -> ParticleMeasure:
        """Neurons (a, w, b) with a = +-1, (w, b) = u_j and mass |c_j|, for `network`."""
        return atoms(self.directions, self.masses, self.bias)

    @property
    def network(self) -> TwoLayer:
        """The feature map of `neurons`."""
        return TwoLayer(self.activation, d=self.directions.shape[1] - int(self.bias), bias=self.bias)

    def predict(self, X: Any) -> Array:
        """``f(x_i)``, (n,)."""
        return self.network.predict(self.neurons(), X)

    def plot(self, X: Any = None, q: Any = None, ax: Any = None, **options: Any) -> Any:
        """The atoms on the circle (D = 2) or on a map of the sphere (D = 3), over the dual function if q is given.

        Parameters
        ----------
        X : array_like, (n, d), optional
        q : array_like, (n,), optional
            The dual variable: ``u -> sum_i q_i sigma(u.x_i)`` is drawn, with the level +-1 on which the atoms of a
            least-norm interpolant sit (give ``level=`` another one for a margin, whose `p * y` is the dual variable).
        ax
            Axes to draw on.
        **options
            As of `meanfield.plotting.sphere`.
        """
        from meanfield import plotting

        function = None
        if q is not None:
            if X is None:
                raise InputError("q is given without X: the dual function is sum_i q_i sigma(u.x_i)")
            inputs = self.network.check_inputs(X)
            slope = _check.array(q, "q", shape=(inputs.shape[0],))
            network = self.network

            def function(u: Array) -> Array:
                ones = ParticleMeasure.from_arrays(
                    a=np.ones(len(u)), w=u[:, : network.d], b=u[:, network.d] if network.bias else None
                )
                return np.asarray(network.features(ones.positions, inputs) @ slope)

            options = {"level": 1.0, "name": r"$\sum_i q_i\,\sigma(u\cdot x_i)$", **options}
        return plotting.sphere(self.neurons(), function, ax=ax, **options)

    def __repr__(self) -> str:
        positive = float(self.masses[self.masses > 0].sum())
        return (
            f"SphereMeasure({self.masses.size} directions in R^{self.directions.shape[1]}, mass {positive:.6g} "
            f"positive, {self.mass - positive:.6g} negative)"
        )
