"""What users say of the Jacobians of their flows, checked once before a run trusts it."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers._stepper import StepFailure, finite
from solvers.errors import PluginError
from solvers.protocols import Array, LowRank


def check_product(flow: Any, linear: Any, z: Array) -> None:
    """Refuse what ``linearize`` returned unless ``product(v, out)`` fills `out`.

    Parameters
    ----------
    flow : flow
        Whose ``linearize`` it was; named in messages.
    linear : Linearization
    z : ndarray, (N,)
        The state where it was asked for.
    """
    maker = f"{type(flow).__name__}.linearize(t, z)"
    if not callable(getattr(linear, "product", None)):
        raise PluginError(f"{maker} must return an object with a method product(v, out), not {_kind(linear)}")
    out = np.full(z.shape, np.nan)
    try:
        filled = linear.product(np.zeros(z.shape), out)
    except (ValueError, TypeError, IndexError) as problem:
        raise PluginError(
            f"the product(v, out) of {maker} failed for v and out of shape {z.shape}: {problem}"
        ) from problem
    if filled is not out and np.isnan(out).all():
        raise PluginError(f"the product(v, out) of {maker} must fill and return the array `out` it was given")


def check_weight(flow: Any, linear: Any, t: float, z: Array) -> None:
    """Refuse a ``weight`` that is no inner product, or leaves out coordinates that move.

    Parameters
    ----------
    flow : flow
        Whose ``linearize`` it was; named in messages.
    linear : Linearization
        Its ``weight`` is not None.
    t : float
    z : ndarray, (N,)
        Time and state where it was asked for.
    """
    weight = linear.weight
    name = f"the weight of {type(flow).__name__}.linearize(t, z)"
    if not isinstance(weight, np.ndarray) or weight.shape != z.shape or weight.dtype.kind not in "fiu":
        raise PluginError(f"{name} must be None or an array of {z.size} real numbers, not {_kind(weight)}")
    if not finite(weight) or (weight < 0).any():
        raise PluginError(
            f"{name} must be finite and nowhere negative; give None where there is no such weight"
        )
    still = weight == 0
    if still.any() and np.any(flow.velocity(t, z, np.empty_like(z))[still] != 0):
        raise PluginError(f"{name} is 0 for a coordinate that moves; 0 says that its velocity is always 0")


def low_rank_of(linear: Any, size: int) -> LowRank:
    """``linear.low_rank()``, once its shapes fit.

    Parameters
    ----------
    linear : Linearization
    size : int
        Length N of z.
    """
    factors = linear.low_rank()
    name = f"{type(linear).__name__}.low_rank()"
    if not isinstance(factors, LowRank):
        raise PluginError(f"{name} must return a solvers.protocols.LowRank, not {_kind(factors)}")
    indices, P, S, H, B = factors
    if np.ndim(indices) != 2 or np.ndim(H) != 3:
        raise PluginError(
            f"in {name} indices must have shape (m, q) and H (m, q, r), not {np.shape(indices)} and {np.shape(H)}"
        )
    (m, q), r = np.shape(indices), np.shape(H)[2]
    for what, shape, allowed in (
        ("H", np.shape(H), ((m, q, r),)),
        ("P", np.shape(P), ((m, q, r), (m, q))),
        ("S", np.shape(S), ((r,), (r, r))),
        ("B", np.shape(B), ((m, q, q),)),
    ):
        if shape not in allowed:
            wanted = " or ".join(str(one) for one in allowed)
            raise PluginError(f"in {name} {what} must have shape {wanted}, not {shape}")
    flat = np.reshape(indices, -1)
    if flat.size and (flat.min() < 0 or flat.max() >= size or np.bincount(flat).max() > 1):
        raise PluginError(f"in {name} indices must be coordinates 0 to {size - 1}, each in one block")
    if not all(finite(np.ravel(part)) for part in (P, S, H, B)):
        raise StepFailure("diverged", "the Jacobian has entries that are NaN or infinite")
    return factors


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"
