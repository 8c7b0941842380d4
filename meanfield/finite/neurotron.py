r"""Neuro-Tron: depth-2 nets of one trained weight vector, without gradients, under data poisoning.

    f_w(x) = (1/k) sum_i q_i sigma(w.A_i x),   sigma(z) = max(z, alpha z),   y = f_(w*)(x) + xi with probability beta
    w <- w + (eta/b) M sum_i (y_i - f_w(x_i)) x_i

For x equal in law to -x, ``E (f_(w*) - f_w) x = ((1+alpha)/2) Sigma Abar' (w* - w)``, ``Abar = (1/k) sum q_i A_i``: the
mean of e = w - w* obeys an exact linear recursion, under any attack that depends on x alone or on nothing,

    E e_(t+1) = (I - eta H) E e_t + eta beta M E[xi x],     H = ((1+alpha)/2) M Sigma Abar'

An attack independent of x has ``E[xi x] = 0``: no bias, constant attacks included. ``theta sign(v.x)`` biases the rest
point, for x ~ N(0, Sigma) by ``H^-1 beta theta sqrt(2/pi) M Sigma v / sqrt(v' Sigma v)``.

References
----------
Karmakar, Mukherjee, (Papamarkou), 2020 (2005.01699) for the iteration, as remembered; recursion, covariance and floors
were derived for this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from meanfield.finite._online import ATTACKS, Inputs, OnlineRun, Plan, as_sampler, asymmetry, pilot, plan
from solvers import _check
from solvers._rng import generator
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

__all__ = [
    "Inputs",
    "Net",
    "OnlineRun",
    "Setup",
    "Stationary",
    "drift",
    "floor",
    "mean_error",
    "published",
    "stationary",
    "train",
]

Algorithm = Literal["tron", "sgd", "first_gradient"]
ALGORITHMS = ("tron", "sgd", "first_gradient")
PUBLISHED = {
    "gaussian": (100, 1.0, 1e-4),
    "wide": (50, 3.0, 5e-5),
    "laplace": (50, 2.0, 5e-5),
    "t4": (100, 1.0, 1e-4),
}


@dataclass(frozen=True, repr=False)
class Net:
    """``f_w(x) = (1/k) sum_i q_i sigma(w.A_i x)`` with one trained w in R^r, and the matrix M of its iteration.

    Parameters
    ----------
    A : array_like, (k, r, n)
        The gates' fixed matrices.
    M : array_like, (r, n), optional
        By default Abar, the mean of q_i A_i.
    q : float or array_like, (k,)
        Outer weights.
    alpha : float
        Slope of sigma for negative arguments, 0 <= alpha <= 1.

    Raises
    ------
    InputError
    """

    A: Any
    M: Any = None
    q: Any = 1.0
    alpha: float = 0.0

    def __post_init__(self) -> None:
        A = _check.array(self.A, "A", ndim=3)
        q = _check.array(self.q, "q", ndim=(0, 1))
        if q.ndim == 1 and q.shape != (len(A),):
            raise InputError(
                f"q must be a number or have one entry for each of the {len(A)} matrices A, not {q.size}"
            )
        alpha = float(_check.number(self.alpha, "alpha"))
        if not 0 <= alpha <= 1:
            raise InputError(
                f"alpha, the slope for negative arguments, must lie between 0 and 1, not {alpha:g}"
            )
        outer = np.array(np.broadcast_to(q, len(A)))
        M = np.tensordot(outer, A, 1) / len(A) if self.M is None else self.M
        for name, value in (("A", A), ("q", outer), ("alpha", alpha)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "M", _check.array(M, "M", shape=A.shape[1:]))

    @property
    def k(self) -> int:
        """Number of gates."""
        return int(self.A.shape[0])

    @property
    def r(self) -> int:
        """Dimension of w."""
        return int(self.A.shape[1])

    @property
    def n(self) -> int:
        """Dimension of the inputs."""
        return int(self.A.shape[2])

    @property
    def mean_matrix(self) -> Array:
        """``Abar = (1/k) sum q_i A_i``, (r, n)."""
        return np.asarray(np.tensordot(self.q, self.A, 1) / self.k)

    def predict(self, w: Any, X: Any) -> Array:
        """``f_w(x)`` for inputs (N, n), shape (N,).

        Parameters
        ----------
        w : array_like, (r,)
        X : array_like, (N, n)
        """
        z = np.einsum("krn,r,xn->kx", self.A, _check.array(w, "w", shape=(self.r,)),
                      _check.array(X, "X", shape=(None, self.n)), optimize=True)  # fmt: skip
        return np.asarray(self.q @ np.where(z > 0, z, self.alpha * z) / self.k)

    def __repr__(self) -> str:
        return f"Net(k={self.k} gates, r={self.r} weights, n={self.n} inputs, alpha={self.alpha:g})"

    def _factored(self) -> tuple[Array, Array, Array]:
        """``A_i = sum_j c_ij B_j`` and ``M = sum_j m_j B_j``, few B where matrices depend on each other: c, B, m."""
        rows = np.concatenate([self.A, self.M[None]]).reshape(self.k + 1, -1)
        left, sizes, basis = np.linalg.svd(rows, full_matrices=False)
        rank = max(1, int(np.sum(sizes > 1e-13 * sizes[0])))
        coordinates = left[:, :rank] * sizes[:rank]
        return coordinates[:-1], basis[:rank].reshape(rank, self.r, self.n), coordinates[-1]


# The published setups ---------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Setup:
    """A published experiment: what `train` takes.

    Attributes
    ----------
    net : Net
    inputs : Inputs
    w_star, start : ndarray, (r,)
    step : float
    batch, iterations : int
    """

    net: Net
    inputs: Inputs
    w_star: Array
    start: Array
    step: float
    batch: int
    iterations: int

    def __repr__(self) -> str:
        return f"Setup({self.net}, {self.inputs}, step={self.step:g}, batch={self.batch}, iterations={self.iterations})"


def published(
    name: str = "gaussian",
    *,
    n: int | None = None,
    r: int = 25,
    k: int = 10,
    alpha: float = 0.1,
    rng: Any = 0,
) -> Setup:
    """``A_c = M + c C`` with c from -k/2 to k/2 without 0, q = 1, w_0 = 1, w* ~ N(0, I), batches of 16, 40000 steps.

    ``Abar = M``. The published code's laws of M and C and its slope alpha are not known here: M and C with independent
    N(0, 1) entries and alpha = .1 are assumptions. The predicted floor of the tron depends on none of the three but
    alpha, that of SGD on none.

    Parameters
    ----------
    name : {"gaussian", "wide", "laplace", "t4"}
        N(0, 1), n = 100, step 1e-4; N(0, 9), n = 50, step 5e-5; Laplace of scale 2, n = 50, step 5e-5; Student's t with
        4 degrees of freedom, n = 100, step 1e-4.
    n : int, optional
        Another dimension of the inputs; the step is multiplied by the old over the new one.
    r : int
        Dimension of w.
    k : int
        Number of gates, even.
    alpha : float
    rng : int, SeedSequence or Generator

    Raises
    ------
    InputError
    """
    usual, scale, step = PUBLISHED[_check.choice(name, "name", PUBLISHED)]
    dim = usual if n is None else _check.number(n, "n", positive=True, integer=True)
    rows = _check.number(r, "r", positive=True, integer=True)
    gates = _check.number(k, "k", positive=True, integer=True)
    if gates % 2:
        raise InputError(f"k must be even: the matrices come in pairs M + c C and M - c C, not {gates}")
    draws = generator(rng, "neurotron setup")
    M, C = draws.standard_normal((2, rows, dim))
    signs = np.concatenate([np.arange(-(gates // 2), 0), np.arange(1, gates // 2 + 1)])
    law = name if name in ("laplace", "t4") else "gaussian"
    return Setup(
        Net(M + signs[:, None, None] * C, M, 1.0, alpha),
        Inputs(dim, law, scale),
        draws.standard_normal(rows),
        np.ones(rows),
        step * usual / dim,
        16,
        40_000,
    )


# What is known before a run ---------------------------------------------------------------------------------


def drift(net: Net, covariance: Any) -> Array:
    """``H = ((1+alpha)/2) M Sigma Abar'``, (r, r): the mean error is multiplied by ``I - eta H`` in each step.

    Parameters
    ----------
    net : Net
    covariance : Inputs or array_like, (n, n)
        Sigma, of a law symmetric about 0.

    Raises
    ------
    InputError
    """
    return np.asarray(0.5 * (1 + net.alpha) * net.M @ _sigma(net, covariance) @ net.mean_matrix.T)


def mean_error(net: Net, covariance: Any, step: float, start: Any, iterations: Any) -> Array:
    """``E e_t = (I - eta H)^t e_0``, exact for any attack without bias, (times, r).

    Parameters
    ----------
    net : Net
    covariance : Inputs or array_like, (n, n)
    step : float
    start : array_like, (r,)
        e_0 = w_0 - w*.
    iterations : array_like of int, (times,)

    Raises
    ------
    InputError
    """
    e = _check.array(start, "start", shape=(_net(net).r,))
    times = _check.array(iterations, "iterations", ndim=1)
    if np.any(times < 0) or np.any(times != np.round(times)):
        raise InputError("iterations must be integers, 0 or more")
    factor = np.eye(net.r) - _check.number(step, "step", positive=True) * drift(net, covariance)
    return np.array([np.linalg.matrix_power(factor, int(t)) @ e for t in times])


@dataclass(frozen=True, repr=False)
class Stationary:
    """Mean and covariance of the error ``e = w - w*`` in the end.

    Attributes
    ----------
    bias : ndarray, (r,)
    covariance : ndarray, (r, r)
    """

    bias: Array
    covariance: Array

    @property
    def rms(self) -> float:
        """``sqrt(|bias|^2 + tr covariance)``."""
        return float(np.sqrt(self.bias @ self.bias + np.trace(self.covariance)))

    def __repr__(self) -> str:
        return f"Stationary(rms={self.rms:.4g}, of which bias {np.linalg.norm(self.bias):.4g})"


def stationary(
    net: Net,
    covariance: Any,
    step: float,
    *,
    batch: int = 16,
    beta: float = 0.5,
    theta: float = 0.25,
    attack: str = "alternating",
    direction: Any = None,
) -> Stationary:
    r"""Bias ``eta beta (eta H)^-1 M E[xi x]`` and covariance P of the tron's stationary error.

    P solves the discrete Lyapunov equation of the mean recursion driven by the attack's own noise,

        P = (I - eta H) P (I - eta H)' + (eta^2/b) (beta theta^2 M Sigma M' - m m'),    m = beta M E[xi x]

    whose limit for small steps is ``H P + P H' = (eta beta theta^2/b) M Sigma M'``. The bias is exact. P leaves out one
    thing, the fluctuations of ``(f_(w*) - f_w) x`` about their mean, which multiply the error: they raise P by a
    fraction of about ``eta tr(M Sigma M')/b``, and to infinity for inputs without fourth moments (whose typical
    errors follow P all the same).

    Parameters
    ----------
    net : Net
    covariance : Inputs or array_like, (n, n)
    step : float
    batch : int
    beta, theta : float
    attack : {"alternating", "constant", "correlated", "random"}
    direction : array_like, (n,), optional
        v of the correlated attack ``theta sign(v.x)``, whose bias is for Gaussian inputs.

    Raises
    ------
    InputError
        Also if the mean recursion does not contract.
    """
    H, sigma = drift(net, covariance), _sigma(net, covariance)
    eta = float(_check.number(step, "step", positive=True))
    size = float(_check.number(theta, "theta", nonnegative=True))
    share = float(_check.number(beta, "beta", nonnegative=True))
    if share > 1:
        raise InputError("beta is the probability of poison: it must lie between 0 and 1")
    b = _check.number(batch, "batch", positive=True, integer=True)
    _stable(H, eta)
    push = np.zeros(net.r)
    if _check.choice(attack, "attack", ATTACKS) == "correlated":
        if isinstance(covariance, Inputs) and covariance.law != "gaussian":
            raise InputError("the bias of a correlated attack is known for Gaussian inputs only")
        if direction is None:
            raise InputError("a correlated attack needs direction, the v of theta sign(v.x)")
        v = _check.array(direction, "direction", shape=(net.n,))
        length = float(v @ sigma @ v)
        if not length > 0:
            raise InputError("direction must not be 0, nor one in which the inputs do not vary")
        push = share * size * np.sqrt(2 / np.pi) * net.M @ (sigma @ v) / np.sqrt(length)
    noise = eta**2 / b * (share * size**2 * net.M @ sigma @ net.M.T - np.outer(push, push))
    from scipy.linalg import solve_discrete_lyapunov

    P = np.asarray(solve_discrete_lyapunov(np.eye(net.r) - eta * H, noise))
    return Stationary(np.asarray(np.linalg.solve(H, push), dtype=float), P)


def floor(net: Net, covariance: Any, step: float, **settings: Any) -> float:
    """Predicted root mean square of ``|w - w*|`` in the end; ``theta sqrt(r eta beta/(b (1+alpha)))`` if Abar = M.

    (For ``Abar = q M``: divided by sqrt q. Both in the limit of small steps, without bias.)

    Parameters
    ----------
    net : Net
    covariance : Inputs or array_like, (n, n)
    step : float
    settings
        batch, beta, theta, attack and direction, as in `stationary`.

    Raises
    ------
    InputError
    """
    return stationary(net, covariance, step, **settings).rms


def _stable(H: Array, eta: float) -> None:
    values = np.linalg.eigvals(H)
    if values.real.min() <= 1e-12 * np.abs(values).max():
        raise InputError(
            "the mean error does not contract for any step: M Sigma Abar' has an eigenvalue that is not in the right "
            "half plane; choose M = Abar, of full rank"
        )
    most = float((2 * values.real / np.abs(values) ** 2).min())
    if eta >= most:
        raise InputError(f"the mean error grows at step={eta:g}; it must be below {most:.3g}")


def _sigma(net: Any, covariance: Any) -> Array:
    n = _net(net).n
    if isinstance(covariance, Inputs):
        if covariance.n != n:
            raise InputError(
                f"the inputs have dimension {covariance.n}, but the matrices of the net act on {n}"
            )
        return np.asarray(covariance.variance * np.eye(n))
    sigma = _check.array(covariance, "covariance", shape=(n, n))
    values = np.linalg.eigvalsh(sigma)
    if (
        not np.allclose(sigma, sigma.T, rtol=0, atol=1e-9 * np.abs(sigma).max())
        or values[0] < -1e-9 * values[-1]
    ):
        raise InputError("covariance must be symmetric and without negative eigenvalues")
    return sigma


def _net(net: Any) -> Net:
    if not isinstance(net, Net):
        raise InputError(f"net must be a neurotron.Net, not {type(net).__name__}")
    return net


# Training ---------------------------------------------------------------------------------------------------


def train(
    X_sampler: Any,
    w_star: Any,
    net: Net,
    *,
    step: Any,
    batch: int = 16,
    iterations: int = 10_000,
    beta: Any = 0.5,
    theta: Any = 0.25,
    attack: Any = "alternating",
    direction: Any = None,
    algorithm: Algorithm = "tron",
    seeds: int = 20,
    save_every: int | None = None,
    start: Any = None,
    symmetric: bool = True,
    rng: Any = 0,
) -> OnlineRun:
    r"""``w <- w + (eta/b) M sum (y_i - f_w(x_i)) x_i``, with ``y = f_(w*)(x) + xi`` for a share beta of the samples.

    Parameters
    ----------
    X_sampler : Inputs, callable or array_like, (N, n)
        ``X_sampler(rng, count) -> (count, n)`` with a NumPy generator; rows of an array are drawn with replacement.
    w_star : array_like, (r,)
    net : Net
    step : float or array_like, (settings,)
        eta; a list runs each on the same samples, as do lists for beta and theta.
    batch, iterations : int
    beta, theta : float or array_like, (settings,)
        Probability and bound of the poison.
    attack : {"alternating", "constant", "correlated", "random"} or callable
        xi is theta times: the sign (-1)^i by the position i in the batch; 1; the sign of ``direction.x``; a fair sign.
        A callable ``(x, clean, w) -> xi`` sees all: inputs (seeds, batch, n), clean targets (seeds, batch), weights
        (seeds, settings, r); what it returns broadcasts to (seeds, settings, batch) and is at most theta in size.
    direction : array_like, (n,), optional
        Of the correlated attack; ``Abar' w*`` by default.
    algorithm : {"tron", "sgd", "first_gradient"}
        "sgd" is the correct gradient of ``(f_w - y)^2/2``: ``(1/k) sum q_i sigma'(w.A_i x) A_i x`` in place of M x;
        "first_gradient" multiplies every residual of a batch by that of its first sample, as the published code's
        baseline did.
    seeds : int
        Runs with streams of their own, the same ones whatever `seeds`, settings and algorithm are.
    save_every : int, optional
        Errors are kept every so many iterations; by default about 500 times.
    start : array_like, (r,) or (seeds, r), optional
        By default normal, with ``E|w_0|^2 = |w*|^2``.
    symmetric : bool
        Refuse inputs whose law visibly is not that of -x, for which no statement here holds; False trains anyway.
    rng : int, SeedSequence or Generator

    Raises
    ------
    InputError
    DivergenceError
        If the error grows without bound.
    """
    target = _check.array(w_star, "w_star", shape=(_net(net).r,))
    name = _check.choice(algorithm, "algorithm", ALGORITHMS)
    sampler = as_sampler(X_sampler, net.n)
    X = pilot(sampler, net.n, rng)
    if symmetric and not isinstance(sampler, Inputs) and asymmetry(X) > 7.0:
        raise InputError(
            "the law of x is not that of -x, which the Neuro-Tron's theory needs: symmetrize the inputs (say, "
            "with random signs), or pass symmetric=False to train without it"
        )
    chosen = plan(sampler, net.n, net.mean_matrix.T @ target, step=step, batch=batch, iterations=iterations, beta=beta,
                  theta=theta, attack=attack, own_direction=direction, seeds=seeds, save_every=save_every,
                  rng=rng)  # fmt: skip
    errors, w = _march(chosen, net, target, name, start)
    known = sampler if isinstance(sampler, Inputs) else X.T @ X / len(X)
    chosen.refuse_divergence(errors, target, "lower the step, or M, or make the batch larger")
    return chosen.result(
        name, errors, w, None, _floors(chosen, net, known) if name == "tron" and symmetric else None
    )


def _floors(chosen: Plan, net: Net, covariance: Any) -> Array | None:
    """Predicted floors of the settings, None where the attack's mean or the contraction is not known."""
    if not isinstance(chosen.attack, str):
        return None
    try:
        return np.array(
            [
                floor(
                    net,
                    covariance,
                    eta,
                    batch=chosen.batch,
                    beta=beta,
                    theta=theta,
                    attack=chosen.attack,
                    direction=chosen.direction,
                )  # fmt: skip
                for eta, beta, theta in zip(chosen.step, chosen.beta, chosen.theta, strict=True)
            ]
        )
    except InputError:
        return None


