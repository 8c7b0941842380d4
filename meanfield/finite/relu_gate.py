r"""One ReLU gate trained without gradients, under an online poisoning adversary: rate, best step, floor, and rivals.

Data ``y = relu(w*.x) + alpha xi`` with ``alpha ~ Bernoulli(beta)``, ``|xi| <= theta``. The iteration keeps the samples
whose target exceeds theta, and their residual is linear:

    w <- w + (eta/b) sum_i 1{y_i > theta} (y_i - w.x_i) x_i

Without poison e = w - w* obeys an exact linear recursion, with ``H = E 1 x x'`` and
``K = E 1 |x|^2 x x'`` over the kept x:

    E|e_(t+1)|^2 = e_t' Q e_t,    Q = I - 2 eta H + eta^2 (K/b + (1 - 1/b) H^2),    rho = lambda_max(Q)

References
----------
Karmakar, Mukherjee, 2020 (2005.04211) for the iteration, as remembered; rates and floors were derived for this project.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from meanfield.finite._online import LATE, Inputs, OnlineRun, Plan, as_sampler, pilot, plan
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

__all__ = [
    "Inputs",
    "OnlineRun",
    "best_step",
    "floor",
    "l1",
    "least_squares",
    "moments",
    "rate",
    "search_step",
    "shift_bias",
    "train",
]

Algorithm = Literal["gate", "sgd"]


# Rates ------------------------------------------------------------------------------------------------------


def moments(w_star: Any, theta: float = 0.0) -> tuple[Array, Array]:
    r"""``H = E 1{w*.x > theta} x x'`` and ``K = E 1{w*.x > theta} |x|^2 x x'`` for x ~ N(0, I), both (n, n).

    With ``t = theta/|w*|``: across w* they are ``p = P(z > t)`` and ``m_2 + (n+1) p``, along it ``m_2`` and
    ``m_4 + (n-1) m_2``, where ``m_k = E 1{z > t} z^k``. For theta = 0: ``I/2`` and ``(n+2)/2 I``.

    Parameters
    ----------
    w_star : array_like, (n,)
        Not 0.
    theta : float
        At least 0.

    Raises
    ------
    InputError
    """
    target = _target(w_star)
    size, n = float(np.linalg.norm(target)), target.size
    p, m2, m4 = _tail(float(_check.number(theta, "theta", nonnegative=True)) / size)
    along = np.outer(target, target) / size**2
    across = np.eye(n) - along
    return p * across + m2 * along, (m2 + (n + 1) * p) * across + (m4 + (n - 1) * m2) * along


def _tail(t: float) -> tuple[float, float, float]:
    """``E 1{z > t} z^k`` for k = 0, 2, 4, of a standard normal z."""
    density = math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
    p = 0.5 * math.erfc(t / math.sqrt(2))
    return p, p + t * density, 3 * p + (t**3 + 3 * t) * density


def _second(n: Any, batch: Any, H: Any, K: Any) -> tuple[Array, Array]:
    """H and ``K/b + (1 - 1/b) H^2``, 1 x 1 where they are multiples of the identity."""
    b = _check.number(batch, "batch", positive=True, integer=True)
    if (H is None) != (K is None):
        raise InputError("give both H and K, or neither (then x ~ N(0, I_n))")
    if H is None:
        if n is None:
            raise InputError("give n, the dimension of x ~ N(0, I), or the matrices H and K")
        dim = _check.number(n, "n", positive=True, integer=True)
        first, fourth = np.full((1, 1), 0.5), np.full((1, 1), 0.5 * (dim + 2))
    else:
        first = _check.array(H, "H", ndim=2)
        fourth = _check.array(K, "K", ndim=2)
        if first.shape[0] != first.shape[1] or fourth.shape != first.shape:
            raise InputError(
                f"H and K must be square and of one size, but their shapes are {first.shape} and {fourth.shape}"
            )
        if n is not None and n != len(first):
            raise InputError(f"n={n} contradicts H, which is {len(first)} x {len(first)}; leave n out")
        for name, matrix in (("H", first), ("K", fourth)):
            if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9 * np.abs(matrix).max()):
                raise InputError(f"{name} must be symmetric")
        if np.linalg.eigvalsh(first)[0] <= 0:
            raise InputError(
                "H = E 1 x x' must be positive definite: the kept inputs have to span every direction"
            )
    return first, fourth / b + (1.0 - 1.0 / b) * first @ first


def rate(n: int | None = None, batch: int = 1, step: Any = None, *, H: Any = None, K: Any = None) -> Any:
    r"""``rho = lambda_max(I - 2 eta H + eta^2 (K/b + (1 - 1/b) H^2))``: the factor of ``E|e|^2`` in a step.

    For x ~ N(0, I_n) and theta = 0, ``rho = 1 - eta + eta^2 ((n+2)/(2b) + (1 - 1/b)/4)``, attained by every error; at
    the best step ``1 - b/(2(n+2) + b - 1)``. In general it is a bound, attained along one direction.

    Parameters
    ----------
    n : int, optional
        Dimension of x ~ N(0, I).
    batch : int
        b.
    step : float or array_like, optional
        eta; None for the best one.
    H, K : array_like, (n, n), optional
        Second and fourth moments of the kept inputs, in place of n (`moments` has those of N(0, I) for theta > 0).

    Returns
    -------
    float, or ndarray of the shape of `step`
        1 or more: the mean square grows.

    Raises
    ------
    InputError
    """
    first, second = _second(n, batch, H, K)
    eta = _check.array(_best(first, second) if step is None else step, "step", ndim=(0, 1))
    if not np.all(eta > 0):
        raise InputError("step must be positive")
    values = np.array([_rho(first, second, one) for one in np.ravel(eta)])
    return float(values[0]) if eta.ndim == 0 else values


def _rho(first: Array, second: Array, eta: float) -> float:
    if len(first) == 1:
        return float(1.0 - 2.0 * eta * first[0, 0] + eta**2 * second[0, 0])
    return float(np.linalg.eigvalsh(np.eye(len(first)) - 2.0 * eta * first + eta**2 * second)[-1])


def _best(first: Array, second: Array) -> float:
    if len(first) == 1:
        return float(first[0, 0] / second[0, 0])
    from scipy.optimize import minimize_scalar

    # rho is convex in eta, below 1 for small steps and above 1 from here on
    values, vectors = np.linalg.eigh(second)
    most = 2.0 * float(vectors[:, -1] @ first @ vectors[:, -1]) / values[-1]
    found = minimize_scalar(lambda share: _rho(first, second, share * most), bounds=(0.0, 1.0), method="bounded",
                            options={"xatol": 1e-10})  # fmt: skip
    return float(found.x * most)


def best_step(n: int | None = None, batch: int = 1, *, H: Any = None, K: Any = None) -> float:
    """The eta of the least rate: ``b/(n + 2 + (b-1)/2)`` for x ~ N(0, I_n) and theta = 0, else by a convex search.

    Parameters
    ----------
    n : int, optional
        Dimension of x ~ N(0, I).
    batch : int
        b.
    H, K : array_like, (n, n), optional
        As in `rate`.

    Raises
    ------
    InputError
    """
    return _best(*_second(n, batch, H, K))


# Floors -----------------------------------------------------------------------------------------------------


def floor(
    beta: Any, theta: Any, n: int | None = None, *, H: Any = None, mean_norm: float | None = None
) -> Any:
    r"""``beta theta E|x| / lambda_min(H)``: the error that poison leaves, an order of magnitude only.

    It bounds the bias by the worst direction at every sample and leaves out which samples the threshold keeps;
    `shift_bias` is exact for a constant shift.

    Parameters
    ----------
    beta, theta : float or array_like
        Probability and bound of the poison.
    n : int, optional
        Dimension of x ~ N(0, I): ``H = I/2``, ``E|x| = sqrt(2) Gamma((n+1)/2)/Gamma(n/2)``.
    H : array_like, (n, n), optional
        ``E 1 x x'`` over the kept inputs, with `mean_norm`, in place of n.
    mean_norm : float, optional
        ``E|x|``.

    Raises
    ------
    InputError
    """
    amount = _probability(beta) * _check.array(theta, "theta", ndim=(0, 1))
    if np.any(amount < 0):
        raise InputError("theta must be non-negative")
    if n is not None:
        dim = _check.number(n, "n", positive=True, integer=True)
        if H is not None or mean_norm is not None:
            raise InputError("give n, or H and mean_norm, not both")
        least, length = 0.5, _mean_length(dim)
    else:
        if H is None or mean_norm is None:
            raise InputError("give n, the dimension of x ~ N(0, I), or both H and mean_norm")
        least = float(np.linalg.eigvalsh(_check.array(H, "H", ndim=2))[0])
        length = float(_check.number(mean_norm, "mean_norm", positive=True))
        if least <= 0:
            raise InputError(
                "H = E 1 x x' must be positive definite: the kept inputs have to span every direction"
            )
    value = amount * length / least
    return float(value) if np.ndim(value) == 0 else value


def _mean_length(n: int) -> float:
    """``E|x|`` for x ~ N(0, I_n)."""
    return math.sqrt(2) * math.exp(math.lgamma(0.5 * (n + 1)) - math.lgamma(0.5 * n))


def shift_bias(beta: float, theta: float, size: float, algorithm: Algorithm = "gate") -> float:
    r"""Where the mean iteration rests under the constant shift xi = theta, x ~ N(0, I): ``|w - w*|``, along w*.

    The gate keeps a clean sample if ``w*.x > theta`` but a poisoned one if ``w*.x > 0``: with ``t = theta/|w*|``,
    ``beta theta phi(0) / ((1 - beta) m_2(t) + beta/2)``, ``m_2(t) = E 1{z > t} z^2``. SGD on the ReLU loss keeps what
    its own gate keeps: ``2 phi(0) beta theta``. A constant step adds its noise.

    Parameters
    ----------
    beta, theta : float
        Probability and size of the shift.
    size : float
        ``|w*|``, positive.
    algorithm : {"gate", "sgd"}

    Raises
    ------
    InputError
    """
    share = float(_probability(_check.number(beta, "beta")))
    shift = float(_check.number(theta, "theta", nonnegative=True))
    t = shift / float(_check.number(size, "size", positive=True))
    push = share * shift / math.sqrt(2 * math.pi)
    if _check.choice(algorithm, "algorithm", ("gate", "sgd")) == "sgd":
        return 2.0 * push
    return push / ((1.0 - share) * _tail(t)[1] + 0.5 * share) if push > 0 else 0.0


# Training ---------------------------------------------------------------------------------------------------


def train(
    X_sampler: Any,
    w_star: Any,
    *,
    step: Any = None,
    batch: int = 8,
    iterations: int = 1000,
    beta: Any = 0.0,
    theta: Any = 0.0,
    attack: Any = "random",
    direction: Any = None,
    algorithm: Algorithm = "gate",
    seeds: int = 20,
    save_every: int | None = None,
    start: Any = None,
    rng: Any = 0,
) -> OnlineRun:
    r"""``w <- w + (eta/b) sum 1{y_i > theta} (y_i - w.x_i) x_i``, ``y = relu(w*.x) + alpha xi``, all seeds at once.

    "sgd" is the correct gradient of ``(relu(w.x) - y)^2 / 2`` on the same samples:
    ``w <- w + (eta/b) sum 1{w.x_i > 0} (y_i - w.x_i) x_i``.

    Parameters
    ----------
    X_sampler : Inputs, callable or array_like, (N, n)
        ``X_sampler(rng, count) -> (count, n)`` with a NumPy generator; rows of an array are drawn with replacement.
    w_star : array_like, (n,)
    step : float or array_like, (settings,), optional
        eta; by default the best one of the gate without poison, from `best_step` (from 4096 inputs where their
        law is not Gaussian). A list runs each on the same samples.
    batch, iterations : int
    beta, theta : float or array_like, (settings,)
        Probability and bound of the poison; theta is also the gate's threshold. Lists as for `step`.
    attack : {"random", "constant", "alternating", "correlated"} or callable
        xi is theta times: a fair sign; 1; the sign (-1)^i by the position i in the batch; the sign of ``direction.x``.
        A callable ``(x, clean, w) -> xi`` sees all: inputs (seeds, batch, n), clean targets (seeds, batch), weights
        (seeds, settings, n); what it returns broadcasts to (seeds, settings, batch) and is at most theta in size.
    direction : array_like, (n,), optional
        Of the correlated attack; w* by default.
    algorithm : {"gate", "sgd"}
    seeds : int
        Runs with streams of their own, the same ones whatever `seeds`, settings and algorithm are.
    save_every : int, optional
        Errors are kept every so many iterations; by default about 500 times.
    start : array_like, (n,) or (seeds, n), optional
        By default normal, with ``E|w_0|^2 = |w*|^2``. (SGD does not leave 0.)
    rng : int, SeedSequence or Generator

    Raises
    ------
    InputError
        Also if no clean target exceeds theta: the iteration would never move.
    DivergenceError
        If the error grows without bound, with the largest step for which its mean square does not.
    """
    target = _target(w_star)
    chosen, sampler, H, K, norm = _planned(
        X_sampler, target, step=step, batch=batch, iterations=iterations, beta=beta, theta=theta, attack=attack,
        direction=direction, seeds=seeds, save_every=save_every, rng=rng,
    )  # fmt: skip
    name = _check.choice(algorithm, "algorithm", ("gate", "sgd"))
    errors, w = _march(chosen, target, name, start)
    return _finished(chosen, target, name, errors, w, sampler, H, K, norm)


def _finished(
    chosen: Plan,
    target: Array,
    name: str,
    errors: Array,
    w: Array,
    sampler: Any,
    H: Array,
    K: Array,
    norm: float,
) -> OnlineRun:
    """The run with what is predicted of it."""
    most = 2.0 * best_step(batch=chosen.batch, H=H, K=K)
    chosen.refuse_divergence(errors, target, f"at most about {most:.3g} is stable for these inputs and batch")
    poisoned = bool((chosen.beta * chosen.theta > 0).any())
    rates = _rates(sampler, target, chosen, H, K) if name == "gate" and not poisoned else None
    floors = None
    if poisoned:
        # H at the gate y > 0, not at y > theta, where lambda_min can be tiny: the order of magnitude is better
        H = _kept(sampler, pilot(sampler, target.size, 0), target, 0.0)[0]
        floors = floor(chosen.beta, chosen.theta, H=H, mean_norm=norm)
    return chosen.result(name, errors, w, rates, floors)


def _planned(
    X_sampler: Any, target: Array, *, step: Any, batch: Any, **rest: Any
) -> tuple[Plan, Any, Array, Array, float]:
    n = target.size
    sampler = as_sampler(X_sampler, n)
    thetas = _check.array(rest["theta"], "theta", ndim=(0, 1))
    X = pilot(sampler, n, rest["rng"])
    largest = float(np.maximum(X @ target, 0.0).max())
    if largest <= np.max(thetas):
        raise InputError(
            "no target is positive, so that the gate never moves: w_star.x must be positive for some inputs x"
            if largest <= 0
            else f"no clean target exceeds theta={np.max(thetas):g} (the largest of {len(X)} is {largest:.3g}), so "
            "that the gate keeps poison only; lower theta"
        )
    H, K, norm = _kept(sampler, X, target, float(np.max(thetas)))
    if step is None:
        step = best_step(batch=batch, H=H, K=K)
    made = plan(sampler, n, target, step=step, batch=batch, iterations=rest["iterations"], beta=rest["beta"],
                theta=thetas, attack=rest["attack"], own_direction=rest["direction"], seeds=rest["seeds"],
                save_every=rest["save_every"], rng=rest["rng"])  # fmt: skip
    return made, sampler, H, K, norm


def _kept(sampler: Any, X: Array, target: Array, theta: float) -> tuple[Array, Array, float]:
    """H and K of the clean samples above the threshold, and E|x|: exact for N(0, I), else from the sample."""
    lengths = np.linalg.norm(X, axis=1)
    if isinstance(sampler, Inputs) and sampler.law == "gaussian":
        H, K = moments(target, theta / sampler.scale)
        return sampler.scale**2 * H, sampler.scale**4 * K, sampler.scale * _mean_length(sampler.n)
    kept = (X @ target > theta)[:, None] * X
    H, K = kept.T @ X / len(X), (lengths[:, None] ** 2 * kept).T @ X / len(X)
    if np.linalg.eigvalsh(H)[0] <= 1e-12 * np.trace(H):
        raise InputError(
            "the inputs with targets above theta do not span every direction, so that w_star cannot be found from them"
        )
    return H, K, float(lengths.mean())


def _rates(sampler: Any, target: Array, chosen: Plan, H: Array, K: Array) -> Array:
    if np.any(chosen.theta != chosen.theta[0]):
        X = pilot(sampler, target.size, 0)
        pairs = [_kept(sampler, X, target, theta)[:2] for theta in chosen.theta]
    else:
        pairs = [(H, K)] * chosen.step.size
    return np.array(
        [rate(batch=chosen.batch, step=eta, H=h, K=k) for eta, (h, k) in zip(chosen.step, pairs, strict=True)]
    )


def _march(chosen: Plan, target: Array, algorithm: str, start: Any) -> tuple[Array, Array]:
    """Errors (saves, seeds, settings) and weights (seeds, settings, n)."""
    w = chosen.start(start, target)
    scale, threshold = (chosen.step / chosen.batch)[:, None], chosen.theta[:, None]
    saved = set(chosen.saved.tolist())
    errors, t = [np.linalg.norm(w - target, axis=2)], 0
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        for X, hit, signs in chosen.chunks():
            clean = np.maximum(X @ target, 0.0)
            for k in range(len(X)):
                x = X[k]
                y = clean[k][:, None, :] + chosen.poison(x, clean[k], w, hit[k], signs[k])
                z = w @ x.transpose(0, 2, 1)
                residual = np.where(y > threshold if algorithm == "gate" else z > 0.0, y - z, 0.0)
                w = w + scale * (residual @ x)
                t += 1
                if t in saved:
                    errors.append(np.linalg.norm(w - target, axis=2))
    return np.array(errors), w


def search_step(
    X_sampler: Any, w_star: Any, *, steps: Any = None, algorithm: Algorithm = "sgd", **settings: Any
) -> OnlineRun:
    """The run of `train` with the step of the least final root mean square error, for one beta and theta.

    Parameters
    ----------
    X_sampler, w_star
        As in `train`.
    steps : array_like, optional
        Steps to try; by default 15 from 1/64 of the gate's best step to 4 times it, in a geometric sequence.
    algorithm : {"sgd", "gate"}
    settings
        The other arguments of `train`.

    Raises
    ------
    InputError
    DivergenceError
        If every step diverges.
    """
    target = _target(w_star)
    if "step" in settings:
        raise InputError("give steps, those to try, not step")
    if np.ndim(settings.get("beta", 0.0)) or np.ndim(settings.get("theta", 0.0)):
        raise InputError("beta and theta must be numbers: search the step of one setting at a time")
    usual = {"batch": 8, "iterations": 1000, "beta": 0.0, "theta": 0.0, "attack": "random", "direction": None,
             "seeds": 20, "save_every": None, "rng": 0, "start": None}  # fmt: skip
    for name in settings:
        _check.choice(name, "a setting", usual)
    asked = usual | settings
    start = asked.pop("start")
    if steps is None:
        one = _planned(X_sampler, target, step=None, **asked)[0]
        steps = one.step[0] * np.geomspace(1 / 64, 4, 15)
    if isinstance(asked["rng"], np.random.Generator):
        asked["rng"] = int(asked["rng"].integers(2**63))  # planned twice
    made = _planned(X_sampler, target, step=_check.array(steps, "steps", ndim=1), **asked)
    chosen, sampler, H, K, norm = made
    name = _check.choice(algorithm, "algorithm", ("gate", "sgd"))
    errors, w = _march(chosen, target, name, start)
    late = chosen.saved >= LATE * chosen.iterations
    with np.errstate(over="ignore", invalid="ignore"):
        final = np.nan_to_num(np.mean(errors[late] ** 2, axis=(0, 1)), nan=np.inf)
    k = slice(best := int(np.argmin(final)), best + 1)
    chosen = replace(chosen, step=chosen.step[k], beta=chosen.beta[k], theta=chosen.theta[k], single=True)
    return _finished(chosen, target, name, errors[..., k], w[:, k], sampler, H, K, norm)


# Regression on the selected samples -------------------------------------------------------------------------


def least_squares(X: Any, y: Any, theta: float = 0.0) -> Array:
    """The w of least ``sum (y_i - w.x_i)^2`` over the samples with ``y_i > theta``, on which clean targets are linear.

    Parameters
    ----------
    X : array_like, (N, n)
    y : array_like, (N,)
    theta : float

    Raises
    ------
    InputError
        If no target exceeds theta, or those that do leave w undetermined.
    """
    kept, targets = _selected(X, y, theta)
    with one_blas_thread():
        return np.asarray(np.linalg.lstsq(kept, targets, rcond=None)[0])


def l1(X: Any, y: Any, theta: float = 0.0) -> Array:
    """The w of least ``sum |y_i - w.x_i|`` over the samples with ``y_i > theta``, by a linear program.

    It recovers w* exactly where few enough of the selected samples are poisoned.

    Parameters
    ----------
    X : array_like, (N, n)
    y : array_like, (N,)
    theta : float

    Raises
    ------
    InputError
        If no target exceeds theta, or those that do leave w undetermined.
    """
    from scipy.optimize import linprog

    kept, targets = _selected(X, y, theta)
    # the dual has n rows only: max y.nu, X' nu = 0, |nu| <= 1; w is the multiplier of the rows
    done = linprog(-targets, A_eq=kept.T, b_eq=np.zeros(kept.shape[1]), bounds=(-1.0, 1.0), method="highs")
    if done.status != 0:
        raise InputError(f"the linear program of l1 regression was not solved: {done.message}")
    return np.asarray(-done.eqlin.marginals)


def _selected(X: Any, y: Any, theta: Any) -> tuple[Array, Array]:
    inputs = _check.array(X, "X", ndim=2)
    targets = _check.array(y, "y", shape=(len(inputs),))
    kept = targets > _check.number(theta, "theta")
    if not (targets > 0).any():
        raise InputError(
            "y has no positive target: a ReLU gate tells nothing of w where it is 0; pass data with y > 0"
        )
    if not kept.any():
        raise InputError(
            f"no target exceeds theta={theta:g} (the largest is {targets.max():.3g}); lower theta"
        )
    if np.linalg.matrix_rank(inputs[kept]) < inputs.shape[1]:
        raise InputError(
            f"the {int(kept.sum())} samples with y > theta do not span all {inputs.shape[1]} directions; pass more"
        )
    return inputs[kept], targets[kept]


def _target(w_star: Any) -> Array:
    target = _check.array(w_star, "w_star", ndim=1)
    if not target.any():
        raise InputError(
            "w_star must not be 0: no target would be positive, and the gate would keep no sample"
        )
    return target


def _probability(beta: Any) -> Array:
    value = _check.array(beta, "beta", ndim=(0, 1))
    if np.any((value < 0) | (value > 1)):
        raise InputError("beta is the probability of poison: it must lie between 0 and 1")
    return value
