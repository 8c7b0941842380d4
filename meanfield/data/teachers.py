"""Teacher-student data: labels by a network of a few known neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import standard_normal, unit_directions


def _relu(z: Array) -> Array:
    return np.maximum(z, 0.0)


def _sigmoid(z: Array) -> Array:
    small = np.exp(-np.abs(z))  # never overflows
    return np.asarray(np.where(z >= 0.0, 1.0, small) / (1.0 + small))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": _relu, "sigmoid": _sigmoid, "tanh": np.tanh}


def inputs(n: int, d: int, rng: Any = 0, kind: str = "gaussian") -> Array:
    """n points of R^d: ``"gaussian"`` N(0, I), or ``"sphere"``: uniform on the unit sphere.

    Parameters
    ----------
    n, d : int
    rng : int, SeedSequence or Generator
    kind : {"gaussian", "sphere"}

    Returns
    -------
    X : ndarray, (n, d)
    """
    n = _check.number(n, "n", positive=True, integer=True)
    d = _check.number(d, "d", positive=True, integer=True)
    _check.choice(kind, "inputs", ("gaussian", "sphere"))
    draw = generator(rng, "data")
    return standard_normal(n, d, draw) if kind == "gaussian" else unit_directions(n, d, draw)


def teacher(
    d: int,
    neurons: int = 3,
    rng: Any = 0,
    *,
    directions: Any = "random",
    outer: Any = "signs",
    norm: float = 1.0,
) -> ParticleMeasure:
    """A network of few neurons, ``f(x) = sum_j c_j sigma(norm <u_j, x>)`` with unit u_j, as a measure.

    Parameters
    ----------
    d : int
        Coordinates of x.
    neurons : int
        m0.
    rng : int, SeedSequence or Generator
    directions : {"random", "orthogonal"} or array_like, (neurons, d)
        Uniform on the sphere; a uniform orthonormal frame (neurons <= d); or planted rows, normalized here.
    outer : {"signs", "positive"} or array_like, (neurons,)
        c_j: independent fair signs, all 1, or given.
    norm : float
        Length of the inner weights.

    Returns
    -------
    ParticleMeasure
        A probability measure with theta_j = (a_j, w_j) = (neurons * c_j, norm * u_j), equal weights
        1/neurons: so that ``TwoLayer(sigma, d, bias=False).predict(measure, X)`` is the sum above, without a
        factor 1/neurons.
    """
    d = _check.number(d, "d", positive=True, integer=True)
    neurons = _check.number(neurons, "neurons", positive=True, integer=True)
    length = _check.number(norm, "norm", positive=True)
    draw = generator(rng, "teacher")
    if not isinstance(directions, str):
        u = _check.array(directions, "directions", shape=(neurons, d))
        sizes = np.linalg.norm(u, axis=1, keepdims=True)
        if not (sizes > 0.0).all():
            raise InputError("directions must be non-zero rows")
        u = u / sizes
    elif _check.choice(directions, "directions", ("random", "orthogonal")) == "random":
        u = unit_directions(neurons, d, draw)
    elif neurons > d:
        raise InputError(f"{neurons} orthogonal directions do not fit into R^{d}; take neurons <= d")
    else:
        q, r = np.linalg.qr(draw.standard_normal((d, neurons)))
        u = (q * np.sign(np.diag(r))).T  # the signs make the frame uniform (Haar)
    if not isinstance(outer, str):
        c = _check.array(outer, "outer", shape=(neurons,))
    elif _check.choice(outer, "outer", ("signs", "positive")) == "signs":
        c = draw.choice([-1.0, 1.0], neurons)
    else:
        c = np.ones(neurons)
    return ParticleMeasure.from_arrays(a=neurons * c, w=length * u)


@dataclass(frozen=True, eq=False)
class TeacherSampler:
    """Fresh teacher-student data: ``X, y = sampler(generator, size)``, y = f(X) + noise * N(0, 1).

    Parameters
    ----------
    teacher : ParticleMeasure
        Neurons (a, w), as `teacher` makes them; ``f(x) = sum_j p_j a_j sigma(<w_j, x>)``.
    activation : {"relu", "sigmoid", "tanh"} or callable
        sigma; a callable takes and returns arrays.
    inputs : {"gaussian", "sphere"}
    noise : float
        Standard deviation of the label noise.
    """

    teacher: ParticleMeasure
    activation: Any = "relu"
    inputs: str = "gaussian"
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.teacher, ParticleMeasure) or set(self.teacher.layout or ()) != {"a", "w"}:
            raise InputError(
                "teacher must be a ParticleMeasure of neurons (a, w), as mf.data.teacher makes it"
            )
        if not callable(self.activation):
            _check.choice(self.activation, "activation", _ACTIVATIONS)
        _check.choice(self.inputs, "inputs", ("gaussian", "sphere"))
        _check.number(self.noise, "noise", nonnegative=True)

    def __call__(self, rng: Any, size: int) -> tuple[Array, Array]:
        """`size` new examples: X (size, d) and y (size,)."""
        draw = generator(rng, "data")
        X = inputs(size, self.teacher.w.shape[1], draw, self.inputs)
        y = self.predict(X)
        if self.noise > 0.0:
            y = y + self.noise * draw.standard_normal(len(y))
        return X, y

    def predict(self, X: Any) -> Array:
        """f(X) without noise, (n,)."""
        points = _check.array(X, "X", shape=(None, self.teacher.w.shape[1]))
        sigma = self.activation if callable(self.activation) else _ACTIVATIONS[self.activation]
        # einsum rather than BLAS: fresh data have the same bits with any number of threads
        z = np.einsum("nd,jd->nj", points, self.teacher.w)
        return np.asarray(np.einsum("nj,j->n", sigma(z), self.teacher.coefficients * self.teacher.a))

    def describe(self) -> dict[str, Any]:
        """The settings, for provenance."""
        name = self.activation if isinstance(self.activation, str) else repr(self.activation)
        return {
            "data": "teacher",
            "activation": name,
            "inputs": self.inputs,
            "noise": self.noise,
            "neurons": self.teacher.width,
            "d": int(self.teacher.w.shape[1]),
        }


def relu_teacher(
    n: int,
    d: int,
    neurons: int = 3,
    rng: Any = 0,
    *,
    inputs: str = "gaussian",
    noise: float = 0.0,
    directions: Any = "random",
    outer: Any = "signs",
    norm: float = 1.0,
    teacher: ParticleMeasure | None = None,
    return_teacher: bool = False,
) -> Any:
    """``y = sum_j c_j relu(norm <u_j, x>) + noise * N(0, 1)``, |u_j| = 1, c_j = +-1.

    Parameters
    ----------
    n, d, neurons : int
        Examples, coordinates, neurons of the teacher.
    rng : int, SeedSequence or Generator
        An integer draws teacher and inputs from streams of their own.
    inputs : {"gaussian", "sphere"}
        N(0, I), or uniform on the unit sphere.
    noise : float
        Standard deviation of the label noise.
    directions, outer, norm
        Of `teacher`, which see.
    teacher : ParticleMeasure, optional
        Labels by this one (test data by the teacher of the training data); replaces the four before.
    return_teacher : bool

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)
    teacher : ParticleMeasure
        If `return_teacher`.
    """
    measure = _given_or_new(teacher, d, neurons, rng, directions, outer, norm)
    X, y = TeacherSampler(measure, "relu", inputs, noise)(rng, n)
    return (X, y, measure) if return_teacher else (X, y)


def sigmoid_teacher(
    n: int,
    d: int,
    neurons: int = 3,
    rng: Any = 0,
    *,
    inputs: str = "gaussian",
    noise: float = 0.0,
    directions: Any = "random",
    outer: Any = "signs",
    norm: float = 4.0,
    teacher: ParticleMeasure | None = None,
    return_teacher: bool = False,
) -> Any:
    """``y = sum_j c_j / (1 + exp(-norm <u_j, x>)) + noise * N(0, 1)``, |u_j| = 1, c_j = +-1.

    Parameters
    ----------
    n, d, neurons, rng, inputs, noise, directions, outer, teacher, return_teacher
        As of `relu_teacher`.
    norm : float
        Length of the inner weights: 4 by default, since sigmoids of shorter ones are nearly affine on normal inputs
        (a choice of this library).

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)
    teacher : ParticleMeasure
        If `return_teacher`.
    """
    measure = _given_or_new(teacher, d, neurons, rng, directions, outer, norm)
    X, y = TeacherSampler(measure, "sigmoid", inputs, noise)(rng, n)
    return (X, y, measure) if return_teacher else (X, y)


def _given_or_new(
    given: ParticleMeasure | None, d: int, neurons: int, rng: Any, directions: Any, outer: Any, norm: float
) -> ParticleMeasure:
    if given is None:
        return teacher(d, neurons, rng, directions=directions, outer=outer, norm=norm)
    if "w" in (given.layout or {}) and given.w.shape[1] != d:
        raise InputError(f"teacher has inner weights in R^{given.w.shape[1]}, but d = {d}")
    return given
