"""``key=value`` settings for frozen dataclasses: parsed by the field's type, refused with the nearest spelling."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from solvers.errors import InputError

ConfigType = TypeVar("ConfigType")
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def split(settings: Iterable[str]) -> dict[str, str]:
    """``["key=value", ...]`` as a dict; a later one wins."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"a setting reads key=value, not {setting!r}")
        parsed[key.strip()] = value.strip()
    return parsed


def replace(config: ConfigType, overrides: Mapping[str, Any]) -> ConfigType:
    """`config` with some fields replaced.

    Parameters
    ----------
    config : frozen dataclass
    overrides : mapping
        Field name to value. A text is parsed by the field's annotation: numbers (``1e-3``), booleans, texts,
        tuples as ``1,2,3``, ``none`` where None is allowed. Other values must already be of that type (an int
        passes for a float, a list for a tuple).

    Raises
    ------
    InputError
        For an unknown key (the nearest spelling is named) or a value that the type does not take.
    """
    names = [field.name for field in dataclasses.fields(config) if field.init]  # type: ignore[arg-type]
    annotations = _annotations(config)
    values = {}
    for key, value in overrides.items():
        if key not in names:
            raise InputError(f"unknown setting {key!r}{nearest(key, names)}")
        values[key] = parse(value, annotations[key], key)
    return dataclasses.replace(config, **values) if values else config  # type: ignore[type-var]


def nearest(word: str, known: Iterable[str]) -> str:
    """``": did you mean 'x'?"`` or the list of what is known, to close a refusal with."""
    options = list(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f"; known are {', '.join(sorted(options))}" if options else ""


def parse(value: Any, annotation: Any, name: str) -> Any:
    """`value` (text, or already a value) as the type `annotation`, or InputError naming `name`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return parse(value, arguments[0], name)
    if origin in (Union, types.UnionType):
        return _union(value, arguments, name)
    if origin is Literal:
        for option in arguments:
            if value == option or (isinstance(value, str) and value == str(option)):
                return option
        raise InputError(f"{name} must be one of {', '.join(map(repr, arguments))}, not {value!r}")
    if annotation is tuple or origin is tuple:
        return _tuple(value, arguments, name)
    if annotation is bool:
        return _bool(value, name)
    if annotation is int:
        return _int(value, name)
    if annotation is float:
        return _float(value, name)
    if annotation is str:
        if not isinstance(value, str):
            raise InputError(f"{name} must be a text, not {value!r}")
        return value
    if annotation is None or annotation is type(None):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "")):
            return None
        raise InputError(f"{name} must be none, not {value!r}")
    if isinstance(value, str) and annotation is not Any:
        raise InputError(f"{name} cannot be set from text (its type is {annotation!r}); set it in Python")
    return value


def _annotations(config: Any) -> dict[str, Any]:
    """Field name to type; a field whose annotation cannot be resolved takes the type of its present value."""
    try:
        hints = typing.get_type_hints(type(config))
    except NameError:
        hints = {}
    return {
        field.name: hints.get(field.name, type(getattr(config, field.name, "")))
        for field in dataclasses.fields(config)
    }


def _union(value: Any, options: tuple[Any, ...], name: str) -> Any:
    # None first, so that the word "none" is not taken for a text; text last, because it takes everything.
    for option in sorted(options, key=lambda option: (option is not type(None), option is str)):
        try:
            return parse(value, option, name)
        except InputError:
            continue
    wanted = " or ".join("none" if o is type(None) else getattr(o, "__name__", str(o)) for o in options)
    raise InputError(f"{name} must be {wanted}, not {value!r}")


def _tuple(value: Any, arguments: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in "([" and text[-1:] in ")]":
            text = text[1:-1]
        entries: list[Any] = [part.strip() for part in text.split(",") if part.strip()]
    elif isinstance(value, (tuple, list)):
        entries = list(value)
    else:
        raise InputError(f"{name} must be a list of values such as 1,2,3, not {value!r}")
    if not arguments:
        return tuple(_guess(entry) for entry in entries)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(parse(entry, arguments[0], f"each entry of {name}") for entry in entries)
    if arguments == ((),):
        arguments = ()
    if len(entries) != len(arguments):
        raise InputError(f"{name} must have {len(arguments)} entries, not {len(entries)}")
    return tuple(
        parse(entry, kind, f"each entry of {name}") for entry, kind in zip(entries, arguments, strict=True)
    )


def _guess(entry: Any) -> Any:
    """A number if the text reads as one: for tuples whose annotation does not say what they hold."""
    if not isinstance(entry, str):
        return entry
    for kind in (int, float):
        try:
            return kind(entry)
        except ValueError:
            continue
    return entry


def _bool(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise InputError(f"{name} must be true or false, not {value!r}")


def _int(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number) or number != int(number):
            raise ValueError
        # Through int() where possible: a float holds only 53 bits of a seed.
        return int(value) if not isinstance(value, str) or value.lstrip("+-").isdigit() else int(number)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an integer, not {value!r}") from None


def _float(value: Any, name: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}") from None
    if math.isnan(number):
        raise InputError(f"{name} must be a number, not nan")
    return number
