"""Fully connected networks, with and without skips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from meanfield.activations import ReLU
from meanfield.finite.deep.network import Network
from meanfield.finite.deep.scaling import Layer
from meanfield.finite.deep.weights import Weights
from solvers import _check
from solvers.errors import InputError
from solvers.measure import ParticleMeasure

DEFAULT = ReLU()


def checked_sizes(sizes: Any, name: str, least: int, what: str) -> tuple[int, ...]:
    """Positive integers, `least` of them at least, or one sentence that says what they are."""
    if isinstance(sizes, (str, Mapping, Set)) or not hasattr(sizes, "__len__") or len(sizes) < least:
        raise InputError(f"{name} must be {what}, not {sizes!r}")
    return tuple(_check.number(m, f"each of {name}", positive=True, integer=True) for m in sizes)


def checked_widths(widths: Any) -> tuple[int, ...]:
    """Sizes of all layers, from the inputs to the outputs."""
    what = "the inputs, one hidden layer at least, and the outputs, such as (10, 512, 512, 1)"
    return checked_sizes(widths, "widths", 3, what)


def shown(net: Any, first: str, *more: str) -> str:
    """A network as one writes it, what is usual left out."""
    parts = [first, repr(net.activation), f"parametrization={net.parametrization!r}", *more]
    if net.bias:
        parts.append("bias=True")
    if net.train is not None:
        parts.append(f"train={tuple(net.train)}")
    if net.w_var != 2.0:
        parts.append(f"w_var={net.w_var:g}")
    if net.b_var != 1.0:
        parts.append(f"b_var={net.b_var:g}")
    return f"{type(net).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False, eq=False)
class Dense(Network):
    """``h_0 = sigma(lin_0(x))``, ``h_l = sigma(lin_l(h_{l-1}))``, ``f = lin_L(h_{L-1})``, lin(u) = factor W u + b.

    Layers are numbered from 0, the first hidden one, to L, the read-out. Factors, sizes at the start and rates of the
    parametrizations are in the table of `mf.finite.deep`.

    Parameters
    ----------
    widths : sequence of int
        ``(d, m_0, ..., m_{L-1}, outputs)``.
    activation : plug-in or str
        sigma.
    parametrization : {"ntk", "standard", "mean_field", "allen_zhu"}
    bias : bool
    train : sequence of int, optional
        Numbers of the layers that move; by default those of the parametrization, all but for "allen_zhu".
    w_var, b_var : float
        Variances sigma_w^2 and sigma_b^2 of "ntk", "standard" and the hidden layers of "mean_field"; w_var = 2 keeps
        the size of ReLU layers, b_var = 0 lets the biases of "standard" start at 0.

    Raises
    ------
    InputError, PluginError

    Examples
    --------
    >>> import meanfield as mf, numpy as np
    >>> net = mf.finite.deep.Dense(widths=(2, 16, 16, 1), parametrization="ntk")
    >>> weights, X = net.init(rng=0), np.eye(2)
    >>> net.predict(weights, X).shape, net.jacobian(weights, X).shape, net.tangent_kernel(weights, X).shape
    ((2,), (2, 1, 304), (2, 2))
    """

    widths: Sequence[int]
    activation: Any = DEFAULT
    parametrization: str = "ntk"
    bias: bool = False
    train: Any = None
    w_var: float = 2.0
    b_var: float = 1.0
    layers: tuple[Layer, ...] = field(init=False)
    positions: tuple[int, ...] = field(init=False)
    compiled: bool = field(init=False)

    def __post_init__(self) -> None:
        widths = checked_widths(self.widths)
        object.__setattr__(self, "widths", widths)
        self._build(widths[1:], widths[:-1], [1] * (len(widths) - 1))

    def __repr__(self) -> str:
        return shown(self, f"widths={tuple(self.widths)}")

    # -- one hidden layer is a measure ------------------------------------------------------------------------

    def from_measure(self, measure: Any) -> Weights:
        """The weights of a `TwoLayer` network at a measure: rows (w, b) of the first layer, a those of the read-out.

        Parameters
        ----------
        measure : ParticleMeasure
            Equal weights, positions (a, w, b) of `TwoLayer`.

        Raises
        ------
        InputError
            Unless this is a mean-field network with one hidden layer of as many units.
        """
        d, m, k = self._two_layer()
        dim = k + d + bool(self.bias)
        if not isinstance(measure, ParticleMeasure) or measure.positions.shape != (m, dim):
            raise InputError(
                f"measure must be a ParticleMeasure of {m} particles in R^{dim}, unlike {measure!r}"
            )
        if measure.signs is not None or np.ptp(measure.weights) > 0:
            raise InputError(
                "measure must have equal weights and no signs, as the units of a network have none"
            )
        theta = measure.positions
        arrays = {"W0": theta[:, k : k + d], "W1": theta[:, :k].T}
        return Weights(arrays | ({"b0": theta[:, -1]} if self.bias else {}))

    def to_measure(self, weights: Any) -> ParticleMeasure:
        """The inverse of `from_measure`.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        """
        self._two_layer()
        arrays = Weights.over(self.flat(weights), self.shapes).to_arrays()
        parts = [arrays["W1"].T, arrays["W0"]] + ([arrays["b0"][:, None]] if self.bias else [])
        return ParticleMeasure(np.hstack(parts))

    def _two_layer(self) -> tuple[int, int, int]:
        if len(self.widths) != 3 or self.parametrization != "mean_field":
            raise InputError(
                "only a network with one hidden layer and parametrization='mean_field' is a measure of neurons, "
                f"which {self!r} is not"
            )
        d, m, k = self.widths
        return d, m, k


@dataclass(frozen=True, repr=False, eq=False)
class ResNet(Dense):
    """A residual network of equal hidden widths; ``tau = branch`` multiplies the branches.

        "post":  h_0 = sigma(lin_0(x)),  h_l = sigma(h_{l-1} + tau lin_l(h_{l-1})),         f = lin_L(h_{L-1})
        "pre":   z_0 = lin_0(x),         z_l = z_{l-1} + tau lin_l(sigma(z_{l-1})),         f = lin_L(sigma(z_{L-1}))

    "post" is the network of Allen-Zhu, Li and Song (1811.03962), "pre" the one whose tangent kernel is that of
    ``Residual`` layers. The theorem asks for tau = 1/(c L log m), as remembered.

    Parameters
    ----------
    widths : sequence of int
        ``(d, m, ..., m, outputs)``.
    activation : plug-in or str
    parametrization : {"ntk", "standard", "mean_field", "allen_zhu"}
    bias : bool
    train : sequence of int, optional
    w_var, b_var : float
        As of `Dense`.
    branch : float, optional
        tau; by default one over the number of residual layers.
    skip : {"pre", "post"}, optional
        By default "post" for "allen_zhu", "pre" elsewhere.

    Raises
    ------
    InputError, PluginError
    """

    branch: float | None = None
    skip: str | None = None

    def __post_init__(self) -> None:
        widths = checked_widths(self.widths)
        if len(set(widths[1:-1])) != 1:
            raise InputError(
                f"hidden layers of a ResNet are added, so that widths must be equal between the ends, not {widths}"
            )
        if len(widths) < 4:
            raise InputError(
                f"a ResNet needs two hidden layers at least, widths=(d, m, m, outputs), not {widths}"
            )
        usual = "post" if self.parametrization == "allen_zhu" else "pre"
        skip = usual if self.skip is None else self.skip
        branches = len(widths) - 3
        tau = 1.0 / branches if self.branch is None else _check.number(self.branch, "branch", positive=True)
        object.__setattr__(self, "skip", _check.choice(skip, "skip", ("pre", "post")))
        object.__setattr__(self, "branch", float(tau))
        super().__post_init__()
        inside = range(1, branches + 1)
        layers = [
            layer._replace(factor=tau * layer.factor, shift=tau * layer.shift) if i in inside else layer
            for i, layer in enumerate(self.layers)
        ]
        object.__setattr__(self, "layers", tuple(layers))

    def __repr__(self) -> str:
        return shown(self, f"widths={tuple(self.widths)}", f"branch={self.branch:g}", f"skip={self.skip!r}")
