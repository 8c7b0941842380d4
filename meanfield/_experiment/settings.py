"""The sections of a configuration file: what may stand in them, of which type, and refusals that name the section."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from meanfield import _settings
from solvers.errors import FileFormatError, InputError, PluginError

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """What to learn from; the meanings are those of `meanfield.data.load`."""

    source: str
    target: str | tuple[str, ...] | None = None
    features: str | tuple[str, ...] | None = None
    standardize: bool = True
    standardize_target: bool = False
    test_fraction: float = 0.0
    labels: dict[str, float] | None = None
    constant: str = "refuse"
    delimiter: str | None = None


@dataclass(frozen=True)
class Network:
    """Neurons and their start; parameters of the activation stand beside its name or in a table with it."""

    activation: str | dict[str, Any] = "relu"
    width: int = 1000
    bias: bool = True
    scale: float = 1.0
    start: str = "gaussian"
    std: float | dict[str, float] | None = None
    radius: float | None = None
    sampling: str = "random"
    doubled: bool | None = None
    train: tuple[str, ...] = ("a", "w", "b")
    rates: dict[str, float] | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """Loss and regularizer; parameters of the loss stand beside its name."""

    loss: str = "squared"
    regularizer: str | None = None
    strength: float | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """The dynamics: "wasserstein", "sgd" or "conic", and what belongs to each."""

    kind: str = "wasserstein"
    time_unit: str | None = None
    step: float | None = None
    batch: int | None = None
    replace: bool | None = None
    alpha: float | None = None
    beta: float | None = None
    retraction: str | None = None


@dataclass(frozen=True)
class Integrate:
    """Time integration, when to save and when to stop."""

    t_end: float = 100.0
    method: str | None = None
    step: float | None = None
    rtol: float | None = None
    atol: float | None = None
    first_step: float | None = None
    max_step: float | None = None
    save: int | tuple[float, ...] = 41
    spacing: str | None = None
    first: float | None = None
    keep: str = "ends"
    certificate: str = "end"
    until_gap: float | None = None
    max_steps: int | None = None


@dataclass(frozen=True)
class Output:
    """Where results go (relative to the folder in which the command is run), and in which form."""

    folder: str | None = None
    formats: tuple[str, ...] = ("png",)
    checkpoint_seconds: float | None = None
    checkpoint_steps: int | None = None


@dataclass(frozen=True)
class Settings:
    """A configuration file, checked for names and types."""

    data: Data
    network: Network = Network()
    objective: Objective = Objective()
    flow: Flow = Flow()
    integrate: Integrate = Integrate()
    output: Output = Output()
    seed: int = 0


SECTIONS: dict[str, Any] = {
    "data": Data,
    "network": Network,
    "objective": Objective,
    "flow": Flow,
    "integrate": Integrate,
    "output": Output,
}
# Keys of these that are not their own may be parameters of the activation or loss: `pick` looks at them.
OPEN = ("network", "objective")


@contextmanager
def section(name: str) -> Iterator[None]:
    """Refusals inside the block begin with the section they are about."""
    try:
        yield
    except (InputError, PluginError, FileFormatError) as error:
        text = str(error)
        raise type(error)(text if text.startswith("[") else f"[{name}] {text}") from None


def read(path: Path, changes: list[str]) -> dict[str, Any]:
    """The tables of a TOML file, with ``section.key=value`` changes applied."""
    import tomllib

    if not path.is_file():
        raise InputError(f"there is no configuration file {str(path)!r}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise FileFormatError(f"{path} is not TOML: {error}") from None
    for key, text in _settings.split(changes).items():
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a word without quotes
        *outer, last = key.split(".")
        if len(outer) > 1 or (outer and not isinstance(tables.setdefault(outer[0], {}), dict)):
            raise InputError(f"--set reads section.key=value or seed=value, not {key!r}")
        (tables[outer[0]] if outer else tables)[last] = value
    return tables


def parse(tables: Mapping[str, Any]) -> Settings:
    """Check names and types of everything in the tables.

    Raises
    ------
    InputError
        For an unknown section or key (with the nearest spelling) and for a value of another type.
    """
    known = [*SECTIONS, "seed"]
    for name, value in tables.items():
        if name not in known:
            what = (
                f"unknown section [{name}]"
                if isinstance(value, Mapping)
                else f"unknown key {name!r} at the top"
            )
            raise InputError(f"{what}{_settings.nearest(name, known)}")
        if name in SECTIONS and not isinstance(value, Mapping):
            raise InputError(f"{name} must be a section, [{name}], not {value!r}")
    if "data" not in tables:
        raise InputError(
            'the section [data] is missing; it says what to learn from, as in source = "data.csv"'
        )
    parts = {name: _section(name, kind, tables[name]) for name, kind in SECTIONS.items() if name in tables}
    seed = _typed(tables.get("seed", 0), int, "seed")
    if seed < 0:
        raise InputError(f"seed must be non-negative, not {seed}")
    return Settings(**parts, seed=seed)


def describe(settings: Settings) -> dict[str, Any]:
    """All settings, defaults included."""
    return dataclasses.asdict(settings)


def _section(name: str, kind: Any, table: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    keys = [key for key in hints if key != "parameters"]
    values: dict[str, Any] = {}
    parameters: Parameters = {}
    with section(name):
        for key, value in table.items():
            if key in keys:
                values[key] = _typed(value, hints[key], key)
            elif name in OPEN:
                parameters[key] = value
            else:
                raise InputError(f"unknown key {key!r}{_settings.nearest(key, keys)}")
        for entry in dataclasses.fields(kind):
            needed = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
            if needed and entry.name not in values:
                raise InputError(f"{entry.name} is missing")
        return kind(**values, **({"parameters": parameters} if parameters else {}))


def pick(name: str, parameters: Parameters, fields: tuple[str, ...], others: list[str]) -> Parameters:
    """The parameters of a section, if all belong to its plug-in; `others` are the section's own keys."""
    for key, value in parameters.items():
        if key not in fields:
            known = [*fields, *others]
            raise InputError(f"[{name}] unknown key {key!r}{_settings.nearest(key, known)}")
        if isinstance(value, Mapping):
            raise InputError(f"[{name}] {key} must be a value, not a table")
    return dict(parameters)


