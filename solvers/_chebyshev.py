"""The recursion of a Runge-Kutta-Chebyshev step over its stages: coefficients, and one pass over memory a stage."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from solvers._jit import compiled
from solvers.protocols import Array

# Damping: inside the interval of stability the polynomial stays below 1 - DAMPING/3 in modulus.
DAMPING = 2 / 13


class Recursion(NamedTuple):
    """Coefficients of a step with s stages; entry j - 2 of the tuples belongs to stage j = 2 .. s.

    ``Y_1 = y + first h F_0``,
    ``Y_j = (1 - mu_j - nu_j) y + mu_j Y_(j-1) + nu_j Y_(j-2) + push_j h F_(j-1) + pull_j h F_0``;
    F_j is taken at t + node_j h, and node_s = 1.
    """

    first: float
    mu: tuple[float, ...]
    nu: tuple[float, ...]
    push: tuple[float, ...]
    pull: tuple[float, ...]
    node: tuple[float, ...]


@lru_cache(maxsize=256)
def recursion(stages: int) -> Recursion:
    """The second-order method with `stages` stages (at least 2): Sommeijer, Shampine and Verwer (1998), equation 2."""
    s = stages
    w0 = 1.0 + DAMPING / s**2
    # Chebyshev polynomials at w0 with two derivatives
    value, slope, curvature = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for j in range(2, s + 1):
        value.append(2 * w0 * value[j - 1] - value[j - 2])
        slope.append(2 * w0 * slope[j - 1] - slope[j - 2] + 2 * value[j - 1])
        curvature.append(2 * w0 * curvature[j - 1] - curvature[j - 2] + 4 * slope[j - 1])
    w1 = slope[s] / curvature[s]
    b = [0.0, 0.0] + [curvature[j] / slope[j] ** 2 for j in range(2, s + 1)]
    b[0] = b[1] = b[2]
    mu = [2 * b[j] * w0 / b[j - 1] for j in range(2, s + 1)]
    nu = [-b[j] / b[j - 2] for j in range(2, s + 1)]
    push = [2 * b[j] * w1 / b[j - 1] for j in range(2, s + 1)]
    pull = [-(1 - b[j - 1] * value[j - 1]) * push[j - 2] for j in range(2, s + 1)]
    node = [0.0, b[1] * w1]
    for j in range(2, s + 1):
        node.append(mu[j - 2] * node[j - 1] + nu[j - 2] * node[j - 2] + push[j - 2] + pull[j - 2])
    return Recursion(b[1] * w1, tuple(mu), tuple(nu), tuple(push), tuple(pull), (*node[:-1], 1.0))


def stages_for(radius: float) -> int:
    """The stages that make a step stable when h rho is `radius`: the interval is about 0.65 s^2 long."""
    return 1 + max(1, math.floor(math.sqrt(1.0 + 1.54 * radius)))


def longest_radius(stages: int) -> float:
    """The largest h rho for which `stages` stages suffice."""
    return 0.999 * (stages**2 - 1) / 1.54


@compiled(fastmath=False)
def next_stage(
    y: Array, before: Array, f: Array, f0: Array, mu: float, nu: float, push: float, pull: float, out: Array
) -> None:
    """`out` holds Y_(j-2) and receives Y_j; `push` and `pull` include h."""
    rest = 1.0 - mu - nu
    for i in range(y.size):
        out[i] = rest * y[i] + mu * before[i] + nu * out[i] + push * f[i] + pull * f0[i]
