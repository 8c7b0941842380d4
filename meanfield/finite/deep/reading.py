"""Chains of layers in PyTorch, read into networks and weights of this package."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from meanfield.activations import Identity, LeakyReLU, ReLU, Sigmoid, Tanh
from meanfield.finite.deep.convolution import ConvNet
from meanfield.finite.deep.dense import Dense
from meanfield.finite.deep.weights import Weights
from solvers import _check
from solvers.errors import InputError

INSTEAD = "mf.diagnostics.from_torch(module) takes any module, for mf.regime and mf.elasticity"


def from_torch(module: Any, shape: Any = None) -> tuple[Dense | ConvNet, Weights]:
    """A ``torch.nn.Sequential`` as a network in the "standard" parametrization and its weights, copied, in float64.

    Read are ``Linear``, ``activation``, ..., ``Linear``, and ``Conv1d`` or ``Conv2d`` (stride 1, odd kernels, padding
    that keeps the positions, with zeros or circular), ``activation``, ..., ``Flatten``, ``Linear``, where an
    ``AdaptiveAvgPool`` to one position may stand before ``Flatten``. ``Dropout`` is left out, as when a module is
    evaluated. Layers without ``requires_grad`` are frozen.
    Inputs of convolutions have channels last here: ``X.movedim(1, -1)`` of what the module takes.

    Parameters
    ----------
    module : torch.nn.Sequential
    shape : sequence of int, optional
        Of one input of convolutions, channels last, as of `ConvNet`; needed where layers do not tell: on a grid, and
        with pooling.

    Returns
    -------
    net : Dense or ConvNet
    weights : Weights

    Raises
    ------
    InputError
        Without torch; for other layers; where biases are not everywhere or nowhere, or activations differ.
    """
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise InputError("from_torch needs torch, which is not installed: pip install torch") from None
    nn = torch.nn
    if not isinstance(module, nn.Sequential):
        raise InputError(f"module must be a torch.nn.Sequential, not {type(module).__name__}; {INSTEAD}")
    linear: list[Any] = []
    sigmas: list[Any] = []
    pooled = False
    for i, part in enumerate(module):
        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            if len(linear) != len(sigmas):
                raise InputError(f"an activation must stand before layer {i}, {part}; {INSTEAD}")
            linear.append(part)
        elif isinstance(part, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)) and _ones(part.output_size):
            pooled = True
        elif not isinstance(part, (nn.Flatten, nn.Dropout)):
            sigmas.append(_activation(nn, part, i))
    if len(linear) < 2 or len(sigmas) != len(linear) - 1 or not isinstance(linear[-1], nn.Linear):
        raise InputError(
            f"module must be linear layers with an activation between any two, two at least, Linear the last; {INSTEAD}"
        )
    if any(sigma != sigmas[0] or type(sigma) is not type(sigmas[0]) for sigma in sigmas):
        raise InputError(f"activations must be one and the same, not {sigmas}; {INSTEAD}")
    moving = tuple(i for i, part in enumerate(linear) if _moves(part, i))
    if not moving:
        raise InputError("the module has no parameters with requires_grad")
    biased = {part.bias is not None for part in linear}
    if len(biased) > 1:
        raise InputError(f"biases must be everywhere or nowhere; {INSTEAD}")
    settings = {
        "activation": sigmas[0],
        "parametrization": "standard",
        "bias": biased == {True},
        "train": None if len(moving) == len(linear) else moving,
    }
    arrays = {f"W{i}": _rows(part) for i, part in enumerate(linear)}
    net: Dense | ConvNet
    if isinstance(linear[0], nn.Linear):
        if any(not isinstance(part, nn.Linear) for part in linear):
            raise InputError(f"convolutions must come before linear layers; {INSTEAD}")
        net = Dense([linear[0].in_features, *(part.out_features for part in linear)], **settings)
    else:
        net = _convolutions(nn, linear, pooled, shape, settings)
        if not pooled:
            # Flatten puts channels before positions
            last = arrays[f"W{len(linear) - 1}"]
            turned = last.reshape(len(last), net.channels[-1], -1).transpose(0, 2, 1)
            arrays[f"W{len(linear) - 1}"] = turned.reshape(len(last), -1)
    if settings["bias"]:
        arrays |= {f"b{i}": _array(part.bias) for i, part in enumerate(linear)}
    weights = Weights(arrays)
    net.flat(weights)
    return net, weights


def _convolutions(nn: Any, linear: Any, pooled: bool, shape: Any, settings: dict[str, Any]) -> ConvNet:
    convs, last = linear[:-1], linear[-1]
    kind, size, mode = type(convs[0]), convs[0].kernel_size[0], convs[0].padding_mode
    for i, part in enumerate(convs):
        if type(part) is not kind:
            raise InputError(f"layers but for the last must be {kind.__name__}, not {part}; {INSTEAD}")
        same = part.padding == "same" or part.padding == tuple(k // 2 for k in part.kernel_size)
        if (
            set(part.kernel_size) != {size}
            or size % 2 == 0
            or not _ones((*part.stride, *part.dilation, part.groups))
            or not (same or size == 1)
            or part.padding_mode != mode
            or mode not in ("zeros", "circular")
        ):
            raise InputError(
                f"convolution {i} must have stride 1, no groups, the one odd kernel of all layers and padding that "
                f"keeps the positions, not {part}; {INSTEAD}"
            )
    inputs, axes = convs[0].in_channels, 1 if kind is nn.Conv1d else 2
    if shape is None:
        if pooled or axes == 2:
            raise InputError("shape= must say what one input is, such as (8, 8, 1), channels last")
        shape = (last.in_features // convs[-1].out_channels, inputs)
    net = ConvNet(
        shape,
        [part.out_channels for part in convs],
        last.out_features,
        kernel=size,
        padding="zero" if mode == "zeros" else mode,
        readout="mean" if pooled else "flatten",
        **settings,
    )
    if len(net.shape) != axes + 1 or net.shape[-1] != inputs or net.layers[-1].fan != last.in_features:
        raise InputError(
            f"shape={tuple(net.shape)} does not fit {convs[0]} and {last}: positions, then {inputs} channels"
        )
    return net


def _activation(nn: Any, part: Any, i: int) -> Any:
    known = {nn.ReLU: ReLU(), nn.Tanh: Tanh(), nn.Sigmoid: Sigmoid(), nn.Identity: Identity()}
    if type(part) in known:
        return known[type(part)]
    if isinstance(part, nn.LeakyReLU):
        return LeakyReLU(part.negative_slope)
    raise InputError(f"layer {i}, {part}, is not one that is read; {INSTEAD}")


def _moves(part: Any, i: int) -> bool:
    asked = {p.requires_grad for p in part.parameters()}
    if len(asked) > 1:
        raise InputError(f"layer {i}, {part}, must be frozen as a whole or not at all; {INSTEAD}")
    return asked == {True}


def _rows(part: Any) -> Any:
    """Of convolutions (out, in, shifts) with channels fastest: (out, shifts in)."""
    W = _array(part.weight)
    return np.moveaxis(W, 1, -1).reshape(len(W), -1)


def _array(parameter: Any) -> Any:
    return _check.array(parameter.detach().cpu().double().numpy(), "a parameter of the module")


def _ones(sizes: Any) -> bool:
    return math.prod(sizes if isinstance(sizes, (tuple, list)) else (sizes,)) == 1
