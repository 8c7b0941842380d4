r"""Deep networks of finite width: fully connected, residual and convolutional, exact and explicit.

    net = Dense(widths=(d, 512, 512, 1), parametrization="ntk")
    problem = Problem(net, X, y, loss="squared")
    run = solvers.integrate(SGD(problem, step=0.1, batch=20, rng=1), net.init(rng=0), t_end=100.0)

Reference implementations for theorems: float64, forward and backward written out on BLAS, gradients of every sample.
Each layer is ``factor W u + shift b`` of its inputs u; `fan` is their number, m the layer's own units, q the shifts of
a convolution (1 elsewhere). A parametrization says the factor, the law of W at the start, and what moves:

| | first layer | between | read-out | moves |
| --- | --- | --- | --- | --- |
| ``"ntk"`` | ``root(w_var/fan)``, N(0, 1) | the same | the same | all, rate 1 |
| ``"standard"`` | 1, N(0, w_var/fan) | the same | the same | all, rate 1 |
| ``"mean_field"`` | 1, N(0, 1) | ``root(w_var/fan)``, N(0, 1) | 1/fan, N(0, 1) | all, rates below |
| ``"allen_zhu"`` | 1, N(0, 2/(q m)) | 1, N(0, 2/(q m)) | 1, N(0, 1/outputs) | between only, rate 1 |

Mean-field rates are those at which features move by order one while weights are of order one, whatever the widths:
``fan`` for the read-out, ``root(m m')`` for hidden layers, m' the units of the last of them (m for that one itself).
With one hidden layer this is `TwoLayer` on the clock of its flow, exactly (``net.from_measure``); with more it is muP,
as remembered, derived here from the sizes of gradients. Biases go with their layer: ``root(b_var) b`` with b from
N(0, 1), in ``"standard"`` b from N(0, b_var); the mean-field read-out has none, ``"allen_zhu"`` has none at all.

References
----------
Allen-Zhu, Li and Song, 2019 (1811.03962), as remembered; Jacot, Gabriel and Hongler, 2018 (1806.07572); Yang and Hu,
2021 (2011.14522), as remembered.
"""

from __future__ import annotations

from meanfield.finite.deep.convolution import ConvNet
from meanfield.finite.deep.dense import Dense, ResNet
from meanfield.finite.deep.problem import Problem
from meanfield.finite.deep.reading import from_torch
from meanfield.finite.deep.training import SGD, GradientFlow
from meanfield.finite.deep.weights import Weights

__all__ = ["SGD", "ConvNet", "Dense", "GradientFlow", "Problem", "ResNet", "Weights", "from_torch"]
