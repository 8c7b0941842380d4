"""From settings to what `solvers.integrate` takes: data, network, objective, start, flow, method, saves, stop rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meanfield import activations, regularizers
from meanfield._experiment.settings import (
    Flow,
    Integrate,
    Network,
    Settings,
    own_keys,
    pick,
    section,
)
from meanfield._experiment.settings import Objective as ObjectiveSettings
from meanfield.data.dataset import Dataset
from meanfield.flows import SGD, ConicFlow, WassersteinFlow
from meanfield.networks import TwoLayer
from meanfield.objective import Objective
from solvers import _check, losses
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.spaces import Sphere

KINDS = ("wasserstein", "sgd", "conic")
# Which keys of [flow] belong to which kind.
_OF_KIND: dict[str, tuple[str, ...]] = {
    "wasserstein": ("time_unit",),
    "sgd": ("step", "batch", "replace"),
    "conic": ("alpha", "beta", "retraction"),
}
_METHOD_KEYS = ("step", "rtol", "atol", "first_step", "max_step")
_REGULARIZERS = {
    "none": regularizers.NoRegularizer,
    "ridge": regularizers.Ridge,
    "path_norm": regularizers.PathNorm,
    "total_variation": regularizers.TotalVariation,
}


@dataclass(frozen=True)
class Experiment:
    """All that a run needs, checked."""

    settings: Settings
    dataset: Dataset
    objective: Objective
    start: ParticleMeasure
    flow: Any
    options: dict[str, Any]

    @property
    def network(self) -> Any:
        return self.objective.network


def build(settings: Settings, base: Path) -> Experiment:
    """Data, network, objective, start and flow of a configuration; paths in it are relative to `base`.

    Raises
    ------
    InputError, FileFormatError, PluginError
        In one sentence that begins with the section it is about.
    """
    conic = settings.flow.kind == "conic"
    with section("flow"):
        _check.choice(settings.flow.kind, "kind", KINDS)
    loss = _loss(settings.objective)
    activation = _activation(settings.network)
    options = _options(settings.integrate, settings.flow)
    dataset = _load(settings, base)
    classes = _classes(dataset) if loss.kind == "cross_entropy" else 1
    outputs = dataset.y.shape[1] if dataset.y.ndim == 2 else classes
    network, start = _network(settings, activation, dataset.d, outputs, conic)
    with section("objective"):
        regularizer = _regularizer(settings.objective, conic)
        objective = Objective(network, dataset.X, dataset.y, loss=loss, regularizer=regularizer)
        if dataset.y_test is not None and hasattr(loss, "check_labels"):
            loss.check_labels(dataset.y_test, len(dataset.y_test))
    with section("flow"):
        flow = _flow(settings.flow, objective, settings.seed)
    if options["until"] is not None or "gap" in options["record"]:
        options["record"]["gap"] = lambda measure: float(certified(objective, measure).gap)
    return Experiment(settings, dataset, objective, start, flow, options)


def certified(objective: Objective, measure: ParticleMeasure) -> Any:
    """The certificate of a measure."""
    # A search for the worst neuron may run off to infinity, where there is no minimum: nothing to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        return objective.certificate(measure)


def _load(settings: Settings, base: Path) -> Dataset:
    from meanfield import data

    wanted = settings.data
    values = {entry.name: getattr(wanted, entry.name) for entry in dataclasses.fields(wanted)}
    source = values.pop("source")
    for name in ("target", "features"):
        if isinstance(values[name], tuple):
            values[name] = list(values[name])
    with section("data"):
        return data.load(
            source if source.startswith("sklearn:") else base / source, rng=settings.seed, **values
        )


def _classes(dataset: Dataset) -> int:
    """How many classes there are, those of the test part included."""
    parts = [dataset.y] if dataset.y_test is None else [dataset.y, dataset.y_test]
    return max(2, *(int(part.max()) + 1 for part in parts))


# -- plug-ins by name ---------------------------------------------------------------------------------------------


def _activation(wanted: Network) -> Any:
    given = wanted.activation
    inline = dict(given) if isinstance(given, Mapping) else {"name": given}
    with section("network"):
        name = inline.pop("name", None)
        if not isinstance(name, str):
            raise InputError('activation must be a name or a table such as { name = "softplus", beta = 3 }')
        known = activations.BY_NAME
        kind: Any = known[_check.choice(name.lower(), "activation", known)]
        # `scale` beside the name is the network's; that of Erf goes into the table.
        loose = tuple(key for key in kind._fields if key not in own_keys(Network))
        chosen = pick("network", wanted.parameters, loose, own_keys(Network))
        chosen |= pick("network", inline, kind._fields, [])
        for key, value in chosen.items():
            if key != "knots":
                chosen[key] = _check.number(value, key)
        missing = [key for key in kind._fields if key not in chosen and key not in kind._field_defaults]
        if missing:
            raise InputError(f"activation {name!r} needs {missing[0]}")
        return activations.resolve(kind(**chosen))


def _loss(wanted: ObjectiveSettings) -> Any:
    with section("objective"):
        plain: Any = losses.by_name(wanted.loss)
        own = own_keys(ObjectiveSettings)
        chosen = pick("objective", wanted.parameters, plain._fields, own)
        for key, value in chosen.items():
            if key == "reduction":
                _check.choice(value, key, ("mean", "sum"))
            else:
                chosen[key] = _check.number(value, key, positive=True)
        return plain._replace(**chosen)


def _regularizer(wanted: ObjectiveSettings, conic: bool) -> Any:
    name = wanted.regularizer
    if name is None:
        if wanted.strength is None and not conic:
            return None
        name = "total_variation" if conic else "ridge"
    kind: Any = _REGULARIZERS[_check.choice(name, "regularizer", _REGULARIZERS)]
    if name == "none":
        if wanted.strength is not None:
            raise InputError("strength belongs to a regularizer; leave it out or name one")
        return None
    if wanted.strength is None:
        raise InputError(f"regularizer {name!r} needs strength")
    if name == "total_variation" and not conic:
        raise InputError('regularizer "total_variation" moves masses only: use it with [flow] kind = "conic"')
    return kind(_check.number(wanted.strength, "strength", nonnegative=True))


# -- network and start --------------------------------------------------------------------------------------------


def _network(
    settings: Settings, activation: Any, d: int, outputs: int, conic: bool
) -> tuple[TwoLayer, ParticleMeasure]:
    wanted = settings.network
    with section("network"):
        network = TwoLayer(
            activation,
            d=d,
            bias=wanted.bias,
            scale=wanted.scale,
            train=wanted.train,
            rates=wanted.rates,
            outputs=outputs,
            a=1.0 if conic else None,
        )
        kind = _check.choice(wanted.start, "start", ("gaussian", "sphere"))
        other = {"gaussian": ("radius",), "sphere": ("std",)}[kind]
        for key in other:
            if getattr(wanted, key) is not None:
                raise InputError(f"{key} does not go with start = {kind!r}")
        options: dict[str, Any] = {"method": wanted.sampling}
        options |= {k: getattr(wanted, k) for k in ("std", "radius") if getattr(wanted, k) is not None}
        if conic:
            return network, _signed_start(network, wanted, settings.seed, options)
        # As `mf.train` does: a lazy network starts at f = 0.
        doubled = wanted.scale != 1.0 if wanted.doubled is None else wanted.doubled
        draw = ParticleMeasure.gaussian if kind == "gaussian" else ParticleMeasure.sphere
        return network, draw(network, wanted.width, settings.seed, doubled=doubled, **options)


def _signed_start(network: TwoLayer, wanted: Network, seed: int, options: dict[str, Any]) -> ParticleMeasure:
    """Directions on the unit sphere with both signs: (w, b) with outer weight 1, mass 1/width each.

    Doubled (the default), every direction has both signs, so that f = 0; else signs alternate.
    """
    if network.outputs != 1:
        raise InputError("a conic flow moves signed measures, which have one output")
    if wanted.start != "sphere" or options.get("radius", 1.0) != 1.0:
        raise InputError(
            'a conic flow keeps neurons on the unit sphere: set start = "sphere", without radius'
        )
    if wanted.train != ("a", "w", "b") or wanted.rates is not None:
        raise InputError("train and rates do not go with a conic flow; set alpha and beta in [flow]")
    width = _check.number(wanted.width, "width", positive=True, integer=True)
    doubled = wanted.doubled is not False
    if doubled and width % 2:
        raise InputError(f"doubled needs an even width, not {width}")
    drawn = ParticleMeasure.sphere(network, width // 2 if doubled else width, seed, **options)
    signs = np.where(np.arange(width) % 2 == 0, 1.0, -1.0)
    points = np.repeat(drawn.positions, 2, axis=0) if doubled else drawn.positions
    return ParticleMeasure(points, np.full(width, 1.0 / width), signs, layout=network.layout)


# -- flow and integration -----------------------------------------------------------------------------------------


def _flow(wanted: Flow, objective: Objective, seed: int) -> Any:
    for kind, keys in _OF_KIND.items():
        for key in keys:
            if kind != wanted.kind and getattr(wanted, key) is not None:
                hint = "; the step of a method of integration stands in [integrate]" if key == "step" else ""
                raise InputError(f"{key} belongs to kind = {kind!r}, not {wanted.kind!r}{hint}")
    given = {k: getattr(wanted, k) for k in _OF_KIND[wanted.kind] if getattr(wanted, k) is not None}
    if wanted.kind == "sgd":
        if "step" not in given:
            raise InputError("kind = 'sgd' needs step, in the time unit of the flow")
        return SGD(objective, rng=seed, **given)
    if wanted.kind == "conic":
        return ConicFlow(objective, space=Sphere(int(objective.network.dim)), **given)
    if "time_unit" not in given and objective.network.scale != 1.0:
        given["time_unit"] = "alpha"
    return WassersteinFlow(objective, **given)


def methods() -> dict[str, Any]:
    """Methods of integration by name: the dataclasses of `solvers` that start a stepper or choose one."""
    import solvers

    found = {}
    for name in solvers.__all__:
        kind = getattr(solvers, name)
        usable = hasattr(kind, "start") or hasattr(kind, "choose")
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and usable and name != "RungeKutta":
            found[_snake(name)] = kind
    return found


def _snake(name: str) -> str:
    """BogackiShampine as bogacki_shampine, RK4 as rk4."""
    if name.isupper():
        return name.lower()
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _options(wanted: Integrate, flow: Flow) -> dict[str, Any]:
    """Arguments of `solvers.integrate` but for flow, start and observers."""
    import solvers

    with section("integrate"):
        t_end = _check.number(wanted.t_end, "t_end", positive=True)
        _check.choice(wanted.certificate, "certificate", ("end", "saves"))
        _check.choice(wanted.keep, "keep", ("ends", "all"))
        record: dict[str, Any] = {"gap": None} if wanted.certificate == "saves" else {}
        until = None
        if wanted.until_gap is not None:
            bound = _check.number(wanted.until_gap, "until_gap", positive=True)
            until = solvers.stop_when("gap", below=bound)
        if wanted.max_steps is not None:
            _check.number(wanted.max_steps, "max_steps", positive=True, integer=True)
        return {
            "t_end": t_end,
            "method": _method(wanted, flow),
            "save": _saves(wanted, t_end),
            "keep": wanted.keep,
            "record": record,
            "until": until,
            "max_steps": wanted.max_steps,
        }


def _method(wanted: Integrate, flow: Flow) -> Any:
    given = {key: getattr(wanted, key) for key in _METHOD_KEYS if getattr(wanted, key) is not None}
    if flow.kind == "sgd":
        named = [*given, *(["method"] if wanted.method is not None else [])]
        if named:
            raise InputError(f"{named[0]} does not go with [flow] kind = 'sgd', whose step stands in [flow]")
        return None
    known = methods()
    name = "auto" if wanted.method is None else wanted.method.lower()
    kind = known[_check.choice(name, "method", known)]
    keys = [entry.name for entry in dataclasses.fields(kind)]
    for key in given:
        if key not in keys:
            fitting = sorted(other for other, entry in known.items() if key in _fields(entry))
            raise InputError(f"{key} goes with method {' or '.join(map(repr, fitting))}, not {name!r}")
    for entry in dataclasses.fields(kind):
        if entry.default is dataclasses.MISSING and entry.name not in given:
            raise InputError(f"method {name!r} needs {entry.name}")
    return kind(**given)


def _fields(kind: Any) -> list[str]:
    return [entry.name for entry in dataclasses.fields(kind)]


def _saves(wanted: Integrate, t_end: float) -> Any:
    import solvers

    spacing = "log" if wanted.spacing is None else _check.choice(wanted.spacing, "spacing", ("log", "linear"))
    if isinstance(wanted.save, tuple):
        if wanted.spacing is not None or wanted.first is not None:
            raise InputError("spacing and first go with a count of saves, not with a list of times")
        times = np.array(wanted.save)
        if (np.diff(times) <= 0).any() or times[0] < 0 or times[-1] > t_end:
            raise InputError(f"save must be a count, or increasing times between 0 and t_end = {t_end:g}")
        return times
    if wanted.save < 2:
        raise InputError(f"save must be at least 2 (both ends are saved), not {wanted.save}")
    if spacing == "linear":
        if wanted.first is not None:
            raise InputError('first is the first save time of spacing = "log"; leave it out')
        return solvers.linspace(wanted.save)
    first = t_end * 1e-4 if wanted.first is None else _check.number(wanted.first, "first", positive=True)
    if first >= t_end:
        raise InputError(f"first = {first:g} must lie before t_end = {t_end:g}")
    return solvers.logspace(first, t_end, max(2, wanted.save - 1))
