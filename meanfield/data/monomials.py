"""Targets on the hypercube that depend on few coordinates: sums of monomials, and how they build on each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array

Set = tuple[int, ...]
# Relevant coordinates up to which all points of their cube are listed: a million of them.
MOST_LISTED = 20


@dataclass(frozen=True, eq=False, repr=False)
class Monomials:
    """``h(x) = sum_k c_k prod_(i in S_k) x_i``, a function of few coordinates of x in {-1, 1}^d.

    Monomials are orthonormal under the uniform law: ``E h^2 = sum_k c_k^2``, and c_k is the Fourier (Walsh)
    coefficient ``E h(x) prod_(i in S_k) x_i``.

    Parameters
    ----------
    sets : sequence of sequences of int
        S_k, coordinates counted from 0: ``[(0,), (0, 1)]`` is x_0 + x_0 x_1. The empty set () is the constant 1.
    coefficients : array_like, (len(sets),), optional
        c_k, none of them 0; 1 by default.

    Attributes
    ----------
    sets : tuple of tuples
        The same, each with its coordinates rising.
    coordinates : tuple of int
        Those that h depends on, P of them, rising.

    Raises
    ------
    InputError
    """

    sets: Any
    coefficients: Any = None
    coordinates: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        sets = _checked_sets(self.sets)
        if self.coefficients is None:
            c = np.ones(len(sets))
        else:
            c = np.array(_check.array(self.coefficients, "coefficients", ndim=1))
            if c.shape != (len(sets),):
                raise InputError(
                    f"coefficients must be one number for each of the {len(sets)} monomials, not {c.shape[0]}"
                )
            if (c == 0.0).any():
                k = int(np.argmin(np.abs(c)))
                raise InputError(
                    f"coefficients[{k}] is 0, so {sets[k]} is not in the target; leave that set out"
                )
        c.flags.writeable = False
        object.__setattr__(self, "sets", sets)
        object.__setattr__(self, "coefficients", c)
        object.__setattr__(self, "coordinates", tuple(sorted(set().union(*sets))))

    @property
    def dim(self) -> int:
        """The least d of a hypercube that has all coordinates."""
        return max(self.coordinates, default=-1) + 1

    @property
    def variance(self) -> float:
        """``E h^2 - (E h)^2`` under the uniform law."""
        return float(sum(c * c for S, c in zip(self.sets, self.coefficients, strict=True) if S))

    def features(self, X: Any) -> Array:
        """The monomials at the rows of X (n, d), shape (n, len(sets)); ``f^(S_k)`` is the mean of f times column k."""
        points = self._points(X)
        columns = np.ones((points.shape[0], len(self.sets)))
        for k, S in enumerate(self.sets):
            for i in S:
                columns[:, k] *= points[:, i]
        return columns

    def value(self, X: Any) -> Array:
        """h at the rows of X (n, d), shape (n,)."""
        columns = self.features(X)
        total = np.zeros(columns.shape[0])
        for c, column in zip(self.coefficients, columns.T, strict=True):
            total += c * column
        return total

    def cube(self) -> tuple[Array, Array]:
        """All 2^P points of the relevant coordinates, in the order of `coordinates`, and h there: (2^P, P), (2^P,).

        An `Objective` on them is the population risk of networks that see these coordinates only, without sampling
        error; the dimension-free limit of networks in high dimension lives on them too.
        """
        P = len(self.coordinates)
        if not 1 <= P <= MOST_LISTED:
            raise InputError(
                f"cube lists all points of 1 to {MOST_LISTED} relevant coordinates, but the target has {P}"
            )
        bits = (np.arange(2**P)[:, None] >> np.arange(P - 1, -1, -1)) & 1
        Z = np.where(bits == 1, -1.0, 1.0)
        place = {i: j for j, i in enumerate(self.coordinates)}
        relabelled = Monomials(tuple(tuple(place[i] for i in S) for S in self.sets), self.coefficients.copy())
        return Z, relabelled.value(Z)

    def _points(self, X: Any) -> Array:
        points = _check.array(X, "X", ndim=2)
        if points.shape[1] < self.dim:
            raise InputError(_too_small("the columns of X", points.shape[1], self))
        return points

    def __repr__(self) -> str:
        return f"Monomials({_formula(self)})"


@dataclass(frozen=True, repr=False)
class Merged:
    """Whether monomials form a merged staircase, and how far it is from step to step; true where they do.

    Attributes
    ----------
    leap : int
        The least, over orders of the sets, of the largest number of new coordinates that a set brings.
    holds : bool
        leap <= 1: in some order each monomial brings at most one coordinate that none before it has.
    order : tuple of tuples
        Such an order.
    new : tuple of int
        How many coordinates each set in it brings.
    """

    leap: int
    order: tuple[Set, ...]
    new: tuple[int, ...]

    @property
    def holds(self) -> bool:
        return self.leap <= 1

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        steps = ", ".join(f"{S} +{k}" for S, k in zip(self.order, self.new, strict=True))
        return f"Merged({'a merged staircase' if self.holds else 'no merged staircase'}, leap {self.leap}: {steps})"


def merged(target: Any) -> Merged:
    """Whether a target is a merged staircase, and its leap: ``min over orders of max_k |S_k - (S_1 u ... u S_(k-1))|``.

    Two-layer networks in the mean-field scaling learn targets of leap 1 by SGD from O(d) samples, and need more the
    larger the leap (as remembered from the papers below, not re-read).

    Parameters
    ----------
    target : Monomials or sequence of sequences of int

    Returns
    -------
    Merged

    Notes
    -----
    Taking next whichever set brings fewest is exact: if it has to take k at once, the first set of any other order that
    is not taken yet brings k at least.

    References
    ----------
    Abbe, Boix-Adsera, Misiakiewicz, 2022, arXiv 2202.08658 (merged staircase) and 2023, arXiv 2302.11055 (leap).
    """
    left = list(_target(target).sets)
    covered: set[int] = set()
    order, new = [], []
    while left:
        S = min(left, key=lambda one: len(set(one) - covered))
        left.remove(S)
        order.append(S)
        new.append(len(set(S) - covered))
        covered |= set(S)
    return Merged(max(new), tuple(order), tuple(new))


def staircase(steps: int) -> Monomials:
    """``x_0 + x_0 x_1 + ... + x_0 x_1 ... x_(P-1)``, P = `steps`: the staircase, of leap 1.

    Parameters
    ----------
    steps : int
        P.

    Returns
    -------
    Monomials
    """
    P = _check.number(steps, "steps", positive=True, integer=True)
    return Monomials(tuple(tuple(range(k + 1)) for k in range(P)))


@dataclass(frozen=True, eq=False)
class HypercubeSampler:
    """Fresh data: ``X, y = sampler(generator, size)``, x uniform on {-1, 1}^d, y = h(x) + noise * N(0, 1).

    Parameters
    ----------
    target : Monomials or sequence of sequences of int
        h; sets alone have coefficients 1.
    d : int
    noise : float
        Standard deviation of the label noise.
    """

    target: Any
    d: int
    noise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _target(self.target))
        _check.number(self.noise, "noise", nonnegative=True)
        if _check.number(self.d, "d", positive=True, integer=True) < self.target.dim:
            raise InputError(_too_small("d", self.d, self.target))

    def __call__(self, rng: Any, size: int) -> tuple[Array, Array]:
        """`size` new examples: X (size, d) and y (size,)."""
        draw = generator(rng, "data")
        size = _check.number(size, "size", positive=True, integer=True)
        X = np.where(draw.integers(0, 2, size=(size, int(self.d)), dtype=np.int8) == 1, -1.0, 1.0)
        y = self.target.value(X)
        if self.noise > 0.0:
            y += self.noise * draw.standard_normal(size)
        return X, y

    def describe(self) -> dict[str, Any]:
        """The settings, for provenance."""
        return {"data": "hypercube", "d": int(self.d), "target": _formula(self.target), "noise": self.noise}


def hypercube(
    n: int, d: int, target: Any, coefficients: Any = None, noise: float = 0.0, rng: Any = 0
) -> tuple[Array, Array]:
    """``y = sum_k c_k prod_(i in S_k) x_i + noise * N(0, 1)``, x uniform on {-1, 1}^d.

    Parameters
    ----------
    n, d : int
    target : Monomials or sequence of sequences of int
        The sets S_k, coordinates counted from 0, such as ``[(0,), (0, 1), (0, 1, 2)]``; or a target made before.
    coefficients : array_like, (len(target),), optional
        c_k, with sets; 1 by default.
    noise : float
        Standard deviation of the label noise.
    rng : int, SeedSequence or Generator

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)
        `HypercubeSampler` gives fresh ones.

    References
    ----------
    Abbe, Boix-Adsera, Misiakiewicz, 2022, arXiv 2202.08658.
    """
    n = _check.number(n, "n", positive=True, integer=True)
    if isinstance(target, Monomials) and coefficients is not None:
        raise InputError("coefficients go with sets; this target has its own")
    h = target if isinstance(target, Monomials) else Monomials(target, coefficients)
    return HypercubeSampler(h, d, noise)(rng, n)


def _target(target: Any) -> Monomials:
    return target if isinstance(target, Monomials) else Monomials(target)


def _checked_sets(target: Any) -> tuple[Set, ...]:
    """Sets of coordinates as sorted tuples, or one sentence."""
    if isinstance(target, (str, bytes)) or not isinstance(target, Iterable):
        raise InputError(
            f"target must be a list of sets of coordinates such as [(0,), (0, 1)], not {target!r}"
        )
    sets: list[Set] = []
    for k, entry in enumerate(target):
        if isinstance(entry, (str, bytes)) or not isinstance(entry, Iterable):
            raise InputError(
                f"target[{k}] must be a set of coordinates such as (0,) or (0, 1), not {entry!r}"
            )
        S = tuple(
            sorted(
                _check.number(i, f"a coordinate in target[{k}]", nonnegative=True, integer=True)
                for i in entry
            )
        )
        twice = [i for i, j in zip(S, S[1:], strict=False) if i == j]
        if twice:
            raise InputError(
                f"target[{k}] = {S} repeats coordinate {twice[0]}; x_{twice[0]}^2 = 1 on the hypercube: leave both out"
            )
        if S in sets:
            raise InputError(
                f"target[{k}] = {S} is there already, as target[{sets.index(S)}]; add their coefficients"
            )
        sets.append(S)
    if not sets:
        raise InputError("target is empty; name at least one set of coordinates, such as [(0,)]")
    return tuple(sets)


def _too_small(what: str, d: int, target: Monomials) -> str:
    last = target.dim - 1
    return (
        f"{what} must be at least {target.dim}, not {d}: the target uses coordinate {last} (counted from 0)"
    )


def _formula(target: Monomials) -> str:
    """x_0 + 2 x_0 x_1, as text."""
    terms = []
    for S, c in zip(target.sets, target.coefficients, strict=True):
        name = " ".join(f"x_{i}" for i in S)
        terms.append(f"{c:g}" if not S else name if c == 1.0 else f"{c:g} {name}")
    return " + ".join(terms).replace("+ -", "- ")
