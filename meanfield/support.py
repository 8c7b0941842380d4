"""Does a start meet the hypothesis of the convergence theorem? The signed lift to the sphere, and its covering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.networks import TwoLayer
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import unit_directions


def lift(measure: ParticleMeasure, network: Any) -> ParticleMeasure:
    """The signed measure on the sphere that gives the same network, for 2-homogeneous neurons.

    ``nu = sum_j p_j s_j a_j |(w_j, b_j)| delta((w_j, b_j) / |(w_j, b_j)|)``, as masses |.| with signs, so that
    ``f = int sigma(u . x) dnu(u)``. Particles with w = b = 0 or a = 0 carry no mass and are left out.

    Parameters
    ----------
    measure : ParticleMeasure
    network : TwoLayer
        One output, a positively 1-homogeneous activation.

    Returns
    -------
    ParticleMeasure
        Positions are unit vectors (w, b); its mass is the variation norm of this representation.

    References
    ----------
    Chizat and Bach, 2018 (1805.09545), section 2.
    """
    if not isinstance(network, TwoLayer) or getattr(network.activation, "degree", None) != 1:
        raise InputError(f"lift needs a TwoLayer network with a 1-homogeneous activation, not {network!r}")
    if network.outputs != 1:
        raise InputError(f"lift needs one output, but the network has {network.outputs}")
    positions = network.check_positions(measure.positions)
    low, _ = network.layout["w"]
    inner = positions[:, low:]
    outer = positions[:, 0] if low else np.full(positions.shape[0], float(network.a or 0.0))
    norms = np.linalg.norm(inner, axis=1)
    signed = measure.coefficients * outer * norms
    kept = signed != 0
    if not kept.any():
        raise InputError("every particle has zero output: the lift is the zero measure")
    layout = {"w": (0, network.d)}
    if network.bias:
        layout["b"] = (network.d, network.d + 1)
    return ParticleMeasure(
        inner[kept] / norms[kept, None], np.abs(signed[kept]), np.sign(signed[kept]), layout=layout
    )


@dataclass(frozen=True)
class SupportReport:
    """Whether a start separates neurons, as the convergence theorem asks.

    Attributes
    ----------
    covering_radius : dict of str to float
        For each sign of the outer weight ("+", "-"), or "all" where signs play no role: the largest angle (or
        distance) from a point of the space to the nearest particle, in radians. Infinite without particles.
    exact : bool
        True if the radius is exact (one angle); False if estimated from below on a dense random set.
    meets_hypothesis : bool
        Directions of every sign needed are present and the radius is at most `tolerance`.
    tolerance : float
    explanation : str
    """

    covering_radius: dict[str, float]
    exact: bool
    meets_hypothesis: bool
    tolerance: float
    explanation: str

    def __repr__(self) -> str:
        radii = ", ".join(f"{sign}: {radius:.3g}" for sign, radius in self.covering_radius.items())
        verdict = "meets" if self.meets_hypothesis else "does not meet"
        return f"SupportReport(covering radius {radii}; {verdict} the hypothesis: {self.explanation})"


def support_report(
    measure: ParticleMeasure, network: Any, tolerance: float = 0.5, probes: int = 20_000, rng: Any = 0
) -> SupportReport:
    """How well the particles of a start cover the directions of neurons, sign by sign.

    Global convergence of the flow is proved for starts whose support separates: for 2-homogeneous neurons,
    directions (w, b) everywhere with outer weights of both signs; for ``Phi = a phi(theta)``, the support
    contains {0} x Theta; on a compact space, every point. A cloud of m particles can only come near to it: the
    report gives the covering radius, and compares it with `tolerance`.

    Parameters
    ----------
    measure : ParticleMeasure
    network : TwoLayer, or a feature map on a torus or sphere
    tolerance : float
        Largest covering radius, in radians (or units of the torus), taken as "covers".
    probes : int
        Random points at which the radius is estimated where it is not exact (from below).
    rng : int, SeedSequence or Generator

    References
    ----------
    Chizat and Bach, 2018 (1805.09545), theorems 3.3 and 3.5.
    """
    tolerance = _check.number(tolerance, "tolerance", positive=True)
    probes = _check.number(probes, "probes", positive=True, integer=True)
    draw = generator(rng, "support")
    if not isinstance(measure, ParticleMeasure):
        raise InputError(f"support_report needs a ParticleMeasure, not {type(measure).__name__}")
    present = measure.weights > 0
    if not present.any():
        raise InputError("a measure of mass 0 has no support")
    # Massless particles are not in the support.
    measure = ParticleMeasure(
        measure.positions[present],
        measure.weights[present],
        None if measure.signs is None else measure.signs[present],
    )
    if isinstance(network, TwoLayer):
        return _of_network(measure, network, tolerance, probes, draw)
    space = getattr(network, "space", None)
    kind = type(space).__name__
    if space is None or kind not in ("Torus", "Sphere"):
        raise InputError(
            f"support_report knows TwoLayer networks and feature maps on a torus or sphere, not {network!r}"
        )
    radius = _covering(measure.positions, space.sample("uniform", probes, draw), space)
    signs = {"all": radius}
    if measure.signs is not None:
        signs = {
            name: _covering(
                measure.positions[measure.signs == s], space.sample("uniform", probes, draw), space
            )
            for name, s in (("+", 1.0), ("-", -1.0))
        }
    meets = max(signs.values()) <= tolerance
    verb = "cover" if meets else "leave holes in"
    return SupportReport(signs, False, meets, tolerance, f"the particles {verb} the {kind.lower()}")


def _of_network(
    measure: ParticleMeasure, network: TwoLayer, tolerance: float, probes: int, draw: np.random.Generator
) -> SupportReport:
    if network.outputs != 1:
        raise InputError(f"support_report knows networks with one output, not {network.outputs}")
    positions, signs = network.check_positions(measure.positions), measure.signs
    low, _ = network.layout["w"]
    inner = positions[:, low:]
    norms = np.linalg.norm(inner, axis=1)
    directions = inner[norms > 0] / norms[norms > 0, None]
    dim = inner.shape[1]
    exact = dim <= 2
    homogeneous = network.homogeneity == 2
    groups: dict[str, Array] = {"all": directions}
    if homogeneous and low:
        outer = positions[norms > 0, 0] * (1.0 if signs is None else signs[norms > 0])
        groups = {"+": directions[outer > 0], "-": directions[outer < 0]}
    where = unit_directions(probes, dim, draw) if not exact else np.empty((0, dim))
    radii = {name: _angular(group, where) for name, group in groups.items()}
    covered = max(radii.values()) <= tolerance
    if homogeneous or not low:
        meets = covered
        text = (
            "directions of every sign are within the tolerance of a particle"
            if meets
            else "some directions have no particle of the right sign near them"
        )
    else:
        # Phi = a phi(theta): the support must contain {0} x Theta.
        largest = float(np.abs(positions[:, 0]).max())
        meets = covered and largest <= 1e-12
        text = (
            "outer weights are 0 and inner weights cover the directions"
            if meets
            else f"the theorem asks for outer weights 0 (largest here {largest:.3g}) and covering inner weights"
        )
    return SupportReport(radii, exact, meets, tolerance, text)


def _angular(directions: Array, probes: Array) -> float:
    """Covering radius of unit vectors: exact on the circle and for two points, estimated on random probes above."""
    if directions.shape[0] == 0:
        return float("inf")
    dim = directions.shape[1]
    if dim == 1:
        return 0.0 if np.unique(np.sign(directions)).size == 2 else float(np.pi)
    if dim == 2:
        angles = np.sort(np.arctan2(directions[:, 1], directions[:, 0]))
        gaps = np.diff(np.concatenate([angles, [angles[0] + 2 * np.pi]]))
        return float(gaps.max() / 2)
    cosine = np.full(probes.shape[0], -1.0)
    for start in range(0, directions.shape[0], 512):
        cosine = np.maximum(cosine, (probes @ directions[start : start + 512].T).max(axis=1))
    return float(np.arccos(np.clip(cosine.min(), -1.0, 1.0)))


def _covering(points: Array, probes: Array, space: Any) -> float:
    """Largest distance from a probe to the nearest point."""
    if points.shape[0] == 0:
        return float("inf")
    nearest = np.full(probes.shape[0], np.inf)
    for point in points:
        nearest = np.minimum(nearest, space.distance(probes, point))
    return float(nearest.max())
