"""Explicit Runge-Kutta methods: a tableau is data that checks itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np

from solvers import _check
from solvers._adaptive import EmbeddedStepper
from solvers._method import AdaptiveMethod
from solvers._stepper import RungeKuttaStepper, Stepper
from solvers.errors import InputError
from solvers.protocols import Array


@cache
def rooted_trees(order: int) -> tuple[Any, ...]:
    """All rooted trees with `order` vertices, each the sorted tuple of its subtrees."""
    if order == 1:
        return ((),)

    def forests(vertices: int, largest: tuple[int, int]) -> Iterator[tuple[Any, ...]]:
        if vertices == 0:
            yield ()
            return
        for size in range(min(vertices, largest[0]), 0, -1):
            trees = rooted_trees(size)
            last = largest[1] if size == largest[0] else len(trees) - 1
            for i in range(last, -1, -1):
                for rest in forests(vertices - size, (size, i)):
                    yield (trees[i], *rest)

    return tuple(forests(order - 1, (order - 1, len(rooted_trees(order - 1)) - 1)))


def _vertices(tree: Any) -> int:
    return 1 + sum(_vertices(sub) for sub in tree)


def _density(tree: Any) -> int:
    return _vertices(tree) * math.prod(_density(sub) for sub in tree)


@dataclass(frozen=True)
class ButcherTableau:
    """``k_i = v(t + c_i h, z + h sum_j a_ij k_j)``, ``z_new = z + h sum_i b_i k_i``.

    Parameters
    ----------
    a : tuple of tuples
        Strictly lower triangle: row i holds i numbers.
    b, c : tuple
        Weights and nodes of the stages.
    order : int
        Order of the solution.
    embedded : tuple, optional
        Weights of the second solution, whose distance estimates the error.
    embedded_order : int

    Raises
    ------
    InputError
        If the rows of `a` do not sum to `c`, or if `b` or `embedded` miss an order condition: for every rooted tree
        t of at most `order` vertices, ``sum_i b_i Phi_i(t) = 1/gamma(t)`` (Butcher 1963; Hairer, Norsett and Wanner
        II.2).
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int
    embedded: tuple[float, ...] | None = None
    embedded_order: int = 0

    def __post_init__(self) -> None:
        stages = len(self.b)
        if (
            len(self.a) != stages
            or len(self.c) != stages
            or any(len(row) != i for i, row in enumerate(self.a))
        ):
            raise InputError("a tableau needs one row of i numbers for stage i, and as many nodes as weights")
        for i, row in enumerate(self.a):
            if abs(math.fsum(row) - self.c[i]) > 1e-14:
                raise InputError(
                    f"row {i} of the tableau sums to {math.fsum(row)!r}, not to its node {self.c[i]!r}"
                )
        self._check_order(self.b, self.order, "b")
        if self.embedded is not None:
            if len(self.embedded) != stages:
                raise InputError("embedded must have as many weights as b")
            self._check_order(self.embedded, self.embedded_order, "embedded")

    @cached_property
    def first_same_as_last(self) -> bool:
        """Whether the last stage is the first of the next step."""
        return len(self.b) > 1 and self.c[-1] == 1.0 and self.b[-1] == 0.0 and self.a[-1] == self.b[:-1]

    def _check_order(self, weights: tuple[float, ...], order: int, name: str) -> None:
        for vertices in range(1, order + 1):
            for tree in rooted_trees(vertices):
                error = self.residual(weights, tree)
                # coefficients are rounded once each: a few ulp over seven stages
                if abs(error) > 1e-14:
                    raise InputError(
                        f"{name} misses an order-{vertices} condition (tree {tree}) by {error:.3g}"
                    )

    def residual(self, weights: tuple[float, ...], tree: Any) -> float:
        """``sum_i weights_i Phi_i(tree) - 1/gamma(tree)``."""

        def elementary(t: Any) -> list[float]:
            product = [1.0] * len(self.b)
            for sub in t:
                inner = elementary(sub)
                for i, row in enumerate(self.a):
                    product[i] *= math.fsum(x * y for x, y in zip(row, inner, strict=False))
            return product

        return math.fsum(w * p for w, p in zip(weights, elementary(tree), strict=True)) - 1.0 / _density(tree)


