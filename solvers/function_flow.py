"""A plain velocity function as a flow, and pairwise interactions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from solvers import _check
from solvers._finite_difference import DifferenceLinearization
from solvers.errors import InputError, PluginError
from solvers.protocols import Array, FlowKind
from solvers.provenance import describe_function


class FunctionFlow:
    """``dx/dt = f(x)`` or ``dx/dt = f(t, x)`` for a plain function and arrays of any shape.

    ``solvers.integrate`` wraps a function in this by itself; make one to say more about it::

        import numpy as np
        import solvers

        run = solvers.integrate(lambda x: -x, np.array([1.0, 2.0]), t_end=1.0)      # array in, arrays out
        flow = solvers.FunctionFlow(lambda t, x: np.sin(t) - np.sign(x), smooth=False)
        run = solvers.integrate(flow, np.ones((4, 2)), t_end=5.0)

        attraction = solvers.pairwise(lambda r: -r * np.exp(-(r**2).sum(-1, keepdims=True)))
        cloud = np.random.default_rng(0).normal(size=(300, 2))
        run = solvers.integrate(attraction, cloud, t_end=5.0)

    Parameters
    ----------
    function : callable
        ``f(x)`` or ``f(t, x)``, returning an array of the shape of x; with ``out=True`` it has a last argument more,
        the array to fill (in the shape of x), and its return value is ignored.
    time_dependent : bool, optional
        Whether t is the first argument; by default read off the signature.
    project : callable, optional
        ``project(x) -> x`` after every accepted step (wrap a torus, retract to a sphere); it may change x in place
        and return None. It must be idempotent.
    smooth : bool
        False if f jumps: then the error control does not insist on resolving kinks.
    jit : bool
        Compile f with ``numba.njit`` (a function that is compiled already needs nothing).
    out : bool
        The function fills an argument.

    Raises
    ------
    PluginError
        On first use, in words: a wrong shape, not an array of real numbers, NaN at the initial state, an argument
        changed in place, or arguments in the order (x, t).
    """

    kind: FlowKind = "ode"

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        time_dependent: bool | None = None,
        project: Callable[[Array], Any] | None = None,
        smooth: bool = True,
        jit: bool = False,
        out: bool = False,
    ) -> None:
        if not callable(function):
            raise InputError(f"function must be callable, not {type(function).__name__}")
        if project is not None and not callable(project):
            raise InputError(f"project must be callable, not {type(project).__name__}")
        self.function = function
        self.time_dependent = _takes_time(function, out) if time_dependent is None else bool(time_dependent)
        self.smooth = bool(smooth)
        self.out = bool(out)
        self._project = project
        self._call: Callable[..., Any] = function
        if jit:
            import numba

            try:
                self._call = numba.njit(function)
            except TypeError as problem:
                raise PluginError(f"{_name(function)} cannot be compiled by numba: {problem}") from None
        self._jit = bool(jit)

    def prepare(self, state: Any) -> _BoundFunctionFlow:
        """The flow bound to states of the shape of `state`, where the function is checked."""
        return _BoundFunctionFlow(self, _check.array(state, "state", empty=False).shape)

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance and checkpoints."""
        return {
            "flow": type(self).__name__,
            **describe_function(self.function),
            "time_dependent": self.time_dependent,
            "smooth": self.smooth,
            "project": None if self._project is None else describe_function(self._project),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_name(self.function)}, smooth={self.smooth})"


class _BoundFunctionFlow:
    """A `FunctionFlow` for one shape."""

    kind: FlowKind = "ode"

    def __init__(self, flow: FunctionFlow, shape: tuple[int, ...]) -> None:
        self.flow = flow
        self.shape = shape
        self.smooth = flow.smooth
        self.time_dependent = flow.time_dependent
        self._checked = False
        if flow._project is not None:
            self.project = self._apply_projection
        # Offered only where differences are derivatives: methods ask by the name.
        if self.smooth:
            self.linearize = self._linearize

    def _linearize(self, t: float, z: Array) -> DifferenceLinearization:
        """The Jacobian of the velocity at (t, z), by central differences along what it is multiplied with."""
        return DifferenceLinearization(self, t, z)

    def pack(self, state: Any) -> Array:
        x = _check.array(state, "state")
        if x.shape != self.shape:
            raise InputError(f"state must have shape {self.shape}, but its shape is {x.shape}")
        return x.reshape(-1).copy()

    def unpack(self, z: Array, like: Any) -> Array:
        return z.reshape(self.shape).copy()

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        if not self._checked:
            self._check(t, z)
        x = z.reshape(self.shape)
        time = (t,) if self.flow.time_dependent else ()
        if self.flow.out:
            self.flow._call(*time, x, out.reshape(self.shape))
        else:
            np.copyto(out.reshape(self.shape), self._shaped(self.flow._call(*time, x)))
        return out

    def _shaped(self, v: Any) -> Any:
        if np.shape(v) != self.shape:
            raise PluginError(
                f"{_name(self.flow.function)} returned shape {np.shape(v)}, but the state has shape {self.shape}"
            )
        return v

    def _check(self, t: float, z: Array) -> None:
        flow, name = self.flow, _name(self.flow.function)
        time = (t,) if flow.time_dependent else ()
        x = z.reshape(self.shape).copy()
        filled = np.full(self.shape, np.nan)
        try:
            value = flow._call(*time, x, filled) if flow.out else flow._call(*time, x)
        except TypeError as problem:
            if type(problem).__module__.startswith("numba"):
                raise PluginError(f"{name} cannot be compiled by numba: {_first_line(problem)}") from problem
            if problem.__traceback__ is not None and problem.__traceback__.tb_next is None:
                shown = ", ".join(("t",) * bool(time) + ("x",) + ("out",) * flow.out)
                raise PluginError(f"{name} must be callable as f({shown}): {problem}") from None
            raise
        except Exception as problem:
            if type(problem).__module__.startswith("numba"):
                raise PluginError(f"{name} cannot be compiled by numba: {_first_line(problem)}") from problem
            raise
        if not np.array_equal(x, z.reshape(self.shape), equal_nan=True):
            raise PluginError(
                f"{name} changes its argument x in place; it must leave x alone and return the velocity"
            )
        if flow.out:
            value = filled
        elif value is None:
            raise PluginError(
                f"{name} returned None; return the velocity, or say out=True if it fills an argument"
            )
        dtype = np.asarray(value).dtype
        if dtype.kind not in "fiub":
            raise PluginError(f"{name} must return real numbers, not {dtype}")
        self._shaped(value)
        if not np.isfinite(value).all() and np.isfinite(z).all():
            hint = " (with out=True every entry of the argument must be filled)" if flow.out else ""
            raise PluginError(f"{name} returned NaN or infinity at t = {t:g}, where x is finite{hint}")
        self._checked = True

    def _apply_projection(self, z: Array) -> bool:
        assert self.flow._project is not None
        x = z.reshape(self.shape).copy()
        moved = self.flow._project(x)
        if moved is None:
            moved = x
        if np.shape(moved) != self.shape:
            raise PluginError(
                f"project returned shape {np.shape(moved)}, but the state has shape {self.shape}"
            )
        before = z.reshape(self.shape)
        if np.array_equal(moved, before):
            return False
        before[...] = moved
        return True


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _first_line(problem: BaseException) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1] if lines else type(problem).__name__


