"""The tangent kernel of a measure of neurons, and its rate of change along the flow; memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from meanfield.flows import WassersteinFlow
from meanfield.kernels._pairs import ROWS, mirror
from meanfield.networks import TwoLayer
from meanfield.networks.feature_map import as_inputs
from meanfield.plugins import check_feature_map
from solvers import _check
from solvers._threads import for_blocks, one_blas_thread
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array

# Bytes of gradients (or activations) held at a time, for all points together.
BLOCK_BYTES = 64_000_000
# Differences along the flow move particles by this share of their size; they are of fourth order.
STEP = 2e-4


def empirical(
    network: Any, measure: Any, X: Any, Z: Any = None, layers: Any = None, block_bytes: int = BLOCK_BYTES
) -> Array:
    """``K(x, z) = sum_j p_j <grad Phi(theta_j; x), M grad Phi(theta_j; z)>``: the tangent kernel of a measure.

    M holds the network's mobility (0 for layers that do not train, `rates` for those that do), p_j the weights of the
    particles; signs do not matter. Along `WassersteinFlow` predictions move by ``df/dt = -scale^2 K R'(f)``: the factor
    scale^2 is left out, so that values at different scales compare.

    With k outputs K is (n k, m k), an output's index running fastest, as in predictions (n, k) laid flat.

    Parameters
    ----------
    network : feature map
        `TwoLayer` (through matrix products of activations), or anything with ``vjp``; or a network of `mf.finite.deep`,
        whose own ``tangent_kernel(weights, X, Z)`` is this.
    measure : ParticleMeasure
        The weights of a network of `mf.finite.deep`.
    X : array_like, (n, d)
    Z : array_like, (m, d), optional
        X by default; K is then exactly symmetric.
    layers : str or sequence of str, optional
        Only the part of these layers, which must train: ``"a"`` the outer kernel, ``("w", "b")`` the inner one.
    block_bytes : int
        Memory for gradients, about; particles are taken so many at a time. Results differ by rounding.

    Raises
    ------
    InputError

    References
    ----------
    Jacot, Gabriel and Hongler, 2018 (1806.07572).
    """
    if hasattr(network, "tangent_kernel"):
        if layers is not None:
            raise InputError(
                "layers are those of TwoLayer; of a deep network make one with train=, whose other layers are frozen"
            )
        return np.asarray(network.tangent_kernel(measure, X, Z))
    job = _Job(network, measure, X, Z, layers, block_bytes)
    return job.total(None)


def derivative(
    flow: Any, measure: Any, X: Any, Z: Any = None, layers: Any = None, block_bytes: int = BLOCK_BYTES
) -> Array:
    """``d/dt K_t`` at a measure that moves along the flow, K the tangent kernel of `empirical`.

    With v the velocity of particles, ``sum_j p_j (<D grad Phi(theta_j; x) v_j, M grad Phi(theta_j; z)> + ...)``, the
    dots for the same with x and z exchanged. Analytic for `TwoLayer`, with the activation pattern held at kinks, as it
    is at almost all times; for other feature maps differences of ``vjp`` along v, which must be smooth (relative error
    about 1e-10).

    Parameters
    ----------
    flow : WassersteinFlow
        Of an `Objective`; its time unit is that of the derivative.
    measure : ParticleMeasure
    X : array_like, (n, d)
    Z : array_like, (m, d), optional
    layers : str or sequence of str, optional
        The part of these layers' kernel only; all layers that train move.
    block_bytes : int

    Raises
    ------
    InputError
    """
    network = getattr(getattr(flow, "objective", None), "network", None)
    if not isinstance(flow, WassersteinFlow) or network is None:
        raise InputError(
            "derivative() follows a WassersteinFlow of an Objective, whose particles move and keep their masses, "
            f"not {flow!r}"
        )
    job = _Job(network, measure, X, Z, layers, block_bytes)
    return job.total(np.asarray(flow.velocity(measure)))


class _Job:
    """One kernel to compute: who, where, which coordinates, how many particles at a time."""

    def __init__(self, network: Any, measure: Any, X: Any, Z: Any, layers: Any, block_bytes: Any) -> None:
        if not isinstance(measure, ParticleMeasure):
            raise InputError(f"measure must be a ParticleMeasure, not {measure!r}")
        self.network, self.measure = network, measure
        self.X = as_inputs(network, X)
        check_feature_map(network, self.X)
        if measure.positions.shape[1] != int(network.dim):
            raise InputError(
                f"particles have {measure.positions.shape[1]} coordinates, but neurons of this network {network.dim}"
            )
        self.symmetric = Z is None
        self.Z = self.X if Z is None else as_inputs(network, Z)
        self.outputs = max(1, int(getattr(network, "outputs", 1)))
        self.mobility = _moving(network, layers)
        memory = _check.number(block_bytes, "block_bytes", positive=True, integer=True)
        points = (self.X.shape[0] + (0 if self.symmetric else self.Z.shape[0])) * self.outputs
        # activations, slopes and their products are four such tables; a gradient has p entries
        rows = 4 if isinstance(network, TwoLayer) else int(network.dim)
        self.size = max(1, memory // (8 * points * rows))

    def total(self, velocity: Array | None) -> Array:
        """The kernel, or with velocities of the particles its derivative."""
        if isinstance(self.network, TwoLayer):
            return _two_layer(self, velocity)
        n, m = self.X.shape[0] * self.outputs, self.Z.shape[0] * self.outputs
        out = np.zeros((n, m))
        with one_blas_thread():
            for part in self.blocks():
                left = _gradients(self, self.X, part, velocity)
                right = left if self.symmetric else _gradients(self, self.Z, part, velocity)
                add_product(out, *_paired(left, right, velocity is not None), self.symmetric)
        if self.symmetric:
            mirror(out)
        return out

    def blocks(self) -> Iterator[slice]:
        m = self.measure.positions.shape[0]
        size = max(1, self.size // 2)
        for low in range(0, m, size):
            yield slice(low, min(m, low + size))


def _moving(network: Any, layers: Any) -> Array:
    """The mobility of each coordinate, 0 outside the layers that are asked for."""
    mobility = getattr(network, "mobility", None)
    full = np.ones(int(network.dim)) if mobility is None else np.asarray(mobility, dtype=np.float64)
    if layers is None:
        return full
    layout = getattr(network, "layout", None)
    if not layout:
        raise InputError("layers= needs a network whose layout names its layers, such as TwoLayer")
    names = (layers,) if isinstance(layers, str) else layers
    if not isinstance(names, (tuple, list, set, frozenset)) or not names:
        raise InputError(
            f"layers must be a layer's name or several of them ({', '.join(layout)}), not {layers!r}"
        )
    wanted = np.zeros_like(full)
    for name in names:
        low, high = layout[_check.choice(name, "a layer in layers", layout)]
        wanted[low:high] = full[low:high]
        if not full[low:high].any():
            raise InputError(
                f"layer {name!r} does not train in this network, so it has no part in the tangent kernel"
            )
    return wanted


def add_product(out: Array, left: Array, right: Array, symmetric: bool) -> None:
    """out += left' right, only from the diagonal's block rightwards if `symmetric`; rows of out shared by threads."""
    n = out.shape[0]

    def work(first: int, last: int) -> None:
        for block in range(first, last):
            low, high = block * ROWS, min(n, (block + 1) * ROWS)
            start = low if symmetric else 0
            out[low:high, start:] += left[:, low:high].T @ right[:, start:]

    for_blocks(work, -(-n // ROWS), parallel=left.shape[0] * out.size > 10_000_000)


def _paired(left: tuple[Array, ...], right: tuple[Array, ...], moving: bool) -> tuple[Array, Array]:
    """Factors (g,) as they are; (g, dg) stacked so that the product is dg' g + g' dg."""
    if not moving:
        return left[0], right[0]
    return np.vstack([left[1], left[0]]), np.vstack(right)


def _gradients(job: _Job, points: Array, part: slice, velocity: Array | None) -> tuple[Array, ...]:
    """Rows (particle, coordinate) of sqrt(p M) grad Phi at all points, (b p, n k), and their rate along `velocity`."""
    theta = job.measure.positions[part]
    moving = job.mobility > 0.0
    root = np.sqrt(job.measure.weights[part])[:, None] * np.sqrt(job.mobility[moving])

    def at(positions: Array) -> Array:
        rows = np.empty((root.size, points.shape[0] * job.outputs))
        for i in range(points.shape[0]):
            for o in range(job.outputs):
                q = np.zeros((1, job.outputs)) if job.outputs > 1 else np.ones(1)
                q[..., o] = 1.0
                gradient = job.network.vjp(positions, points[i : i + 1], q)
                rows[:, i * job.outputs + o] = (root * gradient[:, moving]).reshape(-1)
        return rows

    if velocity is None:
        return (at(theta),)
    along = velocity[part]
    fastest = float(np.abs(along).max())
    if fastest == 0.0:
        return at(theta), np.zeros((root.size, points.shape[0] * job.outputs))
    h = STEP * max(1.0, float(np.abs(theta).max())) / fastest
    near = at(theta + h * along) - at(theta - h * along)
    far = at(theta + 2.0 * h * along) - at(theta - 2.0 * h * along)
    return at(theta), (8.0 * near - far) / (12.0 * h)


# -- two layers: activations instead of gradients -------------------------------------------------------------


def _two_layer(job: _Job, velocity: Array | None) -> Array:
    """``A'A`` for the outer layer plus ``(B'B) * (X M Z' + M_b)`` for the inner one, A = sigma, B = a sigma'."""
    network, k = job.network, job.outputs
    n, m = job.X.shape[0], job.Z.shape[0]
    low, high = network.layout["w"]
    inner_mobility = job.mobility[low:high]
    bias_mobility = float(job.mobility[high]) if network.bias else 0.0
    has_outer = low > 0 and bool(job.mobility[:low].any())
    has_inner = bool(inner_mobility.any()) or bias_mobility > 0.0
    outer = np.zeros((n, m)) if has_outer else None
    inner = np.zeros((n * k, m * k)) if has_inner else None
    with one_blas_thread():
        for part in job.blocks():
            left = _activations(job, job.X, part, velocity)
            right = left if job.symmetric else _activations(job, job.Z, part, velocity)
            for total, name in ((outer, "outer"), (inner, "inner")):
                if total is not None:
                    pair = _paired(left(name), right(name), velocity is not None)
                    add_product(total, *pair, job.symmetric)
        if inner is not None:
            gram = (job.X * inner_mobility) @ job.Z.T + bias_mobility
            inner.reshape(n, k, m, k)[...] *= gram[:, None, :, None]
        kernel = inner if inner is not None else np.zeros((n * k, m * k))
        if outer is not None:
            for o in range(k):
                kernel[o::k, o::k] += float(job.mobility[0]) * outer
    if job.symmetric:
        mirror(kernel)
    return kernel


def _activations(
    job: _Job, points: Array, part: slice, velocity: Array | None
) -> Callable[[str], tuple[Array, ...]]:
    """sqrt(p) sigma(z) ("outer", (b, n)) and sqrt(p) a sigma'(z) ("inner", (b, n k)), each with its rate."""
    network = job.network
    outer, weights, shift = network._split(job.measure.positions[part])
    root = np.sqrt(job.measure.weights[part])[:, None]
    z = weights @ points.T + shift

    def spread(table: Array, factor: Array) -> Array:
        if job.outputs == 1:
            return np.asarray(table * factor)
        return np.asarray((table[:, :, None] * factor[:, None, :]).reshape(table.shape[0], -1))

    if velocity is None:
        value, slope = network._activate(z, slope=True)

        def factors(name: str) -> tuple[Array, ...]:
            return (root * value,) if name == "outer" else (spread(slope, root * outer),)

        return factors

    low, high = network.layout["w"]
    along = velocity[part]
    dz = along[:, low:high] @ points.T
    if network.bias:
        dz += along[:, high:]
    value, slope, curvature = _curved(network, z)
    d_outer = along[:, :low] if low else np.zeros_like(outer)

    def rates(name: str) -> tuple[Array, ...]:
        if name == "outer":
            return root * value, root * slope * dz
        return spread(slope, root * outer), spread(curvature * dz, root * outer) + spread(
            slope, root * d_outer
        )

    return rates


def _curved(network: TwoLayer, z: Array) -> tuple[Array, Array, Array]:
    """sigma, sigma' and sigma'' (0 for kinked activations) of a table."""
    sigma = network.activation
    if not network.smooth:
        value, slope = network._activate(z, slope=True)
        return value, slope, np.zeros_like(z)
    if network.compiled:
        from meanfield._kernels.elementwise_curvature import activate_curvature

        tables = [np.empty(z.size) for _ in range(3)]
        activate_curvature(sigma, np.ascontiguousarray(z).reshape(-1), *tables)
        value, slope, curvature = (table.reshape(z.shape) for table in tables)
        return value, slope, curvature
    # plain Python: a central difference, truncation and rounding about 1e-11
    h = 6e-6 * np.maximum(1.0, np.abs(z))
    value, slope = network._activate(z, slope=True)
    above, below = network._activate(z + h, slope=True)[1], network._activate(z - h, slope=True)[1]
    return value, slope, np.asarray((above - below) / (2.0 * h))
