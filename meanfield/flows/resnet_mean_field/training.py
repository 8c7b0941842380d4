"""Gradient descent and gradient flow of residual networks, with the steps at which features move."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from meanfield.finite.deep.data import check_labels, contradictions
from meanfield.flows.resnet_mean_field.network import ResNet
from meanfield.flows.resnet_mean_field.weights import Weights
from meanfield.plugins import check_loss
from solvers import _check
from solvers.errors import InputError
from solvers.losses import SquaredLoss, by_name
from solvers.protocols import Array

# Share of the error in weights that counts beside the one in predictions, as in the flows of measures.
WEIGHT_SHARE = 0.01


def checked_rates(rates: Any) -> tuple[float, float]:
    """Those of U and of V, or one sentence."""
    if rates is None:
        return 1.0, 1.0
    if not isinstance(rates, Mapping) or not set(rates) <= {"U", "V"}:
        raise InputError(f"rates must be a mapping such as {{'U': 1.0, 'V': 1.0}}, not {rates!r}")
    u, v = (float(_check.number(rates.get(name, 1.0), f"rates[{name!r}]", nonnegative=True)) for name in "UV")
    if u == v == 0.0:
        raise InputError("rates are all 0, so that nothing would move; give U or V a positive one")
    return u, v


class _Training:
    """What descent and flow share: a state is `Weights`, z holds U and V; embeddings are those of the state."""

    def __init__(self, net: Any, X: Any, y: Any, loss: Any = None, rates: Any = None) -> None:
        if not isinstance(net, ResNet):
            raise InputError(
                f"net must be a network such as mf.resnet_mean_field.ResNet(...), not {type(net).__name__}"
            )
        self.net = net
        # Copies: data that are changed afterwards must not change the problem.
        self.X = np.array(net.check_inputs(X))
        self.loss = SquaredLoss() if loss is None else by_name(loss)
        self.y = check_labels(self.loss, y, len(self.X), net.d_out)
        check_loss(self.loss, self.y)
        found = contradictions(self.X, self.y)
        if len(found):
            i, j = found[0]
            warnings.warn(
                f"rows {i} and {j} of X coincide, but their labels differ ({len(found)} such pair(s)): no weights "
                "reach zero loss",
                stacklevel=3,
            )
        self.rates = checked_rates(rates)

    def _settings(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.X.tobytes())
        digest.update(self.y.tobytes())
        return {
            "network": repr(self.net),
            "loss": repr(self.loss),
            "rates": list(self.rates),
            "n": len(self.X),
            "data_sha256": digest.hexdigest(),
        }

    def _shaped(self, f: Array) -> Array:
        return f[:, 0] if self.net.d_out == 1 else f

    def respond(self, f: Array) -> Array:
        """dR/df, (n, d_out).

        Parameters
        ----------
        f : ndarray, (n, d_out)
        """
        return np.asarray(self.loss.gradient(self._shaped(f), self.y)).reshape(f.shape)

    @property
    def objective(self) -> Any:
        """What a run asks for predictions: the training itself, with `predict`, `value` and `gradient`."""
        return self

    @property
    def trajectory_type(self) -> Any:
        """Runs predict, are saved, plotted and cited."""
        from meanfield.run import Run

        return Run

    def predict(self, weights: Any, X: Any = None) -> Array:
        """f on the data, or at other points.

        Parameters
        ----------
        weights : Weights
        X : array_like, (n, d_in), optional
        """
        return self.net.predict(weights, self.X if X is None else X)

    def value(self, weights: Any) -> float:
        """R(f), the loss.

        Parameters
        ----------
        weights : Weights
        """
        return float(self.loss.value(self.net.predict(weights, self.X), self.y))

    def gradient(self, weights: Any) -> tuple[Array, Array]:
        """grad R in U and in V, without the factor ``L M D`` of the steps.

        Parameters
        ----------
        weights : Weights
        """
        out = np.empty(self.net.size)
        self.net.evaluate(self.net.check_weights(weights), self.X, self.respond, out)
        return self.net.views(out)


class _Bound:
    """A training at given embeddings."""

    def __init__(self, flow: Any, state: Any) -> None:
        self.flow, self.net = flow, flow.net
        checked = self.net.check_weights(state)
        self.W_E, self.W_U = checked.W_E.copy(), checked.W_U.copy()
        self.describe = flow.describe

    def weights(self, z: Array) -> Weights:
        """The state at z, in its memory."""
        U, V = self.net.views(z)
        return Weights.over(U, V, self.W_E, self.W_U)

    def pack(self, state: Any) -> Array:
        """U and V as one flat vector."""
        return np.asarray(self.net.check_weights(state).flat)

    def unpack(self, z: Array, like: Any) -> Weights:
        """Weights at z, with the embeddings of this run."""
        U, V = self.net.views(z.copy())
        return Weights.over(U, V, self.W_E.copy(), self.W_U.copy())

    def default_record(self, t: float, z: Array) -> dict[str, float]:
        """The loss, at every save."""
        flow = self.flow
        with np.errstate(over="ignore", invalid="ignore"):
            f = self.net.values(self.weights(z), flow.X)
            return {"objective": float(flow.loss.value(flow._shaped(f), flow.y))}


class GradientDescent(_Training):
    """``U -= step r_U L M D dR/dU``, ``V -= step r_V L M D dR/dV``; iteration k is at time t = k step.

    A map for `solvers.integrate`, on the clock of `GradientFlow`: at its end after k steps is ``t_end = k step``.

    Parameters
    ----------
    net : ResNet or MeanODE
    X : array_like, (n, d_in)
    y : array_like, (n,) or (n, d_out)
        Targets, labels +-1 for the logistic loss, classes 0 .. d_out-1 for cross-entropy.
    step : float
        eta; with ``SquaredLoss``, 1/2 mean over data of ``|f - y|^2``.
    loss : loss or str, optional
        ``SquaredLoss()`` by default.
    rates : mapping, optional
        ``{"U": r_U, "V": r_V}``, 1 by default; 0 freezes.

    Raises
    ------
    InputError

    Examples
    --------
    >>> import meanfield as mf, solvers
    >>> net = mf.resnet_mean_field.ResNet(d_in=2, d_out=1, depth=20, width=50, dim=10)
    >>> descent = mf.resnet_mean_field.GradientDescent(net, [[0.6, 0.8], [0.8, -0.6]], [1.0, -1.0], step=0.3)
    >>> run = solvers.integrate(descent, net.init(rng=0), t_end=6.0)
    >>> bool(run["objective"][-1] < 0.1 * run["objective"][0])
    True
    """

    kind = "map"

    def __init__(self, net: Any, X: Any, y: Any, step: float, loss: Any = None, *, rates: Any = None) -> None:
        super().__init__(net, X, y, loss, rates)
        self.step_size = float(_check.number(step, "step", positive=True))

    def __repr__(self) -> str:
        return f"GradientDescent({self.net!r}, n={len(self.X)}, step={self.step_size:g}, loss={self.loss!r})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {
            "flow": "resnet_mean_field.GradientDescent",
            "step": self.step_size,
            **self._settings(),
        }

    def prepare(self, state: Any) -> _Descent:
        """The iteration at the embeddings of a state."""
        return _Descent(self, state)


class _Descent(_Bound):
    kind = "map"

    def __init__(self, flow: GradientDescent, state: Any) -> None:
        super().__init__(flow, state)
        self.default_step = flow.step_size

    def step(self, z: Array, h: float, k: int) -> None:
        """One iteration, in place."""
        flow = self.flow
        u, v = flow.rates
        # a run that diverges is told by its state, not by warnings
        with np.errstate(over="ignore", invalid="ignore"):
            self.net.descend(self.weights(z), flow.X, flow.respond, (h * u, h * v))


class GradientFlow(_Training):
    """``dU/dt = -r_U L M D dR/dU``, ``dV/dt = -r_V L M D dR/dV``; methods that choose steps hold the error of f.

    Parameters
    ----------
    net : ResNet or MeanODE
    X : array_like, (n, d_in)
    y : array_like, (n,) or (n, d_out)
        As of `GradientDescent`.
    loss : loss or str, optional
    rates : mapping, optional
        As of `GradientDescent`.

    Raises
    ------
    InputError
    """

    kind = "ode"

    def __init__(self, net: Any, X: Any, y: Any, loss: Any = None, *, rates: Any = None) -> None:
        super().__init__(net, X, y, loss, rates)

    def __repr__(self) -> str:
        return f"GradientFlow({self.net!r}, n={len(self.X)}, loss={self.loss!r})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {"flow": "resnet_mean_field.GradientFlow", **self._settings()}

    def prepare(self, state: Any) -> _Flow:
        """The flow at the embeddings of a state."""
        return _Flow(self, state)


class _Flow(_Bound):
    kind = "ode"
    time_dependent = False

    def __init__(self, flow: GradientFlow, state: Any) -> None:
        super().__init__(flow, state)
        self.smooth = flow.net.smooth

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        """-L M D rate grad R."""
        net, flow = self.net, self.flow
        with np.errstate(over="ignore", invalid="ignore"):
            net.evaluate(self.weights(z), flow.X, flow.respond, out)
        for part, rate in zip(net.views(out), flow.rates, strict=True):
            part *= -rate * net.depth * net.width * net.dim
        return out

    def error_norm(self, z: Array, error: Array, rtol: float, atol: float) -> float:
        """RMS error in the predictions f (plus 1 % of the one in weights), in units of the tolerance."""
        f, other = (self.net.values(self.weights(at), self.flow.X) for at in (z, z - error))
        size = max(_rms(f), _rms(self.flow.y))
        return _rms(f - other) / (atol + rtol * size) + WEIGHT_SHARE * _rms(error) / (atol + rtol * _rms(z))


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