def _march(chosen: Plan, net: Net, target: Array, algorithm: str, start: Any) -> tuple[Array, Array]:
    """Errors (saves, seeds, settings) and weights (seeds, settings, r); inputs enter through B_j x only."""
    coefficients, basis, of_m = net._factored()
    rank, r, n = basis.shape
    w = chosen.start(start, target)
    seeds, settings, _ = w.shape
    scale, outer = (chosen.step / chosen.batch)[:, None], net.q / net.k
    columns = np.empty((seeds, r, settings + 1))
    columns[:, :, -1] = target
    saved = set(chosen.saved.tolist())
    errors, t = [np.linalg.norm(w - target, axis=2)], 0
    b, alpha = chosen.batch, net.alpha
    shape = (seeds, b, settings + 1)
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        for X, hit, signs in chosen.chunks():
            U = np.stack([(X.reshape(-1, n) @ one.T).reshape(len(X), seeds, b, r) for one in basis], axis=1)
            pulled = np.tensordot(U, of_m, ((1,), (0,)))
            for k in range(len(X)):
                columns[:, :, :-1] = w.transpose(0, 2, 1)
                u = U[k]  # (rank, seeds, b, r)
                z = coefficients @ (u @ columns).reshape(rank, -1)
                f = (outer @ np.maximum(z, alpha * z)).reshape(shape)
                clean = f[:, :, -1]
                poison = chosen.poison(X[k], clean, w, hit[k], signs[k])
                residual = (clean[:, :, None] - f[:, :, :-1]).transpose(0, 2, 1) + poison
                if algorithm == "tron":
                    w = w + scale * (residual @ pulled[k])
                else:
                    slopes = (coefficients * outer[:, None]).T @ np.where(z > 0, 1.0, alpha)
                    spread = slopes.reshape(rank, *shape)[..., :-1].transpose(0, 1, 3, 2)
                    if algorithm == "sgd":
                        w = w + scale * ((residual * spread) @ u).sum(axis=0)
                    else:
                        first = (spread[..., :1] * u[:, :, None, 0]).sum(
                            axis=0
                        )  # the gradient of the first sample
                        w = w + scale * (residual.sum(axis=2, keepdims=True) * first)
                t += 1
                if t in saved:
                    errors.append(np.linalg.norm(w - target, axis=2))
    return np.array(errors), w
