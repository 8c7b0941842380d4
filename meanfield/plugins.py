"""Plug-ins checked on first use: a wrong slope, shape or NaN is a `PluginError` in words, before any computing."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from solvers._fingerprint import fingerprint, first_fingerprint
from solvers._jit import METHODS, is_ours
from solvers.errors import PluginError
from solvers.losses import compiled_weights
from solvers.protocols import Array

# Points away from round numbers, where user-defined kinks usually sit.
POINTS = np.array([-7.13, -2.31, -1.07, -0.613, -0.117, 0.0903, 0.419, 0.887, 1.73, 3.29, 6.37])
_accepted: dict[Any, bool] = {}


def key(plugin: Any) -> Any:
    """Identity of a plug-in: its class and the bytes of its fields (NamedTuples of two classes compare equal)."""
    fields = tuple(plugin) if isinstance(plugin, tuple) else tuple(sorted(vars(plugin).items()))
    return (
        type(plugin),
        *((x.dtype.str, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else repr(x) for x in fields),
    )


def name(plugin: Any) -> str:
    return type(plugin).__name__


def check_activation(activation: Any) -> bool:
    """Check an activation once; True if its methods compile, False if plain Python must serve.

    Raises
    ------
    PluginError
        Not a NamedTuple with fields, a method missing, a value that is not one real number, a NaN or infinity
        at moderate arguments, a slope that is not the derivative of the value, or compiled code that
        disagrees with plain Python.
    """
    if (
        not isinstance(activation, tuple)
        or not hasattr(activation, "_fields")
        or not hasattr(activation, "value")
        or not hasattr(activation, "slope")
    ):
        raise PluginError(
            f"activation {activation!r} must be a NamedTuple instance with methods value(self, z) and "
            "slope(self, z), such as meanfield.Tanh()"
        )
    if not activation._fields:
        raise PluginError(
            f"{name(activation)} has no fields; give it at least one (gain: float = 1.0), compiled code needs it"
        )
    ours = is_ours(type(activation))
    if not ours:
        first_fingerprint(type(activation), METHODS)  # before the checks compile what it calls
    # A global constant of the user's script may have changed since the class was checked.
    identity = (key(activation), None if ours else fingerprint(type(activation), METHODS))
    if identity not in _accepted:
        _check_derivative(activation, "slope", "value")
        _check_shortcut(activation, "slope")
        curved = hasattr(activation, "curvature") or hasattr(activation, "curvature_from_value")
        if curved and getattr(activation, "smooth", True):
            _check_derivative(activation, "curvature", "slope")
            _check_shortcut(activation, "curvature")
        # Compiled code of our own is compared with plain Python by the tests, not in every process.
        _accepted[identity] = ours or _compiles(activation)
    return _accepted[identity]


def _evaluate(activation: Any, method: str, z: float) -> float:
    what = f"{name(activation)}.{method}({z:.4g})"
    try:
        result = getattr(activation, method)(z)
    except Exception as error:
        raise PluginError(f"{what} raised {type(error).__name__}: {error}") from error
    if np.ndim(result) != 0 or isinstance(result, (str, bool)) or result is None or np.iscomplexobj(result):
        raise PluginError(
            f"{what} must return one number (scalar in, scalar out), but it returned {result!r}"
        )
    value = float(result)
    if not np.isfinite(value):
        raise PluginError(f"{what} returned {value}; activations must be finite at moderate arguments")
    return value


def _check_derivative(activation: Any, method: str, base: str) -> None:
    """One method against central differences of another."""
    step = 1e-5
    for z in POINTS:
        slope = _evaluate(activation, method, float(z))
        high = _evaluate(activation, base, float(z + step))
        low = _evaluate(activation, base, float(z - step))
        difference = (high - low) / (2 * step)
        # Central differences: error step^2 |sigma'''|/6 plus rounding eps |sigma|/step, here about 1e-9 and 1e-11.
        size = 1.0 + abs(slope) + abs(difference)
        if abs(slope - difference) > 1e-5 * size + 1e-10 * (abs(high) + abs(low)) / step * 1e-1:
            raise PluginError(
                f"{name(activation)}.{method} is not the derivative of {base}: at z = {z:.4g} {method} gives "
                f"{slope:.6g}, finite differences of {base} give {difference:.6g}"
            )


def _check_shortcut(activation: Any, method: str) -> None:
    """``slope_from_value`` or ``curvature_from_value``, where there is one, against the derivative itself."""
    if not hasattr(activation, f"{method}_from_value"):
        return
    for z in POINTS:
        slope = _evaluate(activation, method, float(z))
        shortcut = _evaluate(activation, f"{method}_from_value", _evaluate(activation, "value", float(z)))
        # Saturated values keep a derivative to their own rounding only.
        if abs(slope - shortcut) > 1e-9 * (1.0 + abs(slope)):
            raise PluginError(
                f"{name(activation)}.{method}_from_value is not the {method}: at z = {z:.4g} it gives {shortcut:.6g}, "
                f"{method} gives {slope:.6g}"
            )


def _compiles(activation: Any) -> bool:
    """Compile the elementwise kernel and compare it with plain Python; say so where it does not compile."""
    from meanfield._kernels.elementwise import activate_slope

    value, slope = np.empty_like(POINTS), np.empty_like(POINTS)
    try:
        activate_slope(activation, POINTS, value, slope)
    except Exception as error:  # whatever the compiler says; plain Python was checked before
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(
            f"{name(activation)} does not compile, so plain Python serves (about 100 times slower); "
            f"use numbers, branches and the math module only. Numba says: {reason}",
            stacklevel=4,
        )
        return False
    for method, found in (("value", value), ("slope", slope)):
        plain = np.array([_evaluate(activation, method, float(z)) for z in POINTS])
        # The compiled library functions (exp, tanh) may differ from Python's by a few ulp.
        if not np.allclose(found, plain, rtol=1e-12, atol=1e-14):
            worst = int(np.argmax(np.abs(found - plain)))
            raise PluginError(
                f"{name(activation)}.{method} compiles to something else than plain Python computes: at "
                f"z = {POINTS[worst]:.4g} compiled code gives {found[worst]:.17g}, Python {plain[worst]:.17g} "
                "(constants outside the class count as they were when it was first compiled: make them fields)"
            )
    return True


def check_regularizer(regularizer: Any, network: Any) -> None:
    """Check shapes and the gradient of a user's regularizer, once, at random particles."""
    for method in ("value", "gradient"):
        if not callable(getattr(regularizer, method, None)):
            raise PluginError(
                f"regularizer {regularizer!r} needs {method}(self, positions); see meanfield.Ridge"
            )
    if is_ours(type(regularizer)):
        return
    positions = np.random.default_rng(7).standard_normal((5, network.dim))
    value = _plugin_array(regularizer, "value", (5,), positions)
    gradient = _plugin_array(regularizer, "gradient", (5, network.dim), positions)
    _compare_gradient(
        name(regularizer),
        "gradient",
        "value",
        lambda p: np.asarray(regularizer.value(p)),
        positions,
        gradient,
    )
    _check_compiled_regularizer(regularizer, positions, value, gradient)


