"""Gradient flow of diagonal linear networks: in the parameters (u, v), and in the n dual variables that drive them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from meanfield.finite.diagonal.mirror import Mirror, checked_alpha, checked_depth
from meanfield.finite.diagonal.norms import checked_data
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array, LowRank

# Stands for weights outside of the domain of deep networks.
OUTSIDE = 1e100


def _digest(*parts: Array) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


class DiagonalFlow:
    """``(u, v)' = -grad L``, ``L = 1/(2n) |X w - y|^2``, ``w = u^D - v^D``; states are arrays (2, d) of rows u and v.

    ``u' = -D u^(D-1) g``, ``v' = D v^(D-1) g``, ``g = X'(X w - y)/n``. What is conserved: u v (D = 2),
    ``u^(2-D) + v^(2-D)`` (D >= 3), coordinate by coordinate; hence the limit, see `limit`. Every method of `solvers`
    serves; Jacobians are of rank n, so that the implicit ones go through the slow times of small starts and deep
    networks. Errors are controlled relative to each u_i and v_i.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    depth : int
        D >= 2.

    Examples
    --------
    >>> import meanfield as mf, numpy as np, solvers
    >>> flow = mf.finite.diagonal.DiagonalFlow([[1.0, 2.0]], [1.0])
    >>> run = solvers.integrate(flow, flow.start(alpha=1.0), t_end=10.0, method=solvers.DormandPrince(rtol=1e-10))
    >>> bool(np.allclose(flow.predictor(run.final), [0.19921138, 0.40039431], atol=1e-8))
    True
    """

    kind = "ode"
    smooth = True
    time_dependent = False

    def __init__(self, X: Any, y: Any, depth: int = 2) -> None:
        self.X, self.y = checked_data(X, y)
        self.depth = checked_depth(depth)
        self.n, self.d = self.X.shape
        self.rank = int(self.n)

    def __repr__(self) -> str:
        return f"DiagonalFlow(n={self.n}, d={self.d}, depth={self.depth})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance and checkpoints."""
        return {"flow": "DiagonalFlow", "depth": self.depth, "data_sha256": _digest(self.X, self.y)}

    def start(self, alpha: Any) -> Array:
        """``u = v = alpha``, (2, d).

        Parameters
        ----------
        alpha : float or array_like, (d,)
            Positive.
        """
        scale = checked_alpha(alpha, self.d, self.depth)
        return np.stack([scale, scale])

    def predictor(self, state: Any) -> Array:
        """``w = u^D - v^D``, (d,); without cancellation beyond that of u and v."""
        u, v = self._state(state)
        total = np.zeros(self.d)
        for k in range(self.depth):
            total += u**k * v ** (self.depth - 1 - k)
        return np.asarray((u - v) * total)

    def conserved(self, state: Any) -> Array:
        """``(u v)^(1/2)``, or ``((u^(2-D) + v^(2-D))/2)^(1/(2-D))``: conserved, hence alpha for ever, (d,)."""
        u, v = self._state(state)
        if self.depth == 2:
            return np.asarray(np.sqrt(u * v))
        power = float(2 - self.depth)
        return np.asarray((0.5 * (u**power + v**power)) ** (1.0 / power))

    # -- what solvers ask ----------------------------------------------------------------------------------------

    def pack(self, state: Any) -> Array:
        """u, then v, as one flat vector."""
        return np.concatenate(self._state(state))

    def unpack(self, z: Array, like: Any) -> Array:
        """(2, d)."""
        return z.reshape(2, self.d).copy()

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        """``-grad L``."""
        u, v = z[: self.d], z[self.d :]
        g = self._gradient(z)
        out[: self.d] = -self.depth * u ** (self.depth - 1) * g
        out[self.d :] = self.depth * v ** (self.depth - 1) * g
        return out

    def default_record(self, t: float, z: Array) -> dict[str, float]:
        """The loss L, at every save."""
        residual = self._residual(z)
        return {"objective": float(0.5 * np.mean(residual * residual))}

    def error_norm(self, z: Array, error: Array, rtol: float, atol: float) -> float:
        """RMS of the relative errors of all u_i and v_i, in units of the tolerance."""
        return float(np.sqrt(np.mean(np.square(error / (atol + rtol * np.abs(z))))))

    def linearize(self, t: float, z: Array) -> DiagonalLinearization:
        """The Jacobian at z: minus the Hessian of L; it does not depend on t."""
        return DiagonalLinearization(self, z)

    def _residual(self, z: Array) -> Array:
        with one_blas_thread():
            return np.asarray(self.X @ self.predictor(z.reshape(2, self.d)) - self.y)

    def _gradient(self, z: Array) -> Array:
        with one_blas_thread():
            return np.asarray(self._residual(z) @ self.X / self.n)

    def _state(self, state: Any) -> tuple[Array, Array]:
        rows = np.asarray(state, dtype=np.float64)
        if rows.shape != (2, self.d):
            raise InputError(
                f"a state has rows u and v, shape (2, {self.d}), not {rows.shape}; flow.start(alpha) makes one"
            )
        return rows[0], rows[1]


