"""Layers one after the other, residual branches, and their kernels on points, in blocks of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from meanfield.kernels._pairs import mirror
from meanfield.kernels.deep.affine import Conv, Dense
from meanfield.kernels.deep.nonlinear import Activation
from meanfield.kernels.deep.pairs import Form, Pairs, first, same
from meanfield.kernels.deep.pooling import AvgPool, Flatten, GlobalPool
from meanfield.kernels.deep.prediction import Prediction, predict
from solvers import _check
from solvers._memory import fits, machine_bytes
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# Tables of the size of S that a layer holds at a time: S and T before and after, padded ones, what they are made from.
TABLES = 9
# Sizes of inputs whose squares keep all their digits.
SMALLEST = 1e-152
# Bytes of the pairs at work at a time: near the processor.
BLOCK_BYTES = 8_000_000


def serial(*layers: Any) -> Serial:
    """Layers one after the other, called as ``S, T = serial(...)(X, Z)``.

    Parameters
    ----------
    *layers : Dense, Conv, ReLU, Erf, AvgPool, GlobalPool, Flatten, Residual or Serial
        From the inputs to the outputs.

    Raises
    ------
    InputError

    Examples
    --------
    >>> import numpy as np
    >>> from meanfield.kernels.deep import Dense, ReLU, serial
    >>> S, T = serial(Dense(), ReLU(), Dense(), ReLU(), Dense())(np.eye(3))
    >>> T.diagonal()  # 2 (L + 1)|x|^2/d
    array([2., 2., 2.])
    """
    return Serial(tuple(layers))


@dataclass(frozen=True)
class Serial:
    """Layers one after the other; made by `serial`.

    Parameters
    ----------
    layers : sequence of layers
    """

    layers: tuple[Any, ...]

    def __post_init__(self) -> None:
        flat: list[Any] = []
        if not isinstance(self.layers, (list, tuple)):
            raise InputError(
                f"layers must be a sequence of them, as serial(Dense(), ReLU()) makes, not {self.layers!r}"
            )
        for layer in self.layers:
            flat += layer.layers if isinstance(layer, Serial) else [layer]
        if not flat:
            raise InputError("serial() needs one layer at least, such as serial(Dense(), ReLU(), Dense())")
        for layer in flat:
            if type(layer) in (list, tuple):
                raise InputError(
                    "layers are given one by one, serial(Dense(), ReLU()) or serial(*layers), not in a list"
                )
            if not isinstance(layer, (Activation, AvgPool, Conv, Dense, Flatten, GlobalPool, Residual)):
                kind = layer if isinstance(layer, type) else type(layer)
                place = f", of {kind.__module__}" if kind.__module__ != "builtins" else ""
                what = (
                    f"the class {kind.__name__}; pass an instance" if layer is kind else f"{layer!r}{place}"
                )
                raise InputError(
                    "layers must be those of mf.kernels.deep, such as mf.kernels.deep.Dense() or "
                    f"mf.kernels.deep.ReLU(), not {what}"
                )
        object.__setattr__(self, "layers", tuple(flat))

    def __repr__(self) -> str:
        return f"serial({', '.join(map(repr, self.layers))})"

    def __call__(self, X: Any, Z: Any = None, block_bytes: int = BLOCK_BYTES) -> tuple[Array, Array]:
        """``S(x, z)``, the covariance of the outputs, and ``T(x, z)``, the tangent kernel of all weights, both (n, m).

        Of one output; different outputs are independent and have the same. Time goes with pairs of points times
        positions; where a layer pools, times pairs of positions.

        Parameters
        ----------
        X : array_like, (n, d), (n, length, channels) or (n, height, width, channels)
            Images of one channel need its axis too, ``X[..., None]``: without it, columns would be channels.
        Z : array_like, (m, ...), optional
            X by default; both matrices are then exactly symmetric.
        block_bytes : int
            Memory for the pairs at work, at least one.

        Raises
        ------
        InputError
        """
        points = _check.array(X, "X", ndim=(2, 3, 4))
        Z = None if Z is X else Z
        others = points if Z is None else _check.array(Z, "Z", ndim=(2, 3, 4))
        if others.shape[1:] != points.shape[1:]:
            raise InputError(
                f"X and Z must hold points of one shape, but X is {points.shape} and Z is {others.shape}"
            )
        _refuse_underflow(points, "X")
        _refuse_underflow(others, "X" if Z is None else "Z")
        grid = points.shape[1:-1]
        behind = self.form(Form(grid, False))
        if behind.grid:
            raise InputError(
                f"the outputs still have positions {behind.grid}; end with Flatten() or GlobalPool(), then Dense()"
            )
        memory = _check.number(block_bytes, "block_bytes", positive=True, integer=True)
        pair = self._pair_bytes(grid)
        _refuse_too_large(len(points), len(others), pair, grid, self.pools)
        size = max(1, int(np.sqrt(memory / pair)))
        return self._blocks(points, None if Z is None else others, size)

    def predict(self, X: Any, y: Any, X_new: Any, t: Any = np.inf, reduction: str = "mean") -> Prediction:
        """Mean and variance over starts of the infinitely wide net that has followed gradient flow for a time t.

        Of the squared loss, on all weights, from random ones: ``f(t, x) = f0(x) + A (y - f0(X))`` with
        ``A = T(x, X) T^-1 (1 - e^(-T t/n))``, so that the mean is ``A y`` and the variance
        ``S(x, x) - 2 A S(X, x) + A S(X, X) A'``. Outputs are independent, and train as if alone.

        Parameters
        ----------
        X : array_like, (n, ...)
        y : array_like, (n,) or (n, k)
        X_new : array_like, (points, ...)
        t : float
            Non-negative; inf for the limit. As of `mf.kernels.flow`.
        reduction : {"mean", "sum"}
            Of the loss ``1/2 (f - y)^2``; "sum" has no 1/n.

        Raises
        ------
        InputError
            A warning where points coincide and their labels differ: the mean there goes to that of the labels.

        References
        ----------
        Lee et al., "Wide neural networks of any depth evolve as linear models", 2019 (1902.06720).
        """
        return predict(self, X, y, X_new, t, reduction)

    def variance(self, X: Any) -> Array:
        """``S(x, x)`` of each point alone, (n,).

        Parameters
        ----------
        X : array_like, (n, ...)
        """
        points = _check.array(X, "X", ndim=(2, 3, 4))
        self(points[:1])  # what does not fit is refused as ever
        grid, found = points.shape[1:-1], np.empty(len(points))
        size = max(1, int(BLOCK_BYTES / self._pair_bytes(grid)))
        for low in range(0, len(points), size):
            some = points[low : low + size]
            # along the way to S(x, z) for any one z
            with np.errstate(over="ignore", invalid="ignore"):
                found[low : low + size] = self.move(first(some, some[:1], self.pools, ([0], [0]))).left
            _refuse_overflow(some, some, found[low : low + size])
        return found

    @one_blas_thread()
    def _blocks(self, X: Array, other: Array | None, size: int) -> tuple[Array, Array]:
        """S and T, `size` times `size` pairs at a time; of X with itself only the upper triangle is computed."""
        Z = X if other is None else other
        rows, columns = same(X, Z)
        S, T = np.empty((len(X), len(Z))), np.empty((len(X), len(Z)))
        for low in range(0, len(X), size):
            for start in range(0 if other is not None else low, len(Z), size):
                part = slice(low, low + size), slice(start, start + size)
                equal = np.nonzero(rows[part[0], None] == columns[part[1]])
                with np.errstate(over="ignore", invalid="ignore"):
                    made = self.move(first(X[part[0]], Z[part[1]], self.pools, equal))
                # sizes of single points too: where only those overflow, angles would be wrong, and finite
                _refuse_overflow(X[part[0]], Z[part[1]], made.S, made.T, made.left, made.right)
                S[part], T[part] = made.S, made.T
        if other is None:
            mirror(S)
            mirror(T)
        return S, T

    @property
    def pools(self) -> bool:
        """Whether all pairs of positions are needed, not only equal ones."""
        return any(layer.pools for layer in self.layers)

    @property
    def nested(self) -> int:
        """Residual branches inside one another."""
        return max(1 + layer.branch.nested if isinstance(layer, Residual) else 0 for layer in self.layers)

    def _pair_bytes(self, grid: tuple[int, ...]) -> float:
        """Memory at work for one pair of points; a branch keeps S and T of what it is added to."""
        return 8.0 * (TABLES + 2 * self.nested) * prod(grid) ** (2 if self.pools else 1)

    def form(self, form: Form) -> Form:
        """What is behind the last layer, or one sentence about the first that does not fit.

        Parameters
        ----------
        form : Form
            Positions of the data, and whether they are Gaussian values.
        """
        for i, layer in enumerate(self.layers):
            try:
                form = layer.form(form)
            except InputError as error:
                if len(self.layers) == 1:
                    raise
                raise InputError(f"layer {i} does not fit: {error}") from None
        return form

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind the last layer.

        Parameters
        ----------
        pairs : Pairs
            Those before the first.
        """
        for layer in self.layers:
            pairs = layer.move(pairs).pinned()
        return pairs


