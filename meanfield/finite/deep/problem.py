"""The problem that a deep network is trained on: data, loss, and the gradient of the loss in all weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.finite.deep.data import check_labels, contradictions
from meanfield.finite.deep.network import Network
from meanfield.finite.deep.weights import Weights
from meanfield.plugins import check_loss
from solvers import _check
from solvers.errors import InputError
from solvers.losses import SquaredLoss, by_name
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.diagnostics import Model


class Problem:
    """``R(f(W; X))``, a loss of a network's predictions on data.

    Parameters
    ----------
    net : Dense, ResNet or ConvNet
    X : array_like, (n, ...)
        Inputs; of the "allen_zhu" theorem those with ``|x| = 1`` and last coordinate 1/root 2.
    y : array_like, (n,) or (n, k)
        Targets, labels +-1 for the logistic loss, classes 0 .. k-1 for cross-entropy.
    loss : loss or str, optional
        ``SquaredLoss()`` by default, 1/2 mean |f - y|^2; the theorem's is ``SquaredLoss(reduction="sum")``.
    sample_weight : array_like, (n,), optional
        Non-negative weights of the data, normalized by the reduction "mean": as of `Objective`.

    Raises
    ------
    InputError
        Also for points that coincide with different labels where the parametrization is "allen_zhu", whose theorem
        needs points apart; elsewhere that is a warning, as no weights reach zero loss.
    """

    def __init__(self, net: Any, X: Any, y: Any, loss: Any = None, sample_weight: Any = None) -> None:
        if not isinstance(net, Network):
            raise InputError(f"net must be a network such as mf.finite.deep.Dense(...), not {net!r}")
        self.net = net
        # Copies: data that are changed afterwards must not change the problem.
        self.X = np.array(net.check_inputs(X))
        self.loss = SquaredLoss() if loss is None else by_name(loss)
        n = len(self.X)
        self.y = self.check_labels(y, n)
        check_loss(self.loss, self.y)
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = _check.array(sample_weight, "sample_weight", shape=(n,)).copy()
            if (self.sample_weight < 0).any() or self.sample_weight.sum() == 0:
                raise InputError("sample_weight must be non-negative with a positive sum")
        self._check_apart()

    @property
    def classes(self) -> bool:
        """Whether labels are classes, or their probabilities."""
        return getattr(self.loss, "kind", "") == "cross_entropy"

    def check_labels(self, y: Any, n: int) -> Array:
        """A copy of y as the loss and the network take it, or one sentence.

        Parameters
        ----------
        y : array_like, (n,) or (n, k)
        n : int
        """
        return check_labels(self.loss, y, n, self.net.outputs)

    def _check_apart(self) -> None:
        # a datum of weight zero does not exist
        kept = np.arange(len(self.X)) if self.sample_weight is None else np.flatnonzero(self.sample_weight)
        found = kept[contradictions(self.X[kept], self.y[kept])]
        if len(found) == 0:
            return
        i, j = found[0]
        what = f"rows {i} and {j} of X coincide, but their labels differ ({len(found)} such pair(s))"
        if getattr(self.net, "parametrization", "") == "allen_zhu":
            raise InputError(
                f"{what}: the theorem needs points apart; remove one of each, or choose another parametrization"
            )
        warnings.warn(f"{what}: no weights reach zero loss", stacklevel=3)

    def __repr__(self) -> str:
        return f"Problem({self.net!r}, n={len(self.X)}, loss={self.loss!r})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance: readable settings and a digest of the data."""
        digest = hashlib.sha256(self.X.tobytes())
        digest.update(self.y.tobytes())
        if self.sample_weight is not None:
            digest.update(self.sample_weight.tobytes())
        return {
            "functional": "a deep network's loss on data",
            "network": repr(self.net),
            "loss": repr(self.loss),
            "n": len(self.X),
            "weighted": self.sample_weight is not None,
            "data_sha256": digest.hexdigest(),
        }

    # -- values -----------------------------------------------------------------------------------------------

    def predict(self, weights: Any, X: Any = None) -> Array:
        """f on the data, or at other points: (n,) or (n, k)."""
        if X is not None:
            return self.net.predict(weights, X)
        return self.shaped(self.net.values(self.net.flat(weights), self.X))

    def value(self, weights: Any) -> float:
        """R(f), the loss."""
        return self.risk(self.predict(weights))

    def risk(self, f: Array) -> float:
        """R at predictions f on the data, as `predict` returns them.

        Parameters
        ----------
        f : ndarray, (n,) or (n, k)
        """
        weights = {} if self.sample_weight is None else {"weights": self.sample_weight}
        return float(self.loss.value(f, self.y, **weights))

    def gradient(self, weights: Any) -> Weights:
        """grad R in all weights; zeros below the first layer that moves."""
        out = np.empty(self.net.size)
        self.slope(self.net.flat(weights), out)
        return Weights.over(out, self.net.shapes)

    def accuracy(self, weights: Any) -> float:
        """Share of the data on the right side: of the largest output, or of the sign where there is one output.

        Raises
        ------
        InputError
            For one output and targets other than -1 and 1; for several ones and targets that are no classes: neither
            classes nor rows with one 1 among zeros or among -1.
        """
        f, y = self.predict(weights), self.y
        if f.ndim == 2:
            if (
                not self.classes
                and not (
                    (y.max(axis=1) == 1.0)
                    & ((y == 1.0).sum(axis=1) == 1)
                    & (np.ptp(np.sort(y)[:, :-1], axis=1) == 0.0)
                ).all()
            ):
                raise InputError(
                    "accuracy of several outputs needs classes, or rows y with one 1 among zeros or among -1; for "
                    "other targets see value(weights)"
                )
            right = f.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))
            return float(np.average(right, weights=self.sample_weight))
        if not (np.abs(y) == 1.0).all():
            raise InputError(
                "accuracy of one output needs labels -1 and 1; for other targets see value(weights)"
            )
        return float(np.average(f * y > 0.0, weights=self.sample_weight))

    def slope(self, flat: Array, out: Array, batch: Any = None) -> Array:
        """grad R into `out`, (P,), on all data, or on a batch that stands for all of them.

        Parameters
        ----------
        flat, out : ndarray, (P,)
        batch : tuple, optional
            X, y and the weights of their data (None where they count alike), checked.
        """
        self.net.evaluate(flat, *self._on(batch), out)
        return out

    def descend(self, flat: Array, step: float, batch: Any = None) -> None:
        """``W_l -= step rate_l grad_l R`` in place, R on all data or on a batch.

        Parameters
        ----------
        flat : ndarray, (P,)
        step : float
        batch : tuple, optional
            As of `slope`.
        """
        self.net.descend(flat, *self._on(batch), step)

    def _on(self, batch: Any) -> tuple[Array, Callable[[Array], Array]]:
        """Inputs, and the gradient of the loss as a function of their predictions."""
        X, y, weights = (self.X, self.y, self.sample_weight) if batch is None else batch
        each = {} if weights is None else {"weights": weights}
        return X, lambda f: np.asarray(self.loss.gradient(self.shaped(f), y, **each))

    def model(self, weights: Any) -> Model:
        """The network at these weights: see `Dense.model`.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        """
        return self.net.model(weights)

    def shaped(self, f: Array) -> Array:
        """Predictions (n, k) as the loss takes them, (n,) of one output."""
        return f[:, 0] if self.net.outputs == 1 else f