def check_feature_map(network: Any, X: Array) -> None:
    """Check a feature map on a few particles and data: shapes, finiteness, ``vjp`` against finite differences.

    Raises
    ------
    PluginError
    """
    for method in ("features", "vjp"):
        if not callable(getattr(network, method, None)):
            raise PluginError(
                f"network {network!r} needs features(self, positions, X) and vjp(self, positions, X, q); "
                f"{method} is missing"
            )
    dim = getattr(network, "dim", None)
    if not isinstance(dim, (int, np.integer)) or dim < 1:
        raise PluginError(f"{name(network)}.dim must be the number of coordinates of a neuron, not {dim!r}")
    if is_ours(type(network)):
        return
    few = X[: min(6, X.shape[0])]
    rng = np.random.default_rng(7)
    positions = rng.standard_normal((4, dim))
    try:
        features = np.asarray(network.features(positions, few))
    except Exception as error:
        raise PluginError(
            f"{name(network)}.features raised {type(error).__name__} on positions {positions.shape} and X "
            f"{few.shape}: {error}"
        ) from error
    if features.shape[:2] != (4, few.shape[0]) or features.ndim not in (2, 3):
        raise PluginError(
            f"{name(network)}.features must return shape (m, n) or (m, n, outputs), here (4, {few.shape[0]}), "
            f"but it returned {features.shape}"
        )
    if not np.isfinite(features).all():
        raise PluginError(f"{name(network)}.features returned NaN or infinity at standard normal positions")
    q = rng.standard_normal(features.shape[1:])
    gradient = _plugin_array(network, "vjp", (4, int(dim)), positions, few, q)
    _compare_gradient(
        name(network),
        "vjp",
        "features",
        lambda p: np.tensordot(np.asarray(network.features(p, few)), q, axes=q.ndim),
        positions,
        gradient,
    )