class DiagonalLinearization:
    """Minus the Hessian of L at (u, v): ``-H H'/n`` with rows ``(D u^(D-1), -D v^(D-1)) x_i``, and a diagonal.

    Parameters
    ----------
    flow : DiagonalFlow
    z : ndarray, (2 d,)
    """

    def __init__(self, flow: DiagonalFlow, z: Array) -> None:
        depth, d = flow.depth, flow.d
        self.flow, self.rank, self.weight = flow, flow.rank, np.ones(z.size)
        u, v, g = z[:d], z[d:], flow._gradient(z)
        self._first = np.stack([depth * u ** (depth - 1), -depth * v ** (depth - 1)])
        self._second = depth * (depth - 1) * np.stack([u ** (depth - 2) * g, -(v ** (depth - 2)) * g])

    def product(self, v: Array, out: Array) -> Array:
        """J v into `out`."""
        flow, rows = self.flow, v.reshape(2, -1)
        with one_blas_thread():
            back = (flow.X @ np.sum(self._first * rows, axis=0)) @ flow.X / flow.n
        np.negative((self._first * back + self._second * rows).reshape(-1), out=out)
        return out

    def low_rank(self) -> LowRank:
        """A block (u_i, v_i) for each weight."""
        flow = self.flow
        indices = np.arange(2 * flow.d, dtype=np.int64).reshape(2, flow.d).T
        H = self._first.T[:, :, None] * flow.X.T[:, None, :]
        B = np.zeros((flow.d, 2, 2))
        B[:, 0, 0], B[:, 1, 1] = self._second
        return LowRank(
            np.ascontiguousarray(indices), np.ones((flow.d, 2)), np.full(flow.n, 1.0 / flow.n), H, B
        )


class DualFlow:
    """``nu' = (c/n)(y - X w)``, ``w = g(X' nu)``, from nu = 0: the flow of `DiagonalFlow` from u = v = alpha, exactly.

    ``w = 2 alpha^2 sinh(X' nu)`` with c = 4 for depth 2; ``w = alpha^D h_D(alpha^(D-2) X' nu)`` with c = D (D-2) for
    depth D >= 3. States are arrays (n,), on the same clock: what is solved are n equations instead of 2 d. For deep
    networks and small alpha active weights sit where 1 - z is about alpha^(D-2), of which 1e-16 alpha^(2-D) is lost.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    alpha : float or array_like, (d,)
        The start of u and v, positive.
    depth : int
    """

    kind = "ode"
    smooth = True
    time_dependent = False

    def __init__(self, X: Any, y: Any, alpha: Any, depth: int = 2) -> None:
        self.X, self.y = checked_data(X, y)
        self.depth = checked_depth(depth)
        self.n, self.d = self.X.shape
        self.mirror = Mirror(checked_alpha(alpha, self.d, self.depth), self.depth)
        self.rank = int(self.n)
        self._rate = (4.0 if self.depth == 2 else float(self.depth * (self.depth - 2))) / self.n

    def __repr__(self) -> str:
        return f"DualFlow(n={self.n}, d={self.d}, depth={self.depth})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance and checkpoints."""
        return {
            "flow": "DualFlow",
            "depth": self.depth,
            "data_sha256": _digest(self.X, self.y, self.mirror.alpha),
        }

    def start(self) -> Array:
        """nu = 0, where w = 0."""
        return np.zeros(self.n)

    def predictor(self, state: Any) -> Array:
        """``w = g(X' nu)``, (d,)."""
        nu = _check.array(state, "nu", shape=(self.n,))
        return self._weights(nu)

    def parameters(self, state: Any) -> Array:
        """u and v of the network at nu, (2, d): the state of `DiagonalFlow` at the same time."""
        nu = _check.array(state, "nu", shape=(self.n,))
        alpha, t = self.mirror.alpha, nu @ self.X
        if self.depth == 2:
            return np.stack([alpha * np.exp(0.5 * t), alpha * np.exp(-0.5 * t)])
        chart, power = self.mirror.at(t), -1.0 / (self.depth - 2)
        return np.stack([alpha * chart.below**power, alpha * chart.above**power])

    def _weights(self, nu: Array) -> Array:
        with one_blas_thread():
            t = nu @ self.X
        found = self.mirror.at(t).weights
        # A trial step may leave the domain of a deep network: weights that no tolerance accepts make it shorter.
        return np.where(np.isnan(found) & np.isfinite(t), np.sign(t) * OUTSIDE, found)

    def pack(self, state: Any) -> Array:
        """nu."""
        return _check.array(state, "nu", shape=(self.n,)).copy()

    def unpack(self, z: Array, like: Any) -> Array:
        """nu."""
        return z.copy()

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        """``(c/n)(y - X w)``."""
        weights = self._weights(z)
        with one_blas_thread():
            np.multiply(self.y - self.X @ weights, self._rate, out=out)
        return out

    def default_record(self, t: float, z: Array) -> dict[str, float]:
        """The loss ``1/(2n) |X w - y|^2``, at every save."""
        weights = self._weights(z)
        with one_blas_thread():
            residual = self.X @ weights - self.y
        return {"objective": float(0.5 * np.mean(residual * residual))}

    def linearize(self, t: float, z: Array) -> DualLinearization:
        """``-(c/n) X diag(g') X'`` at z; it does not depend on t."""
        return DualLinearization(self, z)


class DualLinearization:
    """``J = -(c/n) X diag(g'(t)) X'``, symmetric.

    Parameters
    ----------
    flow : DualFlow
    z : ndarray, (n,)
    """

    def __init__(self, flow: DualFlow, z: Array) -> None:
        self.flow, self.rank, self.weight = flow, flow.rank, np.ones(z.size)
        with one_blas_thread():
            t = z @ flow.X
        self._slope = flow._rate * flow.mirror.at(t).slope

    def product(self, v: Array, out: Array) -> Array:
        """J v into `out`."""
        X = self.flow.X
        with one_blas_thread():
            np.negative(X @ (self._slope * (v @ X)), out=out)
        return out
