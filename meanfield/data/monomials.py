"""Targets on the hypercube that depend on few coordinates: sums of monomials, and how they build on each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers import _check
from solvers._memory import fits, machine_bytes
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
        sets = _checked_sets(self.sets, "sets")
        if self.coefficients is None:
            c = np.ones(len(sets))
        elif isinstance(self.sets, (set, frozenset)):
            raise InputError("sets is a Python set, whose order coefficients cannot follow; pass a list")
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
        return np.stack([_product(points, S) for S in self.sets], axis=1)

    def value(self, X: Any) -> Array:
        """h at the rows of X (n, d), shape (n,)."""
        return self._sum(self._points(X))

    def cube(self) -> tuple[Array, Array]:
        """All 2^P points of the relevant coordinates, in the order of `coordinates`, and h there: (2^P, P), (2^P,).

        An `Objective` on them is the population risk of networks that see these coordinates only, without sampling
        error; the dimension-free limit of networks in high dimension lives on them too.
        """
        P = len(self.coordinates)
        if not 1 <= P <= MOST_LISTED:
            instead = "draw samples with mf.data.hypercube" if P else "a constant has no cube: add a set"
            raise InputError(
                f"cube lists all points of 1 to {MOST_LISTED} relevant coordinates, but the target has {P}; {instead}"
            )
        bits = (np.arange(2**P, dtype=np.uint32)[:, None] >> np.arange(P - 1, -1, -1, dtype=np.uint32)) & 1
        Z = np.where(bits == 1, -1.0, 1.0)
        place = {i: j for j, i in enumerate(self.coordinates)}
        relabelled = Monomials(tuple(tuple(place[i] for i in S) for S in self.sets), self.coefficients.copy())
        return Z, relabelled._sum(Z)

    def _sum(self, points: Array) -> Array:
        """h at points that need no check."""
        total = np.zeros(points.shape[0])
        for c, S in zip(self.coefficients, self.sets, strict=True):
            total += c * _product(points, S)
        return total

    def _points(self, X: Any) -> Array:
        points = _check.array(X, "X", ndim=2)
        if points.shape[1] < self.dim:
            raise InputError(
                f"X must have at least {self.dim} columns, not {points.shape[1]}: {_last_coordinate(self)}"
            )
        for i in self.coordinates:
            off = np.abs(points[:, i]) != 1.0
            if off.any():
                k = int(np.argmax(off))
                raise InputError(
                    f"X must hold -1 and 1 only, but X[{k}, {i}] is {points[k, i]:g}; of bits pass 1 - 2 * X"
                )
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

    Two-layer networks in the mean-field scaling learn targets of leap 1 by SGD from O(d) samples, for almost all
    coefficients, and need more the larger the leap (as remembered from the papers below, not re-read). Coefficients can
    hide a step: with ``x_0 + x_1 + x_0 x_2 - x_1 x_2``, of leap 1, the flow in infinite dimension stays at the saddle
    x_0 + x_1, by symmetry (measured for this project), and with another coefficient of x_1 it does not.

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
    sets = _target(target).sets
    holders: dict[int, list[int]] = {}
    for k, S in enumerate(sets):
        for i in S:
            holders.setdefault(i, []).append(k)
    missing = [len(S) for S in sets]  # coordinates that no set before has
    left = dict.fromkeys(range(len(sets)))
    order, new = [], []
    while left:
        k = min(left, key=missing.__getitem__)
        del left[k]
        order.append(sets[k])
        new.append(missing[k])
        for i in sets[k]:
            for other in holders.pop(i, ()):
                missing[other] -= 1
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
    _require_memory(4.0 * P * P, f"steps = {P}", "fewer")  # P^2/2 coordinates of 8 bytes
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
        object.__setattr__(self, "noise", _check.number(self.noise, "noise", nonnegative=True))
        object.__setattr__(self, "d", _check.number(self.d, "d", positive=True, integer=True))
        if self.d < self.target.dim:
            raise InputError(
                f"d must be at least {self.target.dim}, not {self.d}: {_last_coordinate(self.target)}"
            )

    def __call__(self, rng: Any, size: int) -> tuple[Array, Array]:
        """`size` new examples: X (size, d) and y (size,)."""
        draw = generator(rng, "data")
        size = _check.number(size, "size", positive=True, integer=True)
        # ten bytes an entry: X and what it is made of
        _require_memory(10.0 * size * self.d, f"{size} examples of {self.d} coordinates", "fewer at a time")
        X = np.where(draw.integers(0, 2, size=(size, self.d), dtype=np.int8) == 1, -1.0, 1.0)
        y = self.target._sum(X)
        if self.noise > 0.0:
            y += self.noise * draw.standard_normal(size)
        return X, y

    def describe(self) -> dict[str, Any]:
        """The settings, for provenance."""
        return {"data": "hypercube", "d": self.d, "target": _formula(self.target), "noise": self.noise}


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
    return HypercubeSampler(_target(target, coefficients), d, noise)(rng, n)


def _target(target: Any, coefficients: Any = None) -> Monomials:
    """What a function that calls it `target` was given."""
    if isinstance(target, Monomials):
        return target
    ordered = target if isinstance(target, (set, frozenset)) else _checked_sets(target, "target")
    return Monomials(ordered, coefficients)


def _checked_sets(given: Any, name: str) -> tuple[Set, ...]:
    """Sets of coordinates as sorted tuples, or one sentence that calls them `name`."""
    if isinstance(given, Mapping):
        raise InputError(f"{name} must be a list of sets, not a dict; pass its values as coefficients")
    if not _listed(given):
        raise InputError(
            f"{name} must be a list of sets of coordinates such as [(0,), (0, 1)], not {given!r}"
        )
    places: dict[Set, int] = {}
    for k, entry in enumerate(given):
        if not _listed(entry):
            raise InputError(
                f"{name}[{k}] must be a set of coordinates such as (0,) or (0, 1), not {entry!r}"
            )
        S = tuple(sorted(_coordinate(i, f"a coordinate in {name}[{k}]") for i in entry))
        twice = [i for i, j in zip(S, S[1:], strict=False) if i == j]
        if twice:
            raise InputError(
                f"{name}[{k}] = {S} repeats coordinate {twice[0]}; x_{twice[0]}^2 = 1 on the hypercube: leave both out"
            )
        if S in places:
            raise InputError(
                f"{name}[{k}] = {S} is there already, as {name}[{places[S]}]; add their coefficients"
            )
        places[S] = k
    if not places:
        raise InputError(f"{name} is empty; give at least one set of coordinates, such as [(0,)]")
    return tuple(places)


def _listed(x: Any) -> bool:
    """Whether x can be gone through, text aside; an array without axes cannot."""
    return isinstance(x, Iterable) and not isinstance(x, (str, bytes)) and getattr(x, "ndim", 1) > 0


def _coordinate(i: Any, name: str) -> int:
    if type(i) is int and i >= 0:  # long staircases hold millions
        return i
    return int(_check.number(i, name, nonnegative=True, integer=True))


def _product(points: Array, S: Set) -> Array:
    """prod_(i in S) x_i at points (n, d)."""
    column = np.ones(points.shape[0])
    for i in S:
        column *= points[:, i]
    return column


def _last_coordinate(target: Monomials) -> str:
    return f"the target uses coordinate {target.dim - 1} (counted from 0)"


def _require_memory(needed: float, what: str, instead: str) -> None:
    if not fits(needed):
        raise InputError(
            f"{what} would take {needed / 2**30:,.1f} GiB, and this machine has {machine_bytes() / 2**30:,.1f}; "
            f"take {instead}"
        )


def _formula(target: Monomials) -> str:
    """x_0 + 2 x_0 x_1, as text; numbers to their last digit, since runs are told apart by it."""
    terms = []
    for S, c in zip(target.sets, target.coefficients, strict=True):
        name = " ".join(f"x_{i}" for i in S)
        number = repr(float(c)).removesuffix(".0")
        terms.append(number if not S else name if c == 1.0 else f"{number} {name}")
    return " + ".join(terms).replace("+ -", "- ")
