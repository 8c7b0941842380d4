"""Stiff flows that know their Jacobians, written out in NumPy: linear ones, and two-layer networks."""

from __future__ import annotations

import numpy as np
import pytest


class Matrix:
    """A Jacobian given as a matrix."""

    rank = None

    def __init__(self, matrix, weight):
        self.matrix, self.weight = matrix, weight

    def product(self, v, out):
        np.matmul(self.matrix, v, out=out)
        return out


class PlainFlow:
    """``z' = -z`` and nothing more."""

    kind = "ode"

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        return np.negative(z, out=out)


class LinearFlow:
    """``z' = A z``, exactly solved by the eigenvectors of A; `weight` g makes diag(g) A symmetric."""

    kind = "ode"
    smooth = True
    time_dependent = False

    def __init__(self, matrix, weight=None):
        self.matrix, self.weight = matrix, weight
        self.linearized = 0

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        np.matmul(self.matrix, z, out=out)
        return out

    def linearize(self, t, z):
        self.linearized += 1
        return Matrix(self.matrix, self.weight)

    def exact(self, z, t):
        from scipy.linalg import expm

        return expm(t * self.matrix) @ z


class NetworkFlow:
    """``f = scale/m sum_j a_j s(w_j . x)`` on the mean squared loss; theta_j = (a_j, w_j) moves by -grad F'."""

    kind = "ode"
    time_dependent = False

    def __init__(self, activation, n=40, m=30, d=3, scale=1.0, rates=(1.0, 1.0), seed=0):
        rng = np.random.default_rng(seed)
        self.smooth = activation == "tanh"
        self.x = rng.standard_normal((n, d))
        self.y = np.sin(self.x @ rng.standard_normal(d)) + 0.3 * rng.standard_normal(n)
        self.start = rng.standard_normal((m, 1 + d)).reshape(-1)
        self.shape, self.scale = (m, 1 + d), scale
        # mobility of (a, w)
        self.mobility = np.array([rates[0], *[rates[1]] * d])

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def describe(self):
        return {"flow": "network", "smooth": self.smooth, "scale": self.scale}

    def parts(self, z):
        theta = z.reshape(self.shape)
        u = theta[:, 1:] @ self.x.T
        if self.smooth:
            s = np.tanh(u)
            return theta, s, 1 - s * s, -2 * s * (1 - s * s)
        return theta, np.maximum(u, 0.0), (u > 0) * 1.0, np.zeros_like(u)

    def predictions(self, z):
        theta, s, _, _ = self.parts(z)
        return self.scale * (theta[:, 0] @ s) / self.shape[0]

    def gradient(self, theta, s, slope, q):
        """<q, grad Phi_j> for every neuron, times scale and mobility."""
        g = np.empty(self.shape)
        g[:, 0] = s @ q
        g[:, 1:] = theta[:, :1] * ((slope * q) @ self.x)
        return self.scale * self.mobility * g

    def velocity(self, t, z, out):
        theta, s, slope, _ = self.parts(z)
        q = (self.scale * (theta[:, 0] @ s) / self.shape[0] - self.y) / len(self.y)
        out[:] = -self.gradient(theta, s, slope, q).reshape(-1)
        return out

    def linearize(self, t, z):
        return _NetworkJacobian(self, z)

    def error_norm(self, z, error, rtol, atol):
        f = self.predictions(z)
        change = np.sqrt(np.mean((f - self.predictions(z - error)) ** 2))
        state = 0.01 * np.sqrt(np.mean(error**2)) / (atol + rtol * np.sqrt(np.mean(z**2)))
        return change / (atol + rtol * max(np.sqrt(np.mean(f**2)), np.sqrt(np.mean(self.y**2)))) + state

    def error(self, z, other):
        """Relative error of the predictions."""
        f, g = self.predictions(z), self.predictions(other)
        return np.sqrt(np.mean((f - g) ** 2) / np.mean(self.y**2))


class _NetworkJacobian:
    rank = None

    def __init__(self, flow, z):
        self.flow = flow
        self.theta, self.s, self.slope, self.curvature = flow.parts(z.copy())
        self.q = (flow.scale * (self.theta[:, 0] @ self.s) / flow.shape[0] - flow.y) / len(flow.y)
        with np.errstate(divide="ignore"):
            inverse = np.where(flow.mobility > 0, 1 / flow.mobility, 0.0)
        self.weight = np.tile(inverse, flow.shape[0])

    def product(self, v, out):
        flow, x = self.flow, self.flow.x
        v = v.reshape(flow.shape)
        push = v[:, 1:] @ x.T
        df = flow.scale * (v[:, 0] @ self.s + self.theta[:, 0] @ (self.slope * push)) / flow.shape[0]
        g = flow.gradient(self.theta, self.s, self.slope, df / len(flow.y))
        mobile = flow.scale * flow.mobility
        g[:, 0] += mobile[0] * ((self.slope * push) @ self.q)
        bend = v[:, :1] * self.slope + self.theta[:, :1] * self.curvature * push
        g[:, 1:] += mobile[1:] * ((bend * self.q) @ x)
        out[:] = -g.reshape(-1)
        return out


def dense(linear, size):
    """The matrix of a linearization."""
    columns = [linear.product(e, np.empty(size)).copy() for e in np.eye(size)]
    return np.array(columns).T


@pytest.fixture(scope="session")
def stiff():
    """The flows and helpers of this file."""
    import types

    return types.SimpleNamespace(
        Plain=PlainFlow, Linear=LinearFlow, Network=NetworkFlow, dense=dense, heat=heat, diffusion=diffusion
    )


def heat(size):
    """The heat equation on `size` points of (0, 1): eigenvalues -pi^2 to -4 (size + 1)^2."""
    off = np.ones(size - 1)
    return (np.diag(off, 1) + np.diag(off, -1) - 2 * np.eye(size)) * (size + 1) ** 2


def diffusion(size, ratio=1e3, seed=0):
    """A negative matrix that is symmetric only in a weighted inner product, and its weight."""
    rng = np.random.default_rng(seed)
    weight = np.geomspace(1.0, ratio, size)
    rng.shuffle(weight)
    q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    symmetric = -(q * np.geomspace(1e-2, 10.0, size)) @ q.T
    root = np.sqrt(weight)
    return symmetric * root / root[:, None], weight
