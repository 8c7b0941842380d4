"""A two-layer network bound to data: prediction and pull-back by the strategy that suits the sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield._kernels import descend, fused, tiled
from meanfield._kernels.methods import MOST_KNOTS, Pieces, Ramp, pieces
from meanfield._kernels.passes import by_address
from meanfield._kernels.products import TwoLayerByProducts
from meanfield._kernels.relu_line import ReLUOnLine, slopes
from meanfield.activations import PiecewiseLinear, ReLU
from solvers._threads import for_blocks, thread_count
from solvers.protocols import Array

# Measured by benchmarks/thresholds.py, which can be run again on another machine.
# Inputs up to which a datum fits in registers (one output).
FUSED_UP_TO_INPUTS = 3
# Inputs from which products with BLAS are faster than tiles, ReLU or tanh alike: at (n, m) = (1000, 2000) a step costs
# 1.0 of that of tiles with 100 inputs and .75 with 200, at (200, 300) 1.2 with 200 and .87 with 400.
BLAS_FROM_INPUTS = {"float64": 150, "float32": 100}
FEW_DATA, BLAS_FROM_INPUTS_IF_FEW = 500, 300
# Bytes of activations that may be kept between prediction and pull-back: dear ones (tanh) were worth it up to twice
# this, the most that was tried. Cheap ones (ReLU) are kept only where many inputs would be multiplied again.
KEPT_BYTES = 128_000_000
KEEP_CHEAP_FROM_INPUTS = 48
# One input and two slopes: n m / (n + m) from which sorting the data pays, even for a minibatch that is used once.
LINE_FROM = 100.0
# Pairs (particle, datum) below which starting threads costs more than they save. Sizes alone decide. For ReLU with two
# inputs two threads took 1.4 times as long as one at 500_000 pairs (benchmarks/busy.py) and as long at a million.
PARALLEL_FROM_PAIRS = 800_000
# Rows of data are padded to whole vectors, two of the widest.
VECTOR_BYTES = 128


def blas_from_inputs(n: int, dtype: str) -> int:
    """The least number of inputs for which products go through BLAS, with n data."""
    least = BLAS_FROM_INPUTS[dtype]
    return max(least, BLAS_FROM_INPUTS_IF_FEW) if n < FEW_DATA else least


class TwoLayerOnData:
    """``(int Phi dmu)(x_i)`` and its pull-back for ``Phi = a sigma(w . x + b)`` on fixed inputs.

    Parameters
    ----------
    activation : plug-in
    X : ndarray, (n, d)
    outputs : int
        Number of predictions a point.
    fixed : float or None
        The outer weight, where it is not part of theta.
    bias : bool
    dtype : {"float64", "float32"}
        Precision of the arithmetic on pairs (particle, datum); arguments and results are float64.
    """

    def __init__(
        self, activation: Any, X: Array, outputs: int, fixed: float | None, bias: bool, dtype: str = "float64"
    ) -> None:
        self.activation = activation
        self.X = X
        self.XT = np.ascontiguousarray(X.T)
        self.outputs = outputs
        self.outer = 0 if fixed is not None else outputs
        self.fixed = 0.0 if fixed is None else float(fixed)
        self.bias = bias
        self.kind = np.dtype(dtype)
        self._prepare()

    def _prepare(self) -> None:
        n, d = self.X.shape
        number = self.kind.type
        self._plugin = in_precision(plain(self.activation), self.kind)
        degree = getattr(self.activation, "degree", None)
        self._degree = None if degree is None or self.outputs > 1 else number(degree)
        self._strategy: Any = None
        self._products: TwoLayerByProducts | None = None
        self._line: Any = False
        if d > FUSED_UP_TO_INPUTS and d >= blas_from_inputs(self.X.shape[0], self.kind.name):
            inputs = np.ascontiguousarray(self.X, self.kind)
            degree = None if self._degree is None else float(degree)
            self._products = TwoLayerByProducts(
                self._plugin, inputs, self.outputs, self.outer, self.fixed, self.bias, degree
            )
            return
        if d <= FUSED_UP_TO_INPUTS and self.outputs == 1:
            self._strategy = fused
        else:
            self._strategy = tiled
        self._like = (number(0),) * (d if self._strategy is fused else 1)
        self._few = None if self.outputs == 1 else (number(0),)
        self._columns = padded(n, self.kind)
        self._inputs = aligned(d, self._columns, self.kind)
        self._inputs[:d, :n] = self.X.T
        # a copy of a datum, not zeros: an activation is never asked where no datum asks it, and 0 times its NaN is NaN
        self._inputs[:d, n:] = self.X[-1][:, None]
        self._passes: Any = None
        # Made at first use and handed from call to call; a call that finds it taken makes its own.
        self._store: Any = None
        # The method in O(n + m), made at first use; False where there is none.
        self._line = None if d == 1 and self.kind == np.float64 else False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def _other(self, m: int) -> ReLUOnLine | TwoLayerByProducts | None:
        """An operator of its own for many inputs, or in O(n + m) for one, where it serves. Sizes alone decide."""
        n = self.X.shape[0]
        if self._line is False or n * m < LINE_FROM * (n + m):
            return self._products
        if self._line is None:
            fixed = None if self.outer else self.fixed
            here = slopes(self.activation) is not None
            self._line = here and ReLUOnLine(self.activation, self.X, self.outputs, fixed, self.bias)
        return self._line or None

    def _parallel(self, m: int) -> bool:
        """Whether threads may share the work: by sizes alone, lest results depend on their number."""
        return m > self._strategy.BLOCK and m * self.X.shape[0] >= PARALLEL_FROM_PAIRS

    def _for_blocks(self, work: Callable[[int, int], object], m: int) -> None:
        """Call ``work(first, last)`` on ranges of blocks of particles."""
        for_blocks(work, -(-m // self._strategy.BLOCK), self._parallel(m))

    def _settings(self) -> tuple[Any, ...]:
        return self._like, self.outer, self.bias, self.kind.type(self.fixed)

    def _compiled(self) -> tuple[Any, Any]:
        """The activation and its degree, as the kernels of the strategy want them; compiled here if need be."""
        if self._strategy is not tiled:
            return self._plugin, self._degree
        if self._passes is None:
            self._passes = by_address(self._plugin, self.kind, self._degree)
        return self._passes, None

    def _where(self, kept: Any) -> Any:
        """What is kept, as the kernels of the strategy want it."""
        if self._strategy is not tiled:
            return kept
        return (0, 0) if kept is None else (kept.ctypes.data, kept.strides[0])

    def _integrate(self, points: Array, coefficients: Array, kept: Any) -> Array:
        strategy, m, n = self._strategy, points.shape[0], self.X.shape[0]
        partial = np.empty((-(-m // strategy.BLOCK), self.outputs, self._columns), self.kind)
        masses = np.ascontiguousarray(coefficients, self.kind)
        like, *settings = self._settings()
        activation, _ = self._compiled()
        where = self._where(kept)

        def work(first: int, last: int) -> None:
            strategy.integrate(
                activation, points, masses, self._inputs, like, *settings, where, partial, first, last
            )

        self._for_blocks(work, m)
        total = partial[0, :, :n] if partial.shape[0] == 1 else partial.sum(axis=0, dtype=np.float64)[:, :n]
        result = total[0] if self.outputs == 1 else total.T
        return np.ascontiguousarray(result, np.float64)

    def _pullback(self, points: Array, q: Array, kept: Any) -> tuple[Array, Array]:
        strategy, (m, p), n = self._strategy, points.shape, self.X.shape[0]
        values, gradient = np.empty(m, self.kind), np.empty((m, p), self.kind)
        front = np.zeros((self.outputs, self._columns), self.kind)
        front[: self.outputs, :n] = q.reshape(1, -1) if self.outputs == 1 else q.T
        like, *settings = self._settings()
        groups = (like,) if strategy is fused else (like, self._few)
        activation, degree = self._compiled()
        where = self._where(kept)

        def work(first: int, last: int) -> None:
            strategy.pullback(
                activation,
                points,
                self._inputs,
                front,
                *groups,
                *settings,
                degree,
                where,
                values,
                gradient,
                first,
                last,
            )

        self._for_blocks(work, m)
        if self.kind != np.float64:
            return values.astype(np.float64), gradient.astype(np.float64)
        return values, gradient

    def integrate(self, positions: Array, coefficients: Array) -> Array:
        """``sum_j c_j Phi(theta_j; x_i)``: (n,), or (n, k) with k outputs."""
        if other := self._other(positions.shape[0]):
            return other.integrate(positions, coefficients)
        return self._integrate(np.ascontiguousarray(positions, self.kind), coefficients, None)

    def pullback(self, positions: Array, q: Array) -> tuple[Array, Array]:
        """``<q, Phi(theta_j)>`` (m,) and its gradient in theta_j (m, p), for q (n,) or (n, k)."""
        if other := self._other(positions.shape[0]):
            return other.pullback(positions, q)
        return self._pullback(np.ascontiguousarray(positions, self.kind), q, None)

    def evaluate(
        self, positions: Array, coefficients: Array, respond: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """Predictions as `integrate` has them, and the gradient of `pullback` for q = respond(predictions), (m, p).

        Cheaper than one after the other where activations are dear: they are kept in between.
        """
        if other := self._other(positions.shape[0]):
            return other.evaluate(positions, coefficients, respond)
        points = np.ascontiguousarray(positions, self.kind)
        kept, self._store = self._room(points.shape[0]), None
        raw = self._integrate(points, coefficients, kept)
        _, gradient = self._pullback(points, respond(raw), kept)
        self._store = kept
        return raw, gradient

    def descend(self, positions: Array, coefficients: Array, rule: Any, step: Any, steps: int) -> None:
        """`steps` Euler steps ``theta_j += step v_j`` in place, v_j of `Rule`, in compiled code.

        However a run is cut into calls, it ends in the same bits.

        Parameters
        ----------
        positions : ndarray, (m, p), C-contiguous
        coefficients : ndarray, (m,)
        rule : Rule
        step : float or ndarray, (steps,)
            One step size, or one a step.
        steps : int
        """
        m, n = positions.shape[0], self.X.shape[0]
        other = self._other(m)
        if other is not None and (other is self._products or np.ndim(step) == 0):
            other.descend(positions, coefficients, rule, step if np.ndim(step) else float(step), steps)
            return
        strategy = self._strategy
        blocks = -(-m // strategy.BLOCK)
        kept, self._store = self._room(m), None
        like, *settings = self._settings()
        activation, degree = self._compiled()
        problem = (
            descend.Descent(activation, rule),
            positions,
            np.ascontiguousarray(coefficients, self.kind),
            self._inputs,
            like,
            self._few,
            None if strategy is fused else (),
            *settings,
            degree,
            self._where(kept),
            np.empty((blocks, self.outputs, self._columns), self.kind),
            np.zeros((self.outputs, self._columns), self.kind),
            n,
        )
        sizes = np.atleast_1d(np.asarray(step, dtype=np.float64))

        def predict(first: int, last: int) -> None:
            descend.run(*problem, sizes, 1, False, False, first, last)

        self._for_blocks(predict, m)
        # one call for all steps where no thread could help: the same bits, without Python in between
        if self._parallel(m) and thread_count() > 1:
            for t in range(steps):
                size = sizes[t : t + 1] if sizes.size > 1 else sizes
                descend.run(*problem, size, 1, True, False, 0, 0)

                def move(first: int, last: int, size: Array = size) -> None:
                    descend.run(*problem, size, 1, False, True, first, last)

                self._for_blocks(move, m)
        else:
            descend.run(*problem, sizes, steps, True, True, 0, blocks)
        self._store = kept

    def _room(self, m: int) -> Any:
        """Where activations of m particles may be kept, or None where computing them again is cheaper."""
        if self._strategy is tiled and self._compiled()[0].ramp:
            if self._store is None or self._store.shape[0] < m:
                return aligned(*tiled.shape_of_signs(m, self._columns, self.kind), np.dtype(np.uint8))
            return self._store
        size = -(-m // 4) * 4
        if size * self._columns * self.kind.itemsize > KEPT_BYTES:
            return None
        d = self.X.shape[1]
        if self._strategy is fused and not hasattr(type(self._plugin), "slope_from_value"):
            return None
        if d < KEEP_CHEAP_FROM_INPUTS and cheap(self._plugin):
            return None
        store = self._store
        if store is None or store.shape[0] != size:
            store = aligned(size, self._columns, self.kind)
        return store


def plain(activation: Any) -> Any:
    """The activation in the form that kernels run fastest."""
    if type(activation) is ReLU and activation.slope_at_zero == 0.0:
        return Ramp()
    if type(activation) is PiecewiseLinear and len(activation.knots) <= MOST_KNOTS:
        return pieces(np.asarray(activation.knots, dtype=np.float64))
    return activation


def in_precision(activation: Any, kind: Any) -> Any:
    """The activation with its numbers in the precision of the kernels (a float64 among them would raise it)."""
    if kind == np.float64:
        return activation
    return type(activation)(
        *(
            kind.type(v)
            if isinstance(v, float)
            else v.astype(kind)
            if getattr(v, "dtype", None) == np.float64
            else v
            for v in activation
        )
    )


def cheap(activation: Any) -> bool:
    """Whether computing sigma again takes a few operations: homogeneous ones have no exponential."""
    return getattr(activation, "degree", None) is not None or isinstance(activation, (Ramp, Pieces))


def group_of(rows: int) -> int:
    """Zeros in the types of small programs in tiles, whatever the number of inputs: more than fused.py would have."""
    return FUSED_UP_TO_INPUTS + 1


def padded(n: int, kind: Any) -> int:
    """Columns of rows for n data: whole vectors, and not a multiple of 4096 bytes, which caches would confuse."""
    step = VECTOR_BYTES // kind.itemsize
    columns = -(-n // step) * step
    return columns + step if columns * kind.itemsize % 4096 == 0 else columns


def aligned(rows: int, columns: int, kind: Any) -> Array:
    """Zeros (rows, columns) that start on a cache line."""
    room = np.zeros(rows * columns + 64 // kind.itemsize, kind)
    start = (-room.ctypes.data % 64) // kind.itemsize
    return room[start : start + rows * columns].reshape(rows, columns)


def warmup(progress: Any = None) -> int:
    """Compile (or load from the cache) the kernels of the commonest activations; returns how many calls it made.

    Parameters
    ----------
    progress : callable, optional
        Called with a short text before each compilation.
    """
    from meanfield import activations

    if progress is not None:
        progress("ReLU, on a line")
    one_input = TwoLayerOnData(activations.ReLU(), np.linspace(-1.0, 1.0, 256)[:, None], 1, None, True)
    one_input.evaluate(np.ones((256, 3)), np.ones(256), lambda raw: raw)
    plugins: list[Any] = [activations.ReLU(), activations.Tanh(), activations.Sigmoid()]
    calls = 1
    for plugin in plugins:
        for d, name in ((2, "registers"), (10, "tiles"), (BLAS_FROM_INPUTS_IF_FEW, "BLAS")):
            if progress is not None:
                progress(f"{type(plugin).__name__}, {name}")
            data = TwoLayerOnData(plugin, np.ones((8, d)), 1, None, True)
            data.evaluate(np.ones((4, d + 2)), np.ones(4), lambda raw: raw)
            calls += 1
    return calls
