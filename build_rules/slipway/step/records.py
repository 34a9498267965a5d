"""Converts frozen dataclasses to canonical JSON and back, for rules and programs.

A field is a str, int, float, bool or Enum, a record, an Optional of these, or a Tuple, a FrozenSet
or a Mapping with str keys. Any allows any JSON. Fields with the value None are omitted.
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
    """The JSON does not match the record class; the text says where."""


class _Frozen(Dict[str, Any]):
    """A dictionary with a hash, which Pants needs for the values of rules; nothing changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def as_json(record: object) -> str:
    """The record as JSON; equal records give equal texts, in any order of sets and mappings."""
    return json.dumps(as_plain(record), sort_keys=True, separators=(",", ":"))


def as_plain(value: Any) -> Any:
    """The value as types of JSON: dictionaries, lists, strings, numbers and booleans."""
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
        values = {name: getattr(value, name) for name in names}
        return {name: as_plain(item) for name, item in values.items() if item is not None}
    if isinstance(value, Mapping):
        return {name: as_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(map(as_plain, value))
    return value.value if isinstance(value, enum.Enum) else value


def read(kind: Type[R], text: str) -> R:
    """The record of class `kind` from the JSON of `as_json`.

    Raises WrongRecord for unknown or missing fields, and for values of another type.
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
        return origin(
            _typed(item_kind, item, f"{place}[{number}]")
            for number, (item_kind, item) in enumerate(zip(kinds, items))
        )
    return kind(value) if issubclass(kind, enum.Enum) else _require(kind, value, place)


def _record(kind: Any, values: Mapping[str, Any], place: str) -> Any:
    kinds = get_type_hints(kind)
    for name in values:
        if name not in kinds:
            raise WrongRecord(f"{place}: unknown field {name}")
    return kind(**{key: _typed(kinds[key], values[key], f"{place}.{key}") for key in values})


def _require(kind: Type[R], value: Any, place: str) -> R:
    if type(value) is not kind:
        raise WrongRecord(f"{place}: {type(value).__name__}, not {kind.__name__}")
    return value
