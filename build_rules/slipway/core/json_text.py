"""Parses JSON with line numbers in errors, and reports duplicate keys.

Python's `json` silently keeps the last of two equal keys. In a lockfile, such keys are two packages
with the same path. A parsed document has no line numbers, so this module looks them up in the text.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NoReturn, Tuple, Union

from slipway.core.errors import SlipwayError

_SHOWN = 120
_MOST_LISTED = 10
_MOST_DIGITS = 20  # as 2**64 has


def loads(text: Union[str, bytes], **options: Any) -> Any:
    """As json.loads(), but raises ValueError for every fault, and for very long numbers.

    CPython parses an integer in time that grows with the square of its length, and CPython 3.7 to
    3.9 do not all limit that length. A hostile file could otherwise keep the parser busy for hours.
    """
    try:
        return json.loads(text, parse_int=_whole_number, **options)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def load_object(text: str, path: str, *, next: str) -> Dict[str, Any]:
    """The JSON object in `text`; raises SlipwayError with `path` and `next` if it is not valid."""
    text = text[1:] if text.startswith("\ufeff") else text
    doubled: List[str] = []

    def gather(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        gathered: Dict[str, Any] = {}
        for name, value in pairs:
            if name in gathered:
                doubled.append(name)
            gathered[name] = value
        return gathered

    try:
        document = loads(text, object_pairs_hook=gather, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise SlipwayError(
            f'"{path}" is not JSON: {_lower_first(error.msg)}',
            where=f"{path}:{error.lineno}:{error.colno}",
            found=_line(text, error.lineno),
            next=next,
        ) from None
    except ValueError as error:
        raise SlipwayError(f'"{path}" is not JSON: {error}', where=path, next=next) from None
    if not isinstance(document, dict):
        raise SlipwayError(
            f'"{path}" does not contain a JSON object',
            where=path,
            found=type(document).__name__,
            next=next,
        )
    if doubled:
        lines = lines_of_key(text, doubled[0])
        name, numbers = doubled[0][:_SHOWN], [str(line) for line in lines[:_MOST_LISTED]]
        raise SlipwayError(
            f'two entries "{name}" in the same object of "{path}"',
            where=f"{path}:{lines[-1]}" if lines else path,
            found=f'"{name}" on lines {", ".join(numbers)}'
            + (", …" if lines[_MOST_LISTED:] else ""),
            next=next,
        )
    return document


def lines_of_key(text: str, key: str) -> List[int]:
    """The numbers of the lines that have `key` as a key, counted from 1."""
    quoted = {json.dumps(key), json.dumps(key, ensure_ascii=False)}
    numbers = []
    for number, line in enumerate(text.split("\n"), 1):
        for form in quoted:
            at = line.find(form)
            if at >= 0 and line[at + len(form) :].lstrip().startswith(":"):
                numbers.append(number)
                break
    return numbers


def place(text: str, path: str, key: str) -> str:
    """`path:line` of the first line with `key`, or `path` if no line has it."""
    lines = lines_of_key(text, key)
    return f"{path}:{lines[0]}" if lines else path


def canonical(document: Any) -> bytes:
    """The document as bytes that depend on its content alone; the order of keys is kept."""
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def _whole_number(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > _MOST_DIGITS:
        raise ValueError(f"a number has {digits} digits")
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _line(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number - 1].strip()[:_SHOWN] if number <= len(lines) else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
