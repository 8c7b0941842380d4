"""Rosenbrock methods, linearly implicit Runge-Kutta for stiff flows with a known Jacobian; a tableau checks itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from solvers._method import AdaptiveMethod
from solvers._rosenbrock import LaggedStepper, RosenbrockStepper
from solvers._stepper import Stepper
from solvers.errors import InputError
from solvers.explicit import _density, rooted_trees
from solvers.protocols import Array

# What coefficients of size up to 7, rounded once each, leave of an order condition over six stages.
ROUNDING = 1e-14


class Transformed(NamedTuple):
    """Coefficients for the unknowns ``u_i = h sum_j gamma_ij k_j``, which need no product with J.

    ``(I - gamma h J) u_i = gamma (h v(t + node_i h, z + sum_j a_ij u_j) + sum_j c_ij u_j + slope_i h^2 d_t v)``,
    ``z_new = z + sum_i b_i u_i``, and ``error = sum_i difference_i u_i``.
    """

    a: Array
    c: Array
    b: Array
    difference: Array
    node: Array
    slope: Array


@dataclass(frozen=True)
class RosenbrockTableau:
    """``(I - gamma h J) k_i = v(t + c_i h, z + h sum_j a_ij k_j) + h J sum_j g_ij k_j + g_i h d_t v``.

    ``z_new = z + h sum_i b_i k_i``; J is the Jacobian at the start of the step, ``c_i = sum_j a_ij`` and
    ``g_i = gamma + sum_j g_ij``.

    Parameters
    ----------
    a, g : tuple of tuples
        Strictly lower triangles: row i holds i numbers.
    gamma : float
        The diagonal, positive.
    b : tuple
        Weights of the stages.
    order : int
        Order of the solution.
    embedded : tuple
        Weights of the second solution, whose distance estimates the error.
    embedded_order : int
    any_matrix : bool
        Whether the orders hold with any matrix in place of J (a W-method), and anything in place of d_t v.

    Raises
    ------
    InputError
        If `b` or `embedded` miss an order condition: for every rooted tree t of at most `order` vertices
        ``sum_i b_i Phi_i(t) = 1/density(t)``, where a vertex with one branch takes ``a + g`` (the diagonal included)
        and one with several takes ``a``. With `any_matrix`, every vertex with one branch takes ``a`` or ``g``, and
        the sum is 0 as soon as one takes ``g``.

    References
    ----------
    Hairer and Wanner, Solving Ordinary Differential Equations II, IV.7 (1996); Steihaug and Wolfbrandt, Math. Comp. 33
    (1979).
    """

    a: tuple[tuple[float, ...], ...]
    g: tuple[tuple[float, ...], ...]
    gamma: float
    b: tuple[float, ...]
    order: int
    embedded: tuple[float, ...]
    embedded_order: int
    any_matrix: bool = False

    def __post_init__(self) -> None:
        stages = len(self.b)
        if not self.gamma > 0:
            raise InputError(f"gamma must be positive, not {self.gamma}")
        for rows in (self.a, self.g):
            if len(rows) != stages or any(len(row) != i for i, row in enumerate(rows)):
                raise InputError(
                    "a Rosenbrock tableau needs, in a and in g, one row of i numbers for stage i"
                )
        if len(self.embedded) != stages:
            raise InputError("embedded must have as many weights as b")
        for name, order in (("b", self.order), ("embedded", self.embedded_order)):
            for tree, error in self.residuals(getattr(self, name), order):
                if abs(error) > ROUNDING:
                    raise InputError(
                        f"{name} misses a condition of order {order} (tree {tree}) by {error:.3g}"
                    )

    def residuals(self, weights: tuple[float, ...], order: int) -> Iterator[tuple[str, float]]:
        """The tree and the defect of every condition for `order`; a vertex that takes g is marked by a star."""
        a, g = self._square
        single = (a, g) if self.any_matrix else (a + g,)
        for vertices in range(1, order + 1):
            for tree in rooted_trees(vertices):
                for taken in itertools.product(range(len(single)), repeat=_single_branches(tree)):
                    text, values = _elementary(tree, a, single, iter(taken))
                    exact = 0.0 if any(taken) else 1.0 / _density(tree)
                    yield text, math.fsum(np.asarray(weights) * values) - exact

    @property
    def _square(self) -> tuple[Array, Array]:
        """a and g as full matrices, g with its diagonal."""
        stages = len(self.b)
        a, g = np.zeros((stages, stages)), self.gamma * np.eye(stages)
        for i in range(stages):
            a[i, :i], g[i, :i] = self.a[i], self.g[i]
        return a, g

    @cached_property
    def transformed(self) -> Transformed:
        """The form in which steps are taken."""
        a, g = self._square
        inverse = np.linalg.inv(g)
        b, embedded = np.array(self.b), np.array(self.embedded)
        return Transformed(
            a @ inverse,
            np.tril(-inverse, -1),
            b @ inverse,
            (b - embedded) @ inverse,
            np.round(a.sum(axis=1), 14),  # a node at 1 is to be the end of the step exactly
            np.round(g.sum(axis=1), 14),
        )

    @property
    def stiffly_accurate(self) -> bool:
        """Whether ``b_i = a_si + g_si``: infinitely stiff components are solved for exactly, and R(infinity) = 0."""
        a, g = self._square
        return bool(np.max(np.abs(a[-1] + g[-1] - self.b)) <= ROUNDING)

    def stability(self, w: complex | Array, embedded: bool = False) -> Any:
        """``R(w) = 1 + w b' (I - w beta)^-1 1``, beta = a + g: what a step does to ``z' = lambda z``, w = h lambda.

        Parameters
        ----------
        w : complex or ndarray
            Infinite values are allowed.
        embedded : bool
            Of the second solution.
        """
        a, g = self._square
        beta, ones = a + g, np.ones(len(self.b))
        b = np.array(self.embedded if embedded else self.b)

        def one(w: complex) -> complex:
            if np.isinf(w):
                return complex(1.0 - b @ np.linalg.solve(beta, ones))
            return complex(1.0 + w * (b @ np.linalg.solve(np.eye(len(b)) - w * beta, ones)))

        found = [one(complex(x)) for x in np.ravel(w)]
        return found[0] if np.ndim(w) == 0 else np.array(found).reshape(np.shape(w))


def _single_branches(tree: Any) -> int:
    return int(len(tree) == 1) + sum(_single_branches(sub) for sub in tree)


def _elementary(tree: Any, a: Array, single: tuple[Array, ...], taken: Iterator[int]) -> tuple[str, Array]:
    """A tree in words and its elementary weights, one a stage."""
    matrix, star = a, ""
    if len(tree) == 1:
        choice = next(taken)
        matrix, star = single[choice], "*" * choice
    values, words = np.ones(len(a)), []
    for sub in tree:
        text, inner = _elementary(sub, a, single, taken)
        values = values * (matrix @ inner)
        words.append(text)
    return f"[{' '.join(words)}]{star}", values


# From the published 16 digits of the transformed coefficients (Hairer and Wanner, code RODAS), moved by at most 3e-15
# onto the order conditions.
RODAS4_TABLEAU = RosenbrockTableau(
    a=(
        (),
        (0.386,),
        (0.1460747075254179, 0.0639252924745821),
        (-0.33081150366773016, 0.7111510251682848, 0.24966047849944545),
        (-4.5525571863180305, 1.710181363241332, 4.014347332103172, -0.17197150902647376),
        (2.428633765466987, -0.3827487337647845, -1.8557203309295787, 0.5598352992273761, 0.25),
    ),
    g=(
        (),
        (-0.3543,),
        (-0.13360250526817552, -0.012897494731824492),
        (1.5268491730064666, -0.5336562887504572, -1.2793928842560094),
        (6.981190951785018, -2.0929300970061164, -5.870067663032751, 0.7318068082538499),
        (
            -2.0801894941809334,
            0.5957623556766825,
            1.7016177982672591,
            -0.08851451983587982,
            -0.3786761399271284,
        ),
    ),
    gamma=0.25,
    b=(
        0.3484442712860537,
        0.21301362191189793,
        -0.15410253266231955,
        0.4713207793914963,
        -0.1286761399271284,
        0.25,
    ),
    order=4,
    embedded=(2.428633765466987, -0.3827487337647845, -1.8557203309295787, 0.5598352992273761, 0.25, 0.0),
    embedded_order=3,
)
RODAS3_TABLEAU = RosenbrockTableau(
    a=((), (0.0,), (1.0, 0.0), (3 / 4, -1 / 4, 1 / 2)),
    g=((), (1.0,), (-1 / 4, -1 / 4), (1 / 12, 1 / 12, -2 / 3)),
    gamma=1 / 2,
    b=(5 / 6, -1 / 6, -1 / 6, 1 / 2),
    order=3,
    embedded=(3 / 4, -1 / 4, 1 / 2, 0.0),
    embedded_order=2,
)
# gamma is the middle root of 6 x^3 - 18 x^2 + 9 x - 1. From the published digits, moved by at most 1e-16.
ROS34PW2 = RosenbrockTableau(
    a=((), (0.871733043016918,), (0.8445706001536942, -0.11299064236484185), (0.0, 0.0, 1.0)),
    g=(
        (),
        (-0.871733043016918,),
        (-0.9033805701304408, 0.054180672388095326),
        (0.2421238070609535, -1.2232505839045147, 0.5452602553351021),
    ),
    gamma=0.435866521508459,
    b=(0.2421238070609535, -1.2232505839045147, 1.5452602553351023, 0.435866521508459),
    order=3,
    embedded=(0.3781090314581937, -0.09604229221242318, 0.5, 0.2179332607542295),
    embedded_order=2,
    any_matrix=True,
)


@dataclass(frozen=True, repr=False)
class _Rosenbrock(AdaptiveMethod):
    tableau: ClassVar[RosenbrockTableau]
    stepper: ClassVar[type[RosenbrockStepper]] = RosenbrockStepper

    @property
    def order(self) -> int:
        return self.tableau.order

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run."""
        return self.stepper(flow, t, z, t_end, self.tableau, self.name, **self.control)


