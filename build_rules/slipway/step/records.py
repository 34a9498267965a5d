"""Frozen dataclasses as canonical JSON: what rules and programs hand to each other.

A field is a str, int, float, bool or Enum, a record, an Optional of those, or a Tuple, FrozenSet or
Mapping with str keys of those; Any is any JSON.  Fields that are None are left out.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
from typing import Any, Dict, Mapping, Type, TypeVar, Union, cast, get_type_hints

from slipway.core.json_text import loads

R = TypeVar("R")


class WrongRecord(ValueError):
    """JSON that is not the wanted record; the text says where."""


class _Frozen(Dict[str, Any]):
    """Nothing changes it, and it can be hashed: Pants hashes what rules hand on."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def as_json(record: object) -> str:
    """Equal records give equal texts, whatever the order in their sets and mappings."""
    return json.dumps(as_plain(record), sort_keys=True, separators=(",", ":"))


def as_plain(value: Any) -> Any:
    """The value as dictionaries, lists and what else JSON knows."""
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
        return {
            one: as_plain(getattr(value, one)) for one in names if getattr(value, one) is not None
        }
    if isinstance(value, Mapping):
        return {name: as_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(map(as_plain, value))
    return value.value if isinstance(value, enum.Enum) else value


def read(kind: Type[R], text: str) -> R:
    """The record of class `kind` that `as_json` wrote.

    Raises WrongRecord for a field too many or too few, and for a value of another type.
    """
    try:
        return cast(R, _typed(kind, loads(text), kind.__name__))
    except (ValueError, TypeError) as error:
        raise WrongRecord(str(error)) from None


def _typed(kind: Any, value: Any, place: str) -> Any:
    origin: Any = getattr(kind, "__origin__", None)
    inner: Any = getattr(kind, "__args__", ())
    if kind is Any:
        return value
    if origin is Union:
        return None if value is None else _typed(inner[0], value, place)
    if dataclasses.is_dataclass(kind):
        return _record(kind, _require(dict, value, place), place)
    if origin is collections.abc.Mapping:
        mapping = _require(dict, value, place)
        return _Frozen({key: _typed(inner[1], mapping[key], f"{place}.{key}") for key in mapping})
    if origin in (tuple, frozenset):
        items = _require(list, value, place)
        kinds = inner if origin is tuple and inner[-1] is not Ellipsis else inner[:1] * len(items)
        if len(kinds) != len(items):
            raise WrongRecord(f"{place}: {len(items)} values, not {len(kinds)}")
        numbers = range(len(items))
        return origin(_typed(kinds[one], items[one], f"{place}[{one}]") for one in numbers)
    return kind(value) if issubclass(kind, enum.Enum) else _require(kind, value, place)


def _record(kind: Any, values: Mapping[str, Any], place: str) -> Any:
    kinds = get_type_hints(kind)
    for name in values:
        if name not in kinds:
            raise WrongRecord(f"{place}: the unknown field {name}")
    return kind(**{key: _typed(kinds[key], values[key], f"{place}.{key}") for key in values})


def _require(kind: Type[R], value: Any, place: str) -> R:
    if type(value) is not kind:
        raise WrongRecord(f"{place}: {type(value).__name__}, not {kind.__name__}")
    return value