def _takes_time(function: Any, out: bool) -> bool:
    """Whether `function` is f(t, x): read off the number of required arguments."""
    try:
        signature = inspect.signature(getattr(function, "py_func", function))
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in positional and p.default is p.empty]
    if out and names:
        names = names[:-1]
    if len(names) == 2 and names[1] in ("t", "time") and names[0] not in ("t", "time"):
        raise PluginError(
            f"{_name(function)}({', '.join(names)}) has time last; here it comes first: f(t, x)"
        )
    if len(names) > 2:
        raise PluginError(f"{_name(function)} needs {len(names)} arguments; a velocity is f(x) or f(t, x)")
    return len(names) == 2


def pairwise(
    kernel: Callable[[Array], Array],
    *,
    external: Callable[[Array], Array] | None = None,
    period: float | None = None,
    exclude_self: bool = False,
    block: int | None = None,
    smooth: bool = True,
) -> FunctionFlow:
    r"""Interacting particles, ``dx_i/dt = (1/m) sum_j K(x_j - x_i) + external(x_i)``.

    Parameters
    ----------
    kernel : callable
        K, applied to an array of displacements of shape (k, m, p), returning the same shape.
    external : callable, optional
        A velocity field of its own, (m, p) -> (m, p).
    period : float, optional
        Displacements are taken on the torus of this period (in [-period/2, period/2]); positions are not wrapped.
    exclude_self : bool
        Leave out j = i (for kernels that are singular at 0); the factor stays 1/m.
    block : int, optional
        Particles whose sums are formed together: memory is O(block m p). By default about 2^18 numbers.
    smooth : bool
        False if K or `external` jumps.

    Returns
    -------
    FunctionFlow
        For states of shape (m, p).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> flow = solvers.pairwise(lambda r: r)
    >>> run = solvers.integrate(flow, np.array([[0.0], [2.0]]), t_end=1.0, method=solvers.RK4(step=0.01))
    >>> bool(abs(run.final[1, 0] - run.final[0, 0] - 2 * np.exp(-1)) < 1e-9)
    True
    """
    if not callable(kernel):
        raise InputError(f"kernel must be callable, not {type(kernel).__name__}")
    if external is not None and not callable(external):
        raise InputError(f"external must be callable, not {type(external).__name__}")
    if period is not None:
        period = _check.number(period, "period", positive=True)
    if block is not None and _check.number(block, "block", integer=True) < 1:
        raise InputError(f"block must be at least 1, not {block}")

    def velocity(x: Array) -> Array:
        if x.ndim != 2:
            raise PluginError(f"a pairwise flow moves states of shape (particles, dim), not {x.shape}")
        m, p = x.shape
        rows = block if block is not None else max(1, 2**18 // max(1, m * p))
        v = np.empty_like(x)
        for start in range(0, m, rows):
            stop = min(start + rows, m)
            displacement = x[None, :, :] - x[start:stop, None, :]
            if period is not None:
                displacement -= period * np.round(displacement / period)
            force = kernel(displacement)
            if np.shape(force) != displacement.shape:
                raise PluginError(
                    f"kernel must return the shape of the displacements {displacement.shape}, not {np.shape(force)}"
                )
            if exclude_self:
                force = np.array(force, dtype=np.float64)
                force[np.arange(stop - start), np.arange(start, stop)] = 0.0
            v[start:stop] = np.sum(force, axis=1) / m
        if external is not None:
            v += external(x)
        return v

    velocity.__name__ = f"pairwise({_name(kernel)})"
    return FunctionFlow(velocity, time_dependent=False, smooth=smooth)