def check_loss(loss: Any, y: Array) -> None:
    """Check a user's loss on the targets: ``value(f, y)`` a number, ``gradient(f, y)`` its gradient, of f's shape."""
    for method in ("value", "gradient"):
        if not callable(getattr(loss, method, None)):
            raise PluginError(f"loss {loss!r} needs {method}(self, f, y); see meanfield.SquaredLoss")
    if is_ours(type(loss)) or not np.issubdtype(np.asarray(y).dtype, np.floating):
        return
    few = np.asarray(y)[:6]
    f = 0.5 * few + 0.1 * np.random.default_rng(7).standard_normal(few.shape)

    def value(g: Array) -> float:
        result = loss.value(g, few)
        if np.ndim(result) != 0 or not np.isfinite(float(result)):
            shown = repr(result).replace("\n", " ")
            raise PluginError(f"{name(loss)}.value must return one finite number, but it returned {shown}")
        return float(result)

    value(f)
    gradient = _plugin_array(loss, "gradient", few.shape, f, few)
    step = 1e-6
    for index in np.ndindex(few.shape):
        shift = np.zeros(few.shape)
        shift[index] = step
        difference = (value(f + shift) - value(f - shift)) / (2 * step)
        # Central differences: about 1e-10 from rounding at values of order 1.
        if abs(gradient[index] - difference) > 1e-5 * (1.0 + abs(difference)):
            raise PluginError(
                f"{name(loss)}.gradient is not the gradient of value: entry {index} gives {gradient[index]:.6g}, "
                f"finite differences give {difference:.6g}"
            )
    _check_compiled_loss(loss, f, few, value(f), gradient)


def _check_compiled_loss(loss: Any, f: Array, y: Array, value: float, gradient: Array) -> None:
    """``total`` and ``fill``, where a loss has them: compiled runs must see the loss that Python sees."""
    if not _has_both(loss, "total", "fill"):
        return
    if getattr(loss, "reduction", None) not in ("mean", "sum"):
        raise PluginError(
            f'{name(loss)} with total and fill needs reduction, "mean" or "sum", which makes their w'
        )
    out = np.full(f.size, np.nan)
    arguments = (f.reshape(-1), y.reshape(-1), compiled_weights(loss, y, None))
    loss.fill(*arguments, out)
    _compare_compiled(loss, "total(f, y, w)", "value(f, y)", float(loss.total(*arguments)), value)
    _compare_compiled(loss, "fill(f, y, w, out)", "gradient(f, y)", out, gradient.reshape(-1))