def own_keys(kind: Any) -> list[str]:
    """The keys of a section without those of plug-ins."""
    return [entry.name for entry in dataclasses.fields(kind) if entry.name != "parameters"]


def _typed(value: Any, annotation: Any, name: str) -> Any:
    """`value` if it has the type; unlike on a command line, a number in quotes is a text."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    for option in options:
        if option is type(None):
            continue  # TOML has no none: leave the key out
        try:
            return _of_type(value, option, name)
        except InputError:
            if len(options) == 1:
                raise
    wanted = " or ".join(_word(option) for option in options if option is not type(None))
    raise InputError(f"{name} must be {wanted}, not {value!r}")


def _of_type(value: Any, kind: Any, name: str) -> Any:
    wrong = InputError(f"{name} must be {_word(kind)}, not {value!r}")
    origin = get_origin(kind) or kind
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong
        entry = get_args(kind)[1]
        if entry is Any:
            return dict(value)
        return {key: _of_type(number, entry, f"{name}.{key}") for key, number in value.items()}
    if origin is tuple:
        if isinstance(value, str) and get_args(kind)[0] is str:
            value = [value]
        if not isinstance(value, list) or not value:
            raise wrong
        return tuple(_of_type(one, get_args(kind)[0], f"each entry of {name}") for one in value)
    if isinstance(value, str) != (kind is str):
        raise wrong
    return _settings.parse(value, kind, name)


def _word(kind: Any) -> str:
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
    if kind in words:
        return words[kind]
    if get_origin(kind) is tuple:
        return f"a list of one or more {'texts' if get_args(kind)[0] is str else 'numbers'}"
    return "a table"
