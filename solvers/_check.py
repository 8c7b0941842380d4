"""Checks at the door: every refusal is one sentence that names the argument and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.errors import InputError


def array(
    x: Any,
    name: str,
    *,
    ndim: int | tuple[int, ...] | None = None,
    shape: tuple[int | None, ...] | None = None,
    finite: bool = True,
    empty: bool = False,
) -> NDArray[np.float64]:
    """Return `x` as a C-contiguous float64 array, or refuse it.

    Parameters
    ----------
    x : array_like
    name : str
        What the message calls it.
    ndim : int or tuple of int, optional
        Allowed numbers of axes.
    shape : tuple of int or None, optional
        Required extents; None leaves one free.
    finite : bool
        Refuse NaN and infinity.
    empty : bool
        Allow extents of zero.
    """
    if hasattr(x, "todense"):
        raise InputError(f"{name} is a sparse matrix; pass a dense array, for example {name}.toarray()")
    try:
        raw = np.asarray(x)
        if raw.dtype.kind == "c" or raw.dtype.kind not in "biufO":
            raise TypeError
        value = np.ascontiguousarray(raw, dtype=np.float64) if raw.ndim else np.array(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of real numbers, not {_describe(x)}") from None
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if value.ndim not in allowed:
            wanted = " or ".join(str(k) for k in allowed)
            raise InputError(f"{name} must have {wanted} axes, but its shape is {value.shape}")
    if shape is not None and (
        value.ndim != len(shape)
        or any(want is not None and want != got for want, got in zip(shape, value.shape, strict=True))
    ):
        wanted = (
            "("
            + ", ".join("any" if k is None else str(k) for k in shape)
            + ("," if len(shape) == 1 else "")
            + ")"
        )
        raise InputError(f"{name} must have shape {wanted}, but its shape is {value.shape}")
    if not empty and value.size == 0:
        raise InputError(f"{name} is empty (shape {value.shape}); at least one entry is needed")
    if finite and not np.isfinite(value).all():
        bad = int(value.size - np.isfinite(value).sum())
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(value))[0])
        raise InputError(
            f"{name} holds {bad} value(s) that are NaN or infinite (the first at index {where}); "
            "remove or impute them first"
        )
    return value


def number(
    x: Any, name: str, *, positive: bool = False, nonnegative: bool = False, integer: bool = False
) -> Any:
    """Return `x` as a finite float (or int), or refuse it."""
    kind = "an integer" if integer else "a number"
    if isinstance(x, (bool, np.bool_, str)) or np.ndim(x) != 0:
        raise InputError(f"{name} must be {kind}, not {_describe(x)}")
    try:
        value = float(x)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be {kind}, not {_describe(x)}") from None
    if not np.isfinite(value):
        raise InputError(f"{name} must be finite, not {value}")
    if integer and value != int(value):
        raise InputError(f"{name} must be an integer, not {value:g}")
    if positive and not value > 0:
        raise InputError(f"{name} must be positive, not {x}")
    if nonnegative and not value >= 0:
        raise InputError(f"{name} must be non-negative, not {x}")
    return int(value) if integer else value


def choice(x: Any, name: str, options: Iterable[str]) -> str:
    """Return `x` if it is one of `options`, or refuse it with the list (and the nearest spelling)."""
    allowed = list(options)
    if isinstance(x, str) and x in allowed:
        return x
    import difflib

    near = difflib.get_close_matches(str(x), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {x!r}{hint}")


def _describe(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else f"a {type(x).__name__}"