EULER = ButcherTableau(a=((),), b=(1.0,), c=(0.0,), order=1)
HEUN = ButcherTableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0), order=2)
CLASSICAL = ButcherTableau(
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    order=4,
)
BOGACKI_SHAMPINE = ButcherTableau(
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    order=3,
    embedded=(7 / 24, 1 / 4, 1 / 3, 1 / 8),
    embedded_order=2,
)
DORMAND_PRINCE = ButcherTableau(
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    order=5,
    embedded=(5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
    embedded_order=4,
)


def runs_compiled(flow: Any, tableau: ButcherTableau) -> bool:
    """Whether a bound flow has a program, and compiled runs know a tableau of this kind."""
    if getattr(flow, "program", None) is None:
        return False
    return tableau.embedded is None or tableau.first_same_as_last


def compiled(*arguments: Any, **control: Any) -> Stepper:
    """A `CompiledStepper`; numba is loaded for those who need it."""
    from solvers._compiled import CompiledStepper

    return CompiledStepper(*arguments, **control)


@dataclass(frozen=True)
class _FixedStep:
    step: float
    tableau: ClassVar[ButcherTableau]

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", _check.number(self.step, "step", positive=True))

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def order(self) -> int:
        return self.tableau.order

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run."""
        if runs_compiled(flow, self.tableau):
            return compiled(flow, t, z, t_end, self.tableau, step=self.step)
        return RungeKuttaStepper(flow, t, z, t_end, self.step, self.tableau)


@dataclass(frozen=True)
class Euler(_FixedStep):
    """``z <- z + h v(t, z)``, order 1: gradient descent, where the flow is a gradient flow.

    Parameters
    ----------
    step : float or array_like, (k,)
        Step size h, positive, in the flow's unit of time: ``round(T/h)`` steps where that is whole to 1e-9
        relative, else one short step at the end. Or the sizes of the steps one after another, which must reach the
        end of the run: ``t_end=step.sum()`` takes all of them. A flow that offers ``advance`` (``advance_by`` for
        several sizes) runs whole chunks of steps itself.
    """

    step: Any
    tableau: ClassVar[ButcherTableau] = EULER

    def __post_init__(self) -> None:
        if np.ndim(self.step) == 0:
            super().__post_init__()
            return
        sizes = _check.array(self.step, "step", ndim=1).copy()
        if not (sizes > 0.0).all():
            raise InputError(f"step must hold positive sizes, but it holds {sizes.min():g}")
        sizes.setflags(write=False)
        object.__setattr__(self, "step", sizes)

    def __repr__(self) -> str:
        if np.ndim(self.step) == 0:
            return f"Euler(step={self.step!r})"
        digest = hashlib.sha256(self.step.tobytes()).hexdigest()[:8]
        few = f"{self.step.size} sizes from {self.step[0]:g} to {self.step[-1]:g}"
        return f"Euler(step=<{few}, digest {digest}>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Euler) and np.array_equal(self.step, other.step)

    def __hash__(self) -> int:
        return hash((Euler, np.asarray(self.step).tobytes()))

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run."""
        if np.ndim(self.step) == 0:
            return super().start(flow, t, z, t_end)
        return RungeKuttaStepper(flow, t, z, t_end, self.step, self.tableau)


@dataclass(frozen=True)
class Heun(_FixedStep):
    """``z <- z + h/2 (v(t, z) + v(t + h, z + h v(t, z)))``, order 2 (Heun 1900).

    Parameters
    ----------
    step : float
        Step size, positive.
    """

    tableau: ClassVar[ButcherTableau] = HEUN


@dataclass(frozen=True)
class RK4(_FixedStep):
    """The classical method of order 4 (Kutta 1901): four velocities a step.

    Parameters
    ----------
    step : float
        Step size, positive.
    """

    tableau: ClassVar[ButcherTableau] = CLASSICAL


@dataclass(frozen=True)
class RungeKutta(_FixedStep):
    """Any explicit Runge-Kutta method at a fixed step.

    Parameters
    ----------
    step : float
        Step size, positive.
    table : ButcherTableau
        Its coefficients.
    """

    table: ButcherTableau = CLASSICAL

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.table, ButcherTableau):
            raise InputError(f"table must be a ButcherTableau, not {type(self.table).__name__}")

    @property
    def tableau(self) -> ButcherTableau:  # type: ignore[override]
        return self.table


@dataclass(frozen=True, repr=False)
class _Adaptive(AdaptiveMethod):
    tableau: ClassVar[ButcherTableau]

    @property
    def order(self) -> int:
        return self.tableau.order

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run."""
        if runs_compiled(flow, self.tableau):
            return compiled(flow, t, z, t_end, self.tableau, **self.control)
        return EmbeddedStepper(flow, t, z, t_end, self.tableau, **self.control)


@dataclass(frozen=True, repr=False)
class BogackiShampine(_Adaptive):
    """Adaptive Runge-Kutta pair of orders 3 and 2, three velocities a step.

    The error of a step, scaled by ``atol + rtol max(|z_old|, |z_new|)`` in root mean square (or by the flow's own
    ``error_norm``), is kept below 1.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    References
    ----------
    P. Bogacki, L. F. Shampine, A 3(2) pair of Runge-Kutta formulas, Appl. Math. Lett. 2 (1989).
    """

    rtol: float = 1e-4
    atol: float = 1e-7
    tableau: ClassVar[ButcherTableau] = BOGACKI_SHAMPINE


@dataclass(frozen=True, repr=False)
class DormandPrince(_Adaptive):
    """Adaptive Runge-Kutta pair of orders 5 and 4, six velocities a step.

    The error of a step, scaled by ``atol + rtol max(|z_old|, |z_new|)`` in root mean square (or by the flow's own
    ``error_norm``), is kept below 1.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    References
    ----------
    J. R. Dormand, P. J. Prince, A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math. 6 (1980).
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    tableau: ClassVar[ButcherTableau] = DORMAND_PRINCE
