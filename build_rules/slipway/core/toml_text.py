"""Reads TOML files, with errors that name file, line and column.

CPython 3.11 and newer can read TOML. Older versions use the module `toml`, which Pants depends on
and which the packed coordinator contains.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.core.errors import SlipwayError

_POSITION = re.compile(r" \(?(?:at )?line ([0-9]+),? column ([0-9]+)(?: char [0-9]+)?\)")
_MOST_SHOWN = 120


def read_toml(
    content: bytes, path: str, what: str, *, next: str = "correct the file"
) -> Dict[str, Any]:
    """The TOML document in `content`; messages call the file a `what`.

    Raises SlipwayError if the content is not TOML.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _not_toml(what, path, line, None, "not UTF-8", next) from None
    try:
        return dict(_loads(text))
    # For some invalid files, `toml` raises IndexError, TypeError and other errors from its own
    # bugs.
    except Exception as error:
        line, column, reason = _place(text, error)
        shown = text.split("\n")[line - 1].strip()[:_MOST_SHOWN]
        raise _not_toml(what, path, line, column, f"{reason}{shown}", next) from None


def _loads(text: str) -> Mapping[str, Any]:
    # Not at the top: programs that only read deployments as JSON start without `toml`.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415

        return tomllib.loads(text)
    import toml  # noqa: PLC0415

    return toml.loads(text)


def _place(text: str, error: Exception) -> Tuple[int, Optional[int], str]:
    """Line, column and reason of a fault; an error without position has no useful reason."""
    match = _POSITION.search(str(error))
    if match:
        reason = str(error)[: match.start()].rstrip(". ")
        return int(match.group(1)), int(match.group(2)), f"{reason}: "
    lines = text.split("\n")
    for count in range(1, len(lines)):
        # `toml` has not given a position. The shortest start of the file with the same error ends
        # with the faulty line.
        try:
            _loads("\n".join(lines[:count]))
        except Exception as other:
            if (type(other), str(other)) == (type(error), str(error)):
                return count, None, ""
    return len(lines), None, ""


def _not_toml(
    what: str, path: str, line: int, column: Optional[int], found: str, next: str
) -> SlipwayError:
    where = f"{path}:{line}" if column is None else f"{path}:{line}:{column}"
    return SlipwayError(f'the {what} "{path}" is not TOML', where=where, found=found, next=next)
