r"""Linear activations: the limit of infinite depth and width closes on second moments, to machine precision."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield.activations import Identity
from meanfield.flows.resnet_mean_field.mean_ode import MeanODE, combined
from meanfield.flows.resnet_mean_field.network import ResNet
from meanfield.flows.resnet_mean_field.training import GradientDescent
from solvers import _check
from solvers._memory import require_memory
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# The last coefficients of h in Chebyshev's polynomials, relative to the largest, up to which h counts as resolved.
RESOLVED = 1e-10


class LinearLimit(NamedTuple):
    """What `linear_limit` finds, after 0, 1, ... steps.

    Attributes
    ----------
    predictions : ndarray, (steps + 1, n, d_out)
    coefficients : ndarray, (steps + 1, n, d_in + d_out)
        Of h at the last block in the columns of [W_E, W_U].
    """

    predictions: Array
    coefficients: Array


@one_blas_thread()
def linear_limit(
    net: Any,
    X: Any,
    y: Any,
    steps: int,
    step: float,
    *,
    rates: Any = None,
    embeddings: Any = None,
    nodes: int = 20,
) -> LinearLimit:
    r"""Training of an infinitely deep and wide linear network, with no sampling at all.

    With ``C(s) = E[(u, v)(u, v)']`` at depth s, for ``sigma(z) = z``:

        dh/ds = (scale/D) C_vu h,     -db/ds = (scale/D) C_uv b,     C <- T C T',
        T = I - step (scale/D) [[0, r_U H B'], [r_V B H', 0]],

    H and B with columns h_i and b_i. All is analytic in s: collocation at Chebyshev's points is exact to rounding,
    and refused where its nodes do not resolve h. D is infinite, or that of given embeddings; in both cases the
    computation is in dimension d_in + d_out.

    Parameters
    ----------
    net : ResNet
        With activation `Identity`; its depth, width and dim do not matter.
    X : array_like, (n, d_in)
    y : array_like, (n,) or (n, d_out)
        Of the loss ``1/2 mean |f - y|^2``.
    steps : int
    step : float
    rates : mapping, optional
        As of `GradientDescent`.
    embeddings : Weights or tuple (W_E, W_U), optional
    nodes : int
        Points of depth.

    Raises
    ------
    InputError
        Also for training that diverges, and for nodes that do not resolve h over depth.

    Examples
    --------
    >>> import meanfield as mf
    >>> net = mf.resnet_mean_field.ResNet(d_in=1, d_out=1, depth=1, width=1, dim=1, activation="identity")
    >>> round(float(mf.resnet_mean_field.linear_limit(net, [[0.8]], [1.0], 1, step=0.1).predictions[1, 0, 0]), 12)
    0.128
    """
    if not isinstance(net, ResNet) or not isinstance(net.activation, Identity):
        raise InputError(
            "net must be a mf.resnet_mean_field.ResNet with activation='identity'; others need samples, see MeanODE"
        )
    steps = _check.number(steps, "steps", nonnegative=True, integer=True)
    nodes = _check.number(nodes, "nodes", positive=True, integer=True)
    if nodes < 2:
        raise InputError(f"nodes must be at least 2, not {nodes}")
    limit = MeanODE.of(net, nodes=3, points=8 * (net.d_in + net.d_out))
    # the system of all nodes, and its factors
    require_memory(16.0 * (nodes * limit.dim) ** 2, f"a system of {nodes} nodes", "fewer nodes")
    descent = GradientDescent(limit, X, y, step, rates=rates)
    W_E, W_U = limit.span(embeddings)
    dim, factor = limit.dim, net.scale * net.activation.factor / limit.dim
    along, back = integrals(nodes)
    C = np.zeros((nodes, 2 * dim, 2 * dim))
    C[:, range(dim), range(dim)] = dim * net.u_std**2
    C[:, range(dim, 2 * dim), range(dim, 2 * dim)] = dim * net.v_std**2
    h0 = W_E @ descent.X.T
    predictions, features = [], []
    for k in range(steps + 1):
        A = factor * C[:, dim:, :dim]
        h = collocated(A, along, h0)
        if not resolved(h):
            raise InputError(
                f"nodes={nodes} do not resolve h over depth after {k} steps of step={descent.step_size:g}: take more "
                "nodes, or a smaller step where training diverges"
            )
        f = (W_U.T @ h[-1]).T / dim
        predictions.append(f)
        features.append(combined(np.hstack([W_E, W_U]), h[-1]).T)
        if k == steps:
            break
        b = collocated(A.transpose(0, 2, 1), back, W_U @ descent.respond(f).T)
        T = np.tile(np.eye(2 * dim), (nodes, 1, 1))
        outer = descent.step_size * factor * h @ b.transpose(0, 2, 1)
        T[:, :dim, dim:] -= descent.rates[0] * outer
        T[:, dim:, :dim] -= descent.rates[1] * outer.transpose(0, 2, 1)
        with np.errstate(over="ignore", invalid="ignore"):  # training that diverges is refused above
            C = T @ C @ T.transpose(0, 2, 1)
    return LinearLimit(np.array(predictions), np.array(features))


def points_of(nodes: int) -> Array:
    """Chebyshev's points of [-1, 1], ends included."""
    return np.asarray(-np.cos(np.pi * np.arange(nodes) / (nodes - 1)))


def integrals(nodes: int) -> tuple[Array, Array]:
    """Matrices of ``int_0^s`` and ``int_s^1`` on Chebyshev's points of [0, 1], ends included, exact on polynomials."""
    x = points_of(nodes)
    values = np.polynomial.chebyshev.chebvander(x, nodes - 1)
    raised = np.zeros((nodes, nodes))
    for degree in range(nodes):
        series = np.zeros(nodes)
        series[degree] = 1.0
        raised[:, degree] = np.polynomial.chebyshev.chebval(
            x, np.polynomial.chebyshev.chebint(series, lbnd=-1.0)
        )
    along = 0.5 * raised @ np.linalg.inv(values)
    return along, along[-1] - along


def collocated(A: Array, integral: Array, start: Array) -> Array:
    """``h = start + int A h`` at all nodes: (nodes, D, n) for A (nodes, D, D) and start (D, n)."""
    nodes, dim, _ = A.shape
    # what A is when training diverges: h is then not resolved, and that is what is said
    lost = np.full((nodes, *start.shape), np.nan)
    if not np.isfinite(A).all():
        return lost
    system = np.eye(nodes * dim) - np.einsum("ij,jab->iajb", integral, A).reshape(nodes * dim, nodes * dim)
    try:
        return np.linalg.solve(system, np.tile(start, (nodes, 1))).reshape(nodes, dim, -1)
    except np.linalg.LinAlgError:
        return lost


def resolved(h: Array) -> bool:
    """Whether the last two coefficients of h, (nodes, ...), are small; False for what is not finite."""
    count = len(h)
    values = np.polynomial.chebyshev.chebvander(points_of(count), count - 1)
    sizes = np.abs(np.linalg.solve(values, h.reshape(count, -1))).max(axis=1)
    return bool(sizes[-2:].max() <= RESOLVED * sizes.max())


@one_blas_thread()
def first_step(net: Any, x: Any, y: Any, step: float, *, rates: Any = None, embeddings: Any = None) -> Array:
    r"""f at one point after one step from the start of the linear limit, in closed form, (d_out,).

    ``f_1 = scale^2 (eta_U v_std^2 + eta_V u_std^2) in_std^2 out_std^2 |x|^2 y`` for D infinite, ``eta = step rate``.
    With embeddings, ``r = y - f_0``, ``h = W_E x``, ``b = W_U r``, ``kappa = scale^2 (eta_U v_std^2 + eta_V u_std^2)``:

        f_1 = W_U'(h + kappa (h.h/D) phi(kappa h.b/D) b)/D,    phi(z) = (e^z - 1)/z;

    f_0 = W_U'W_E x/D is of order ``1/sqrt(D)``, not 0.

    Parameters
    ----------
    net : ResNet
        With activation `Identity`.
    x : array_like, (d_in,)
    y : array_like, (d_out,), or a number if d_out is 1
    step : float
        Of the loss ``1/2 |f - y|^2``.
    rates : mapping, optional
    embeddings : Weights or tuple (W_E, W_U), optional

    Raises
    ------
    InputError
    """
    if not isinstance(net, ResNet) or not isinstance(net.activation, Identity):
        raise InputError("net must be a mf.resnet_mean_field.ResNet with activation='identity'")
    limit = MeanODE.of(net, nodes=3, points=8 * (net.d_in + net.d_out))
    point = _check.array(x, "x", shape=(net.d_in,))
    target = np.ravel(y) if np.ndim(y) == 0 else y
    target = _check.array(target, "y", shape=(net.d_out,))
    descent = GradientDescent(limit, [point], [target], step, rates=rates)
    assert net.in_std is not None and net.out_std is not None
    r_u, r_v = descent.rates
    kappa = (
        (net.scale * net.activation.factor) ** 2
        * descent.step_size
        * (r_u * net.v_std**2 + r_v * net.u_std**2)
    )
    if embeddings is None:
        return np.asarray(kappa * net.in_std**2 * net.out_std**2 * (point @ point) * target)
    W_E, W_U = limit.span(embeddings)
    h = W_E @ point
    b = W_U @ (target - W_U.T @ h / limit.dim)
    z = kappa * (h @ b) / limit.dim
    with np.errstate(over="ignore", invalid="ignore"):
        growth = float(np.expm1(z) / z) if z != 0.0 else 1.0
        found = np.asarray(W_U.T @ (h + kappa * (h @ h) / limit.dim * growth * b) / limit.dim)
    if not np.isfinite(found).all():
        raise InputError(f"step={descent.step_size:g} makes f larger than numbers can be; take a smaller one")
    return found
