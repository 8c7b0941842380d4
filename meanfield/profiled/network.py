"""What is left of a network and of its penalty when the outer weights are taken out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meanfield.networks import TwoLayer
from meanfield.regularizers import LayerRidge, NoRegularizer, Ridge, TotalVariation
from solvers import _check
from solvers.errors import InputError


def without_outer(network: Any) -> Any:
    """The network of one neuron without its outer weight."""
    layout = getattr(network, "layout", None) or {}
    if "a" not in layout:
        if int(getattr(network, "outputs", 1)) != 1:
            raise InputError("profiled() gives each neuron one outer weight: the network must have outputs=1")
        return network
    if not isinstance(network, TwoLayer):
        raise InputError(
            f"profiled() knows how to leave out the outer weights of a TwoLayer, not of {network!r}; pass an "
            "objective of the feature map without them"
        )
    if "a" not in network.train:
        raise InputError(
            f"train={network.train} freezes the outer weights that profiled() is to minimize over; put 'a' in train"
        )
    train = tuple(name for name in network.train if name != "a")
    if not set(train) & set(layout):
        raise InputError(
            f"train={network.train} leaves nothing to move once the outer weights are eliminated; put 'w' in train"
        )
    rates = {name: rate for name, rate in (network.rates or {}).items() if name != "a"}
    return replace(network, a=1.0, outputs=1, centre=None, train=train, rates=rates or None)


def outer_strength(regularizer: Any, network: Any, ridge: float | None, own: bool) -> float:
    """The penalty of outer weights: what was asked for, or what the objective has."""
    outer = "a" in (getattr(network, "layout", None) or {})
    present = 0.0
    if isinstance(regularizer, LayerRidge):
        present = float(regularizer.a)
    elif isinstance(regularizer, Ridge) and outer:
        present = float(regularizer.strength)
    if ridge is None:
        if present == 0.0:
            raise InputError(
                "ridge, the strength of the penalty of outer weights, must be given and positive"
            )
        return present
    strength = float(_check.number(ridge, "ridge"))
    if not strength > 0:
        raise InputError(
            f"ridge must be positive, not {ridge}: without a penalty the best outer weights are not unique"
        )
    if present not in (0.0, strength) and not own:
        raise InputError(
            f"ridge={strength:g} contradicts {regularizer!r}, which penalizes outer weights already; leave ridge out"
        )
    return strength


def inner_part(regularizer: Any, network: Any) -> Any:
    """What the objective's regularizer puts on a neuron without outer weight."""
    if isinstance(regularizer, LayerRidge):
        bias = "b" in network.layout
        if regularizer.w == 0 and regularizer.b == 0:
            return NoRegularizer()
        if regularizer.w == regularizer.b or not bias:
            return Ridge(regularizer.w)
        return LayerRidge(w=regularizer.w, b=regularizer.b)
    if isinstance(regularizer, (NoRegularizer, Ridge, TotalVariation)):
        return regularizer
    raise InputError(
        f"profiled() cannot tell what {regularizer!r} puts on outer weights; pass regularizer=, a penalty of the "
        "other coordinates"
    )
