"""Reads JSON files that people merge by hand: every error names file, JSON path and value.

A `Field` holds a value together with its position, so that callers need not track positions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional

from slipway.core.errors import SlipwayError, nearest
from slipway.core.json_text import load_object

_SHOWN = 80


@dataclass(frozen=True)
class Field:
    """A value of a JSON file with its position; `path` is a JSON path such as `$.steps[0]`."""

    value: Any
    file: str
    path: str = "$"

    def fault(self, expected: str, next: str = "") -> SlipwayError:
        shown = json.dumps(self.value, ensure_ascii=False)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "…"
        return SlipwayError(
            f'"{self.file}" must have {expected} at {self.path}',
            where=f"{self.file}: {self.path}",
            found=shown,
            next=next,
        )

    def record(self, required: Iterable[str], optional: Iterable[str] = ()) -> Dict[str, Field]:
        """The fields of an object with a fixed set of keys, some of them optional."""
        fields = self.mapping()
        required, known = tuple(required), (*required, *optional)
        missing = [key for key in required if key not in fields]
        if missing:
            raise self.fault(f'the field "{missing[0]}"')
        for key in fields:
            if key not in known:
                near = nearest(key, known, 1)
                raise SlipwayError(
                    f'"{self.file}" has the unknown field "{key}" at {self.path}',
                    where=f"{self.file}: {self.path}",
                    found=key,
                    next=f'write "{near[0]}"' if near else "remove it",
                )
        return fields

    def mapping(self) -> Dict[str, Field]:
        if not isinstance(self.value, dict):
            raise self.fault("an object")
        return {
            key: Field(value, self.file, f"{self.path}.{key}") for key, value in self.value.items()
        }

    def items(self) -> List[Field]:
        if not isinstance(self.value, list):
            raise self.fault("a list")
        return [Field(value, self.file, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def text(self, pattern: str = r"[^\0]*", expected: str = "a string") -> str:
        if not isinstance(self.value, str) or not re.fullmatch(pattern, self.value, re.ASCII):
            raise self.fault(expected)
        return self.value

    def number(self, least: int = 0, most: Optional[int] = None) -> int:
        # In Python, bool is a subclass of int, so isinstance() alone would accept `true` here.
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.fault("a whole number")
        if self.value < least or (most is not None and self.value > most):
            raise self.fault(f"a number from {least}" + (f" to {most}" if most is not None else ""))
        return self.value


def read_json(content: str, file: str, next: str = "") -> Field:
    """Parses `content`; raises SlipwayError with `next` if it is not a JSON object.

    `next` says how to get a valid file.
    """
    return Field(load_object(content, file, next=next), file)