@dataclass(frozen=True)
class Residual:
    """``h + scale branch(h)``: S and T of the branch times scale^2 are added to those of h.

    Parameters
    ----------
    *branch : layers
        They keep the positions, and the last of them is Dense or Conv, or that and Residuals behind it: its own
        weights, of mean zero, make the branch uncorrelated with h.
    scale : float

    Raises
    ------
    InputError

    Examples
    --------
    >>> from meanfield.kernels.deep import Dense, ReLU, Residual, serial
    >>> network = serial(Dense(), Residual(ReLU(), Dense(), scale=0.5), ReLU(), Dense())
    """

    branch: Serial
    scale: float

    def __init__(self, *branch: Any, scale: float = 1.0) -> None:
        if not branch:
            raise InputError("a Residual needs a branch, such as Residual(ReLU(), Dense())")
        whole = serial(*branch)
        # what Residuals at its end add is uncorrelated by its own weights, but they keep what comes before them
        last = next((layer for layer in reversed(whole.layers) if not isinstance(layer, Residual)), None)
        if last is None:
            raise InputError(
                "the branch of a Residual must not be Residuals only, which hand on what they are added to; put Dense "
                "or Conv before them"
            )
        if not isinstance(last, (Conv, Dense)):
            raise InputError(
                "the branch of a Residual must end with Dense or Conv, whose weights make it uncorrelated with what it "
                f"is added to, not with {last!r}"
            )
        object.__setattr__(self, "branch", whole)
        object.__setattr__(self, "scale", _check.number(scale, "scale"))

    def __repr__(self) -> str:
        return f"Residual({', '.join(map(repr, self.branch.layers))}, scale={self.scale:g})"

    @property
    def pools(self) -> bool:
        """Whether the branch pools."""
        return self.branch.pools

    def form(self, form: Form) -> Form:
        """The `form` before it, which the branch keeps."""
        try:
            behind = self.branch.form(form)
        except InputError as error:
            raise InputError(f"in its branch, {error}") from None
        if behind.grid != form.grid:
            raise InputError(
                f"the branch of a Residual must keep positions {form.grid}, but they are {behind.grid} behind it"
            )
        return form

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        branch, square = self.branch.move(pairs), self.scale * self.scale
        return replace(
            pairs,
            S=pairs.S + square * branch.S,
            T=pairs.T + square * branch.T,
            left=pairs.left + square * branch.left,
            right=pairs.right + square * branch.right,
        )