@dataclass(frozen=True, repr=False)
class RODAS4(_Rosenbrock):
    r"""Rosenbrock pair of orders 4 and 3: six velocities, one Jacobian and one factorization a step.

    Stage i solves ``(I - h/4 J) u_i = h/4 v(...) + ...`` with the exact Jacobian J of the step's start. For flows of
    particles J is a matrix of rank at most r, the number of predictions, plus one block a particle: systems are solved
    through the r predictions (Woodbury), at the cost of ``r^2 N + r^3`` operations a step, N the number of coordinates.
    Where that is more than the full matrix costs, or the flow knows no such form and N is at most 1000, J is a full
    matrix, from products or central differences. L-stable and stiffly accurate: the method of choice for stiff flows
    at accuracies of 1e-3 and better. Where a stiff component is forced from outside, the order falls towards 1, with an
    error divided by the stiffness.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step, measured as by `DormandPrince`.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    Raises
    ------
    InputError
        When a run starts, if the Jacobian cannot be had: a flow of more than 1000 coordinates without ``linearize``
        and ``rank``, or one whose velocity jumps without ``linearize``.

    Notes
    -----
    Where the velocity depends on time (a flow says it does not by ``time_dependent = False``), its derivative d_t v
    comes from one more velocity a step, 1e-6 of the step ahead.

    References
    ----------
    Hairer and Wanner, Solving Ordinary Differential Equations II, IV.7 (1996).
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    tableau: ClassVar[RosenbrockTableau] = RODAS4_TABLEAU


@dataclass(frozen=True, repr=False)
class RODAS3(_Rosenbrock):
    """Rosenbrock pair of orders 3 and 2: three velocities, one Jacobian and one factorization a step.

    Systems are solved as by `RODAS4`, which is cheaper from accuracies of about 1e-4 on. L-stable, stiffly accurate. It
    has been seen to step over a pole (z' = z^2) where the others stop.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step, measured as by `DormandPrince`.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    Raises
    ------
    InputError
        As for `RODAS4`.

    References
    ----------
    Sandu, Verwer, Blom, Spee, Carmichael and Potra, Benchmarking stiff ODE solvers for atmospheric chemistry problems
    II: Rosenbrock solvers, Atmospheric Environment 31 (1997).
    """

    rtol: float = 1e-4
    atol: float = 1e-7
    tableau: ClassVar[RosenbrockTableau] = RODAS3_TABLEAU


@dataclass(frozen=True, repr=False)
class RosenbrockW(_Rosenbrock):
    r"""Rosenbrock-W pair of orders 3 and 2: four velocities a step, and the stiff modes of J, kept for ten steps.

    The orders of ROS34PW2 hold with any matrix in place of the Jacobian. Here it is ``A = -lam I - sum_i w_i u_i u_i'``
    with the modes that matter to the step (``gamma h w_i > 0.02``, some 30 of them in training), orthonormal in the
    weights that make J symmetric. They serve ten steps of any size, and are renewed before that after a rejection or
    when the step outgrows them. They come from the Gram matrix of the flow's low-rank form, at ``r^2 N`` operations for
    r predictions, or beyond 400 predictions from at most 60 products with J (Lanczos). Otherwise a step costs little
    more than its velocities. For gradient flows whose metric does not depend on the state: J must be symmetric in some
    weights, and what it has beside its low-rank part and a multiple of the identity must not be stiff.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step, measured as by `DormandPrince`.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    Raises
    ------
    InputError
        When a run starts, if the flow has no ``linearize``, or one without ``weight``.

    References
    ----------
    J. Rang, L. Angermann, New Rosenbrock W-methods of order 3 for partial differential algebraic equations of index 1,
    BIT 45 (2005).
    """

    rtol: float = 1e-4
    atol: float = 1e-7
    tableau: ClassVar[RosenbrockTableau] = ROS34PW2
    stepper: ClassVar[type[RosenbrockStepper]] = LaggedStepper
