"""Any differentiable model at one value of its parameters: all that a comparison of regimes asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# Bytes of gradients held for one block of points.
BLOCK_BYTES = 128_000_000


@dataclass(frozen=True, eq=False)
class Model:
    """A model with its parameters: predictions, and the gradient of each in the parameters.

    Parameters
    ----------
    predict : callable
        ``predict(X)``: (n,) or (n, k).
    gradients : callable
        ``gradients(X)``: gradients of the predictions at each point, (n, P) or (n, k, P).
    parameters : array_like, (P,), optional
        For how far they moved.
    inner : optional
        What selects the inner weights among the parameters (a slice, or indices), for their relative distance.
    at : callable, optional
        ``at(parameters)``: the `Model` at other values (P,) of the parameters, for what takes steps (`elasticity`).
        `parametrized` makes it from functions of the parameters.
    tangent : callable, optional
        ``tangent(X, Z)``: the kernel ``<grad f(x), grad f(z)>``, (n k, m k), where there is a cheaper way to it than
        gradients; Z may be None, for X.
    active : callable, optional
        ``active(X)``: which units are active at which points, an array of booleans (n, units), for how many flip.
    """

    predict: Callable[[Any], Any]
    gradients: Callable[[Any], Any]
    parameters: Any = None
    inner: Any = None
    at: Callable[[Array], Model] | None = None
    tangent: Callable[[Any, Any], Any] | None = None
    active: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        for name in ("predict", "gradients"):
            if not callable(getattr(self, name)):
                hint = "; pass net.model(weights)" if hasattr(getattr(self, name), "model") else ""
                raise InputError(f"{name} must be a function of X, not {getattr(self, name)!r}{hint}")
        if self.parameters is not None:
            values = _check.array(self.parameters, "parameters", ndim=1).copy()
            object.__setattr__(self, "parameters", values)
            if self.inner is not None:
                try:
                    chosen = values[self.inner]
                except (IndexError, TypeError):
                    raise InputError(
                        f"inner must select some of the {values.size} parameters (a slice, or indices)"
                    ) from None
                if np.size(chosen) == 0:
                    raise InputError("inner selects none of the parameters")

    @classmethod
    def parametrized(
        cls,
        predict: Callable[[Array, Any], Any],
        gradients: Callable[[Array, Any], Any],
        parameters: Any,
        inner: Any = None,
    ) -> Model:
        """The model of functions of parameters and points, which can be taken at other parameters.

        Parameters
        ----------
        predict, gradients : callable
            ``predict(parameters, X)`` and ``gradients(parameters, X)``, with values as those of a `Model`.
        parameters : array_like, (P,)
        inner : optional
            As of a `Model`.
        """
        for name, part in (("predict", predict), ("gradients", gradients)):
            if not callable(part):
                raise InputError(f"{name} must be a function of (parameters, X), not {part!r}")
        values = _check.array(parameters, "parameters", ndim=1).copy()

        def at(other: Array) -> Model:
            return cls.parametrized(predict, gradients, other, inner)

        return cls(lambda X: predict(values, X), lambda X: gradients(values, X), values, inner, at)

    def values(self, X: Any) -> Array:
        """Predictions, (n,) or (n, k), checked."""
        found = _check.array(self.predict(X), "what predict returned", ndim=(1, 2))
        if found.shape[0] != len(X):
            raise InputError(f"predict must return a row for each of the {len(X)} points, not {found.shape}")
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    def rows(self, X: Any) -> Array:
        """Gradients, (n k, P), checked."""
        found = _check.array(self.gradients(X), "what gradients returned", ndim=(2, 3))
        if found.shape[0] != len(X):
            raise InputError(
                f"gradients must return a row for each of the {len(X)} points, not {found.shape}"
            )
        return found.reshape(-1, found.shape[-1])

    def kernel(self, X: Any, Z: Any = None, block_bytes: int = BLOCK_BYTES) -> Array:
        """``<grad f(x), grad f(z)>``, (n k, m k), in blocks of points.

        Parameters
        ----------
        X : array, (n, ...)
        Z : array, (m, ...), optional
            X by default.
        block_bytes : int
            Memory for the gradients of a block, about.
        """
        if self.tangent is not None:
            return np.asarray(self.tangent(X, Z))
        first = self.rows(X[:1])
        outputs, size = first.shape[0], max(1, block_bytes // max(1, first.nbytes))
        other = X if Z is None else Z
        kernel = np.empty((len(X) * outputs, len(other) * outputs))
        with one_blas_thread():
            for low in range(0, len(X), size):
                left = self.rows(X[low : low + size])
                mine = slice(low * outputs, low * outputs + left.shape[0])
                for start in range(low if Z is None else 0, len(other), size):
                    right = left if Z is None and start == low else self.rows(other[start : start + size])
                    theirs = slice(start * outputs, start * outputs + right.shape[0])
                    kernel[mine, theirs] = left @ right.T
                    if Z is None:
                        kernel[theirs, mine] = kernel[mine, theirs].T
        return kernel


def as_model(part: Any, name: str) -> Model:
    """A `Model`, or a pair of functions as one."""
    if isinstance(part, Model):
        return part
    if isinstance(part, tuple) and len(part) in (2, 3):
        return Model(*part)
    raise InputError(
        f"{name} must be a mf.diagnostics.Model or a pair of functions (predict, gradients), not {type(part).__name__}"
    )


def from_torch(module: Any, inner: Any = None) -> Model:
    """A torch module as it is now, as a `Model`: parameters are copied, training may go on.

    Dropout and the like are taken in evaluation mode. Gradients are those of parameters with ``requires_grad``, point
    by point (``torch.func``).

    Parameters
    ----------
    module : torch.nn.Module
        From a batch (n, ...) to (n,), (n, 1) or (n, k).
    inner : str or sequence of str, optional
        Names of the parameters that are inner weights, such as ``"0.weight"``.

    Raises
    ------
    InputError
        Without torch, or for names that the module does not have.
    """
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise InputError("from_torch needs torch, which is not installed: pip install torch") from None
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    import copy

    held = copy.deepcopy(module).eval()
    start = {name: p.detach().clone() for name, p in held.named_parameters() if p.requires_grad}
    if not start:
        raise InputError("the module has no parameters with requires_grad")
    some = next(iter(start.values()))
    names = list(start)
    sizes = [start[name].numel() for name in names]
    chosen = None
    if inner is not None:
        wanted = [
            _check.choice(name, "a parameter in inner", names)
            for name in ((inner,) if isinstance(inner, str) else inner)
        ]
        marks = [np.full(size, name in wanted) for name, size in zip(names, sizes, strict=True)]
        chosen = np.flatnonzero(np.concatenate(marks))

    def call(parameters: Any, batch: Any) -> Any:
        return torch.func.functional_call(held, parameters, (batch,))

    def one(parameters: Any, x: Any) -> Any:
        return call(parameters, x[None]).reshape(-1)

    def tensor(X: Any) -> Any:
        return torch.as_tensor(np.asarray(X), dtype=some.dtype, device=some.device)

    def named(parameters: Array) -> dict[str, Any]:
        parts = np.split(parameters, np.cumsum(sizes)[:-1])
        return {
            name: torch.as_tensor(part, dtype=start[name].dtype, device=start[name].device).reshape(
                start[name].shape
            )
            for name, part in zip(names, parts, strict=True)
        }

    def predict(parameters: Array, X: Any) -> Array:
        with torch.no_grad():
            found = call(named(parameters), tensor(X))
        return np.asarray(found.reshape(len(X), -1).cpu().numpy(), dtype=np.float64)

    def gradients(parameters: Array, X: Any) -> Array:
        jacobian = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(named(parameters), tensor(X))
        parts = [jacobian[name].detach().flatten(start_dim=2) for name in names]
        return np.asarray(torch.cat(parts, dim=2).cpu().numpy(), dtype=np.float64)

    flat = np.concatenate([start[name].cpu().numpy().reshape(-1) for name in names]).astype(np.float64)
    return Model.parametrized(predict, gradients, flat, chosen)