def _check_compiled_regularizer(regularizer: Any, positions: Array, value: Array, gradient: Array) -> None:
    """``potential`` and ``push``, likewise; `push` adds to what is there."""
    if not _has_both(regularizer, "potential", "push"):
        return
    out = np.ones(positions.shape)
    for theta, row in zip(positions, out, strict=True):
        regularizer.push(theta, row)
    potentials = np.array([float(regularizer.potential(theta)) for theta in positions])
    _compare_compiled(regularizer, "potential(theta)", "value(positions)", potentials, value)
    _compare_compiled(
        regularizer, "push(theta, out), less what out was,", "gradient(positions)", out - 1.0, gradient
    )


def _has_both(plugin: Any, one: str, other: str) -> bool:
    if hasattr(plugin, one) != hasattr(plugin, other):
        missing = other if hasattr(plugin, one) else one
        raise PluginError(
            f"{name(plugin)} has one of {one} and {other}, but compiled runs need both: add {missing}"
        )
    return hasattr(plugin, one)


def _compare_compiled(plugin: Any, compiled: str, plain: str, found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    # the same formula, with the roundings of another order of operations
    wrong = ~(np.abs(found - expected) <= 1e-9 * (1.0 + np.abs(expected)))
    if wrong.any():
        raise PluginError(
            f"{name(plugin)}.{compiled} gives {found[wrong].flat[0]:.6g} where {plain} gives "
            f"{expected[wrong].flat[0]:.6g}; compiled runs use the one, plain Python the other"
        )


def check_functional(functional: Any) -> None:
    """Check that a functional of a measure has the methods that flows ask for."""
    if isinstance(functional, type):
        raise PluginError(f"the functional is the class {functional.__name__}; pass an instance")
    if hasattr(functional, "net") and hasattr(functional, "descend"):
        raise PluginError(
            "this flow moves the neurons of a measure, not the weights of a deep network, which are trained by "
            "mf.finite.deep.SGD and mf.finite.deep.GradientFlow"
        )
    for method in ("value", "first_variation"):
        if not callable(getattr(functional, method, None)):
            raise PluginError(
                f"{functional!r} is not a functional: it needs value(measure) and "
                f"first_variation(measure, positions, signs=None), and {method} is missing"
            )


def _plugin_array(plugin: Any, method: str, shape: tuple[int, ...], *args: Any) -> Array:
    try:
        result = np.asarray(getattr(plugin, method)(*args), dtype=np.float64)
    except Exception as error:
        raise PluginError(f"{name(plugin)}.{method} raised {type(error).__name__}: {error}") from error
    if result.shape != shape:
        raise PluginError(
            f"{name(plugin)}.{method} must return shape {shape} here, but it returned {result.shape}"
        )
    if not np.isfinite(result).all():
        raise PluginError(f"{name(plugin)}.{method} returned NaN or infinity at standard normal positions")
    return result


def _compare_gradient(
    who: str, method: str, base: str, function: Any, positions: Array, gradient: Array
) -> None:
    """Central differences of `function` (m, p) -> (m,) against `gradient`."""
    step = 1e-6
    wrong = []
    for k in range(positions.shape[1]):
        shift = np.zeros(positions.shape[1])
        shift[k] = step
        difference = (function(positions + shift) - function(positions - shift)) / (2 * step)
        size = 1.0 + np.abs(gradient[:, k]) + np.abs(difference)
        # Errors of central differences here: about 1e-10 |value|/1 from rounding, 1e-12 |third derivative|.
        for j in np.flatnonzero(np.abs(gradient[:, k] - difference) > 1e-5 * size):
            wrong.append((int(j), k, float(gradient[j, k]), float(difference[j])))
    if wrong:
        particle, coordinate, got, expected = wrong[0]
        raise PluginError(
            f"{who}.{method} is not the gradient of {base}: coordinate {coordinate} of particle {particle} "
            f"gives {got:.6g}, finite differences give {expected:.6g}"
        )