def _refuse_overflow(X: Array, Z: Array, *kernels: Array) -> None:
    if not all(np.isfinite(K).all() for K in kernels):
        raise InputError(
            f"kernels overflow at points with values up to {max(np.abs(X).max(), np.abs(Z).max()):.3g}; divide the "
            "inputs by their size, or take smaller w_var, b_var and scale"
        )


def _refuse_underflow(points: Array, name: str) -> None:
    largest = np.abs(points).max()
    if 0.0 < largest < SMALLEST:
        raise InputError(
            f"{name} has values up to {largest:.3g} only, whose squares are lost; divide the inputs by their size"
        )


def _refuse_too_large(n: int, m: int, pair: float, grid: tuple[int, ...], pools: bool) -> None:
    """Kernels that cannot be held are refused before anything is computed."""
    have = f"this machine has {machine_bytes() / 2**30:,.1f}"
    if not fits(16.0 * n * m):
        raise InputError(
            f"S and T of {n:,} times {m:,} points take {16.0 * n * m / 2**30:,.1f} GiB, and {have}; take fewer points, "
            "or blocks of them, layers(X[:1000], Z), and use each before the next"
        )
    if not fits(pair):
        why = "all pairs of positions, which pooling needs" if pools else "all positions"
        raise InputError(
            f"one pair of points with positions {grid} takes {pair / 2**30:,.1f} GiB for {why}, and {have}; "
            + ("end with Flatten() instead of pooling, or take" if pools else "take")
            + " means of the inputs over patches first"
        )
