"""Values as JSON and back, with their types and all their bits; nothing is ever unpickled.

NamedTuples compare as tuples and arrays do not hash, so what tells values apart is the text of their encoding: an
object is (type, fields), an array its type, shape and bytes, and 1, 1.0 and True are three values.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib
import json
import math
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers.errors import FileFormatError, InputError

# Results and parameters are small; what is not belongs in a file of its own.
LARGEST = 2**24
# Python itself refuses to write integers of more than 4300 digits.
LONGEST = 2**13
KNOWN = "numbers, texts, arrays, tuples, lists, dicts, NamedTuples, dataclasses and functions of a module"


def encode(value: Any, where: str) -> Any:
    """`value` as JSON values, or InputError naming `where`."""
    if value is None or isinstance(value, (bool, str)) and type(value) in (bool, str, np.str_):
        return str(value) if isinstance(value, str) else value
    if type(value) is int:
        if value.bit_length() > LONGEST:
            raise InputError(
                f"{where} holds an integer of {value.bit_length()} bits; at most {LONGEST} are written down"
            )
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is complex:
        return {"complex": [encode(value.real, where), encode(value.imag, where)]}
    if isinstance(value, np.generic) and value.dtype.kind in "biufc" and not _is_extended(value.dtype):
        return encode(value.item(), where)
    if isinstance(value, np.ndarray):
        return _array(value, where)
    if type(value) is list:
        return [encode(item, where) for item in value]
    if type(value) is tuple:
        return {"tuple": [encode(item, where) for item in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: encode(item, where) for key, item in value.items()}}
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return {"name": _address(value, where), **_code(value)}
    fields = fields_of(value)
    if fields is not None:
        inner = {name: encode(item, where) for name, item in fields.items()}
        return {"object": _address(type(value), where), "fields": inner, **_code(type(value))}
    raise InputError(
        f"{where} holds a value of type {type(value).__name__}, which cannot be written down; known are {KNOWN}"
    )


def decode(text: Any, modules: Mapping[str, Any] | None = None) -> Any:
    """The value of an encoding.

    Parameters
    ----------
    text : JSON values
    modules : mapping of str to module, optional
        Modules that stand for others when types are looked up.
    """
    if isinstance(text, list):
        return [decode(item, modules) for item in text]
    if not isinstance(text, dict):
        return text
    if "float" in text:
        return float(text["float"])
    if "complex" in text:
        return complex(*(decode(part) for part in text["complex"]))
    if "array" in text:
        flat = np.frombuffer(base64.b64decode(text["array"]), dtype=np.dtype(text["dtype"]))
        return flat.reshape(text["shape"]).copy()
    if "tuple" in text:
        return tuple(decode(item, modules) for item in text["tuple"])
    if "dict" in text:
        return {key: decode(item, modules) for key, item in text["dict"].items()}
    if "name" in text:
        return resolve(text["name"], modules)
    if "object" in text:
        fields = {name: decode(item, modules) for name, item in text["fields"].items()}
        return resolve(text["object"], modules)(**fields)
    raise FileFormatError(
        f"the study holds a value of an unknown kind, {', '.join(text)}; update this package"
    )


def label(text: Any) -> Any:
    """What a table shows for an encoding: plain values as they are, the rest as a short text."""
    if not isinstance(text, (dict, list)):
        return text
    if isinstance(text, list):
        return f"[{', '.join(str(label(item)) for item in text)}]"
    if "float" in text or "complex" in text:
        return decode(text)
    if "array" in text:
        value = decode(text)
        if value.size <= 6:
            return str(value.tolist())
        shape = "x".join(map(str, value.shape))
        return f"array {shape} {hashlib.sha256(canonical(text).encode()).hexdigest()[:6]}"
    if "tuple" in text:
        return f"({', '.join(str(label(item)) for item in text['tuple'])})"
    if "dict" in text:
        return "{" + ", ".join(f"{key}: {label(item)}" for key, item in text["dict"].items()) + "}"
    if "name" in text:
        return text["name"].rpartition(":")[2]
    inner = ", ".join(f"{name}={label(item)}" for name, item in text["fields"].items())
    return f"{text['object'].rpartition(':')[2]}({inner})"


def is_plain(text: Any) -> bool:
    """Whether decoding imports nothing: no type or function is in it."""
    if isinstance(text, list):
        return all(map(is_plain, text))
    if not isinstance(text, dict):
        return True
    if "tuple" in text:
        return is_plain(text["tuple"])
    if "dict" in text:
        return all(map(is_plain, text["dict"].values()))
    return "name" not in text and "object" not in text


def canonical(text: Any) -> str:
    """One text for one encoding."""
    return json.dumps(text, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fields_of(value: Any) -> dict[str, Any] | None:
    """Fields of a NamedTuple or dataclass, with which its type makes it again; None for other values."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return None


def resolve(address: str, modules: Mapping[str, Any] | None = None) -> Any:
    """What ``module:name`` names."""
    module, _, name = address.partition(":")
    try:
        found = modules[module] if modules and module in modules else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as problem:
        raise InputError(f"{address!r} cannot be imported here: {problem}") from None
    return found


def _address(value: Any, where: str) -> str:
    """``module:name`` of a type or function that a module holds."""
    name = getattr(value, "__qualname__", "")
    module = getattr(value, "__module__", None) or ""
    if not module or "<" in name:
        raise InputError(
            f"{where} holds {name or value!r}, which has no name in a module; define it at the top of a file, or "
            "name it by a text that the cell looks up"
        )
    address = f"{module}:{name}"
    if resolve(address) is not value:
        raise InputError(
            f"{where} holds {name}, but {address!r} is something else; give it a name of its own"
        )
    return address


def _code(value: Any) -> dict[str, str]:
    """A plug-in that somebody is at work on is another one when its code has changed."""
    from meanfield._study import identity

    found = identity.code_of(value)
    return {} if found is None else {"code": found}


def _is_extended(dtype: np.dtype[Any]) -> bool:
    """Longer than 64 bits: bytes differ from machine to machine, and some of them mean nothing."""
    return dtype.type in (np.longdouble, np.clongdouble)


def _array(value: np.ndarray[Any, Any], where: str) -> dict[str, Any]:
    if np.ma.isMaskedArray(value):
        raise InputError(f"{where} holds a masked array, whose mask would be lost; use .filled(numpy.nan)")
    if value.dtype.kind not in "biufcU" or _is_extended(value.dtype):
        raise InputError(
            f"{where} holds an array of {value.dtype}; arrays must hold numbers, booleans or texts"
        )
    if value.nbytes > LARGEST:
        raise InputError(
            f"{where} holds an array of {value.nbytes / 2**20:.0f} MB; write it to a file (numpy.save) and give the "
            "file's name"
        )
    plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).reshape(value.shape)
    return {
        "array": base64.b64encode(plain.tobytes()).decode("ascii"),
        "dtype": plain.dtype.str,
        "shape": list(value.shape),
    }
