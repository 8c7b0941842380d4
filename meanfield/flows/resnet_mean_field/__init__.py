r"""Residual networks of depth L, width M and embedding dimension D towards the Neural Mean ODE.

    net = ResNet(d_in=5, d_out=5, depth=50, width=200, dim=100, activation="tanh")
    run = solvers.integrate(GradientDescent(net, X, y, step=0.2), net.init(rng=0), t_end=3.0)

`ResNet` says the network and the steps at which features move; `MeanODE.of(net)` is the limit of infinite L and M, at
infinite D or at the embeddings of a network, trained by the same `GradientDescent` or `GradientFlow`; for linear
activations `linear_limit` and `first_step` have it to rounding.

References
----------
Chaintron, Chizat and Maass, 2026 (2603.18168): error ``O(1/L + sqrt(D/(L M)) + 1/sqrt(D))`` [abstract, published code];
Chizat, 2025 (2509.10167): fixed D [abstract].
"""

from __future__ import annotations

from meanfield.flows.resnet_mean_field.linear import LinearLimit, first_step, linear_limit
from meanfield.flows.resnet_mean_field.mean_ode import MeanODE
from meanfield.flows.resnet_mean_field.network import ResNet
from meanfield.flows.resnet_mean_field.training import GradientDescent, GradientFlow
from meanfield.flows.resnet_mean_field.weights import Weights

__all__ = [
    "GradientDescent",
    "GradientFlow",
    "LinearLimit",
    "MeanODE",
    "ResNet",
    "Weights",
    "first_step",
    "linear_limit",
]
