"""Parametrizations: factors of layers, laws of their weights at the start, rates; the table of `mf.finite.deep`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from solvers import _check
from solvers.errors import InputError

PARAMETRIZATIONS = ("ntk", "standard", "mean_field", "allen_zhu")


class Layer(NamedTuple):
    """``factor W u + shift b``: W (out, fan), its standard deviation at the start, its rate (0 if frozen), its bias."""

    out: int
    fan: int
    factor: float
    std: float
    rate: float
    bias: bool
    shift: float
    bias_std: float


def scaled(
    parametrization: str,
    outs: Sequence[int],
    fans: Sequence[int],
    *,
    shifts: int,
    bias: bool,
    w_var: float,
    b_var: float,
    train: Any,
) -> tuple[Layer, ...]:
    """The layers of a network, first to last."""
    name = _check.choice(parametrization, "parametrization", PARAMETRIZATIONS)
    if bias and name == "allen_zhu":
        raise InputError(
            "the allen_zhu parametrization has no biases: give inputs a constant last coordinate instead, "
            "or leave out bias"
        )
    last = len(outs) - 1
    trained = _trained(train, last, name)
    made = []
    for i, (out, fan) in enumerate(zip(outs, fans, strict=True)):
        factor, std, rate, has = 1.0, 1.0, 1.0, bias
        shift, bias_std = math.sqrt(b_var), 1.0
        if name == "ntk":
            factor = math.sqrt(w_var / fan)
        elif name == "standard":
            std, shift, bias_std = math.sqrt(w_var / fan), 1.0, math.sqrt(b_var)
        elif name == "allen_zhu":
            std = math.sqrt(1.0 / out) if i == last else math.sqrt(2.0 / (shifts * out))
        else:
            factor = 1.0 / fan if i == last else math.sqrt(w_var / fan) if i else 1.0
            # at the start df/dz is 1/m at the last m hidden units, and 1/root(m' m) at m' units of a layer below
            rate = float(fan) if i == last else math.sqrt(out * outs[last - 1])
            has = bias and i < last
        made.append(Layer(out, fan, factor, std, rate if i in trained else 0.0, has, shift, bias_std))
    return tuple(made)


def _trained(train: Any, last: int, name: str) -> tuple[int, ...]:
    if train is None:
        chosen = tuple(range(1, last)) if name == "allen_zhu" else tuple(range(last + 1))
        if not chosen:
            raise InputError(
                "the allen_zhu parametrization trains the layers between the first and the read-out, and there is "
                "none: take two hidden layers at least, widths=(d, m, m, outputs), or say which move with train="
            )
        return chosen
    try:
        chosen = tuple(_check.number(i, "a layer in train", integer=True, nonnegative=True) for i in train)
    except TypeError:
        raise InputError(f"train must be numbers of layers such as (0, 1), not {train!r}") from None
    if not chosen or max(chosen) > last:
        raise InputError(f"train must name some of the layers 0 to {last}, not {train!r}")
    return tuple(sorted(set(chosen)))
