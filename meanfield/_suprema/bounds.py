"""What a search for a supremum returns: the value, where it is, and what is certain about it."""

from __future__ import annotations

from dataclasses import dataclass

from solvers.protocols import Array

EPSILON = 2.0**-52


@dataclass(frozen=True, eq=False)
class Extremes:
    """Lowest and highest value of a function on a compact set, with bounds that hold whatever was found.

    Attributes
    ----------
    lowest, highest : float
        Values of the function at `argmin` and `argmax`: attained, hence the minimum is at most `lowest` and
        the maximum at least `highest`.
    argmin, argmax : ndarray, shape (D,)
        Where.
    exact : bool
        True if the search was exhaustive: then ``highest <= max <= upper_bound`` with a distance at rounding
        level. False for a heuristic, whose values bound the extremes from one side only.
    lower_bound, upper_bound : float
        Bounds on all values of the function; loose (Cauchy-Schwarz) if `exact` is False.
    how : str
        The method, in words.
    """

    lowest: float
    argmin: Array
    highest: float
    argmax: Array
    exact: bool
    lower_bound: float
    upper_bound: float
    how: str


@dataclass(frozen=True, eq=False)
class Minimum:
    """Lowest value found of a function, with what is certain about its minimum.

    Attributes
    ----------
    lowest : float
        The value at `argmin`.
    argmin : ndarray, shape (dim,)
    exact : bool
        True if ``lowest - lower_bound <= tolerance`` was proved.
    lower_bound : float
        The minimum is not below this (minus infinity for a heuristic).
    tolerance : float
        The distance asked for, or the rounding level of the function if that is larger.
    work : int
        Boxes (branch and bound) or points (multistart) at which the function was evaluated.
    how : str
        The method, in words.
    """

    lowest: float
    argmin: Array
    exact: bool
    lower_bound: float
    tolerance: float
    work: int
    how: str
