"""Spikes on the torus: deconvolution of a few Diracs from low frequencies, as a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from meanfield._kernels import harmonics
from meanfield.networks.feature_map import FeaturesOnData
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Torus


@dataclass(frozen=True)
class Spikes:
    """``<Phi(s), Phi(t)> = prod_k D(s_k - t_k)``, ``D(u) = sum_{|k| <= frequencies} spectrum_|k| e^{iku}``.

    A neuron is a point theta of the torus (R / 2 pi Z)^dim; an input x is a frequency code in Z^dim, and

        Phi(theta; x) = prod_k c(theta_k; x_k),   c(t; 0) = 1, c(t; j) = sqrt 2 cos(j t), c(t; -j) = sqrt 2 sin(j t)

    (times sqrt(spectrum_|j|)), so that the vector over all codes is a real Fourier basis and any `Objective`
    serves.

    Parameters
    ----------
    dim : int
        Dimension of the torus.
    frequencies : int
        Largest frequency an axis.
    spectrum : sequence of float, optional
        Non-negative factors of frequencies 0 .. frequencies, 1 by default (the Dirichlet kernel).
    """

    dim: int
    frequencies: int
    spectrum: Sequence[float] | None = None

    outputs = 1

    def __post_init__(self) -> None:
        _check.number(self.dim, "dim", positive=True, integer=True)
        _check.number(self.frequencies, "frequencies", nonnegative=True, integer=True)
        if self.spectrum is not None:
            values = _check.array(self.spectrum, "spectrum", shape=(self.frequencies + 1,))
            if (values < 0).any():
                raise InputError("spectrum must be non-negative: it is the spectrum of a kernel")
            object.__setattr__(self, "spectrum", tuple(float(v) for v in values))

    @property
    def space(self) -> Torus:
        """Where spikes live."""
        return Torus(self.dim, 2 * np.pi)

    @cached_property
    def codes(self) -> Array:
        """All frequency codes, ((2 frequencies + 1)^dim, dim): the inputs X of deconvolution."""
        axis = np.arange(-self.frequencies, self.frequencies + 1, dtype=np.float64)
        mesh = np.meshgrid(*[axis] * self.dim, indexing="ij")
        codes = np.stack(mesh, axis=-1).reshape(-1, self.dim)
        codes.flags.writeable = False
        return codes

    @cached_property
    def _amplitude(self) -> Array:
        weight = np.ones(self.frequencies + 1) if self.spectrum is None else np.asarray(self.spectrum)
        amplitude = np.sqrt(weight[np.abs(np.arange(-self.frequencies, self.frequencies + 1))])
        amplitude[np.arange(-self.frequencies, self.frequencies + 1) != 0] *= np.sqrt(2.0)
        return amplitude

    def tables(self, positions: Array, slope: bool = False) -> list[tuple[Array, Array | None]]:
        """For each axis, c(theta_k; j) and its derivative for all codes j = -frequencies .. frequencies.

        Without `slope` the derivative is None.
        """
        amplitude = self._amplitude
        shape = (positions.shape[0], amplitude.size)
        result: list[tuple[Array, Array | None]] = []
        for k in range(self.dim):
            value, derivative = np.empty(shape), np.empty(shape)
            harmonics.fill(np.ascontiguousarray(positions[:, k]), amplitude, value, derivative)
            result.append((value, derivative if slope else None))
        return result

    def check_inputs(self, X: Any) -> Array:
        """Frequency codes as (n, dim), or one sentence; a vector is read as n codes when dim = 1."""
        codes = _check.array(X, "X", ndim=(1, 2))
        codes = codes[:, None] if codes.ndim == 1 else codes
        self._columns(codes)
        return codes

    def _columns(self, X: Any) -> list[Any]:
        codes = np.asarray(X, dtype=np.float64)
        if codes.ndim != 2 or codes.shape[1] != self.dim:
            raise InputError(
                f"X must hold frequency codes, shape (n, {self.dim}), not {codes.shape}; use spikes.codes"
            )
        if (codes != np.round(codes)).any() or (np.abs(codes) > self.frequencies).any():
            raise InputError(f"frequency codes must be integers in [-{self.frequencies}, {self.frequencies}]")
        return [codes[:, k].astype(np.int64) + self.frequencies for k in range(self.dim)]

    def features(self, positions: Any, X: Any) -> Array:
        """Phi(theta_j; x_i), (m, n)."""
        points = np.asarray(positions, dtype=np.float64)
        result: Any = 1.0
        for (value, _), column in zip(self.tables(points), self._columns(X), strict=True):
            result = result * value[:, column]
        return np.asarray(result)

    def vjp(self, positions: Any, X: Any, q: Any) -> Array:
        """sum_i q_i grad Phi(theta_j; x_i), (m, dim)."""
        points = np.asarray(positions, dtype=np.float64)
        tables, columns = self.tables(points, slope=True), self._columns(X)
        gradient = np.empty(points.shape)
        for k in range(self.dim):
            product: Any = np.asarray(q)
            for axis, ((value, derivative), column) in enumerate(zip(tables, columns, strict=True)):
                factor = derivative if axis == k else value
                assert factor is not None
                product = product * factor[:, column]
            gradient[:, k] = product.sum(axis=1)
        return gradient

    def coefficients(self, X: Any, q: Any) -> Any:
        """Complex Fourier coefficients of ``theta -> <q, Phi(theta)>``: shape (2 frequencies + 1,) * dim.

        Entry k + frequencies belongs to ``exp(i k . theta)``.
        """
        nf, side = self.frequencies, 2 * self.frequencies + 1
        table = np.zeros((side,) * self.dim, dtype=np.complex128)
        np.add.at(table, tuple(self._columns(X)), np.asarray(q, dtype=np.float64))
        basis = np.zeros((side, side), dtype=np.complex128)
        for j in range(-nf, nf + 1):
            amplitude = self._amplitude[j + nf]
            if j == 0:
                basis[nf, nf] = amplitude
            elif j > 0:
                basis[j + nf, nf + j] = basis[j + nf, nf - j] = amplitude / 2
            else:
                basis[j + nf, nf - j], basis[j + nf, nf + j] = amplitude / 2j, -amplitude / 2j
        for axis in range(self.dim):
            table = np.moveaxis(np.tensordot(table, basis, axes=(axis, 0)), -1, axis)
        return table

    def bind(self, X: Array) -> Any:
        """The operator on fixed codes; on all of them, in two dimensions or fewer, the tensor structure is used."""
        if self.dim <= 2 and X.shape == self.codes.shape and np.array_equal(X, self.codes):
            return _SpikesOnGrid(self)
        return FeaturesOnData(self, X)

    def kernel(self, s: Any, t: Any) -> Array:
        """``<Phi(s_i), Phi(t_j)>``, (len(s), len(t))."""
        return np.asarray(
            self.features(np.atleast_2d(s), self.codes) @ self.features(np.atleast_2d(t), self.codes).T
        )


class _SpikesOnGrid:
    """All frequency codes of an axis or a square: products of small tables instead of (m, n) features."""

    def __init__(self, spikes: Spikes) -> None:
        self.spikes = spikes
        self.side = 2 * spikes.frequencies + 1
        self._last: tuple[Array, list[tuple[Array, Array | None]]] | None = None

    def _tables(self, positions: Array) -> list[tuple[Array, Array | None]]:
        """Values and slopes; a velocity asks twice for the same particles, and sines are most of its cost."""
        last = self._last
        if last is None or not np.array_equal(last[0], positions):
            last = self._last = (positions.copy(), self.spikes.tables(positions, slope=True))
        return last[1]

    def integrate(self, positions: Array, coefficients: Array) -> Array:
        tables = self._tables(positions)
        first = coefficients[:, None] * tables[0][0]
        if self.spikes.dim == 1:
            return np.asarray(first.sum(axis=0))
        return np.asarray(np.einsum("ji,jk->ik", first, tables[1][0]).reshape(-1))

    def pullback(self, positions: Array, q: Array) -> tuple[Array, Array]:
        tables = self._tables(positions)
        gradient = np.empty(positions.shape)
        value, slope = tables[0]
        assert slope is not None
        if self.spikes.dim == 1:
            gradient[:, 0] = np.einsum("ji,i->j", slope, q)
            return np.einsum("ji,i->j", value, q), gradient
        square = q.reshape(self.side, self.side)
        other, other_slope = tables[1]
        assert other_slope is not None
        folded = np.einsum("ji,ik->jk", value, square)
        gradient[:, 0] = np.einsum("jk,jk->j", np.einsum("ji,ik->jk", slope, square), other)
        gradient[:, 1] = np.einsum("jk,jk->j", folded, other_slope)
        return np.einsum("jk,jk->j", folded, other), gradient
