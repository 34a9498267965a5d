"""Reads the checksum list of a Node.js release, `SHASUMS256.txt`: the SHA-256 of each file.

The format is the output of `sha256sum`. Names can have a folder, such as `win-x64/node.exe`. A list
decides which archives Slipway accepts, so a line that is not clear is an error, and never skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Dict, List, Mapping, Optional

from slipway.core.errors import SlipwayError, SlipwayErrors, nearest
from slipway.core.printable import one_line

LARGEST = 1 << 20
_MOST_LINES = 10_000  # for comparison, Node's own lists have 40 lines
_MOST_FAULTS = 10
_LONGEST_NAME = 255
_SHOWN = 100
_LINE = re.compile(r"(?P<hash>[0-9A-Fa-f]+) [ *](?P<name>.+)", re.DOTALL)
_DIGITS = 64
# The sizes of the hashes that sums programs write, in hexadecimal digits.
_OTHER_HASHES = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 96: "SHA-384", 128: "SHA-512"}
_NEXT = "use the SHASUMS256.txt of the release folder, and fetch it again"


@dataclass(frozen=True)
class ChecksumList:
    """The SHA-256 of each file of a list, in lower case; `path` is the list's name for messages."""

    path: str
    hashes: Mapping[str, str]

    def hash_of(self, name: str) -> str:
        """The SHA-256 of the file `name`; raises SlipwayError if the list does not have it."""
        found = self.hashes.get(name)
        if found is None:
            similar = nearest(name, self.hashes)
            raise SlipwayError(
                f'the checksum list has no file "{name}"',
                where=self.path,
                found="\n".join(similar) if similar else f"{len(self.hashes)} other files",
                next="use one of these names, or the list of another release"
                if similar
                else "use the list of another release",
            )
        return found


def read_checksums(content: bytes, path: str) -> ChecksumList:
    """Parses a list; raises SlipwayError, or SlipwayErrors with all faults of its lines.

    Lines may end with CRLF: the signature or the hash of the list has decided about its bytes, and
    a clear signature does not cover line ends, so gpgv accepts a list with either.
    """
    check_not_empty(content, path)
    lines = _lines(content, path)
    hashes: Dict[str, str] = {}
    numbers: Dict[str, int] = {}
    faults: List[str] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        fault = _fault_of_line(match["hash"], match["name"]) if match else _NOT_A_LINE
        if match is None or fault:
            faults.append(f"line {number}: {fault}: {_quoted(line)}")
            continue
        name, sha256 = match["name"], match["hash"].lower()
        if hashes.setdefault(name, sha256) != sha256:
            faults.append(
                f"line {number}: another hash than line {numbers[name]} for the same file: "
                f"{_quoted(line)}"
            )
        numbers.setdefault(name, number)
    if faults:
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if faults[_MOST_FAULTS:] else []
        raise SlipwayErrors(
            f'the checksum list "{path}" has invalid lines',
            [*faults[:_MOST_FAULTS], *more],
            where=path,
            next=_NEXT,
        )
    if not hashes:
        raise _empty(content, path)
    return ChecksumList(path, MappingProxyType(hashes))


def check_not_empty(content: bytes, path: str) -> None:
    """Raises SlipwayError if a list has no line with a text."""
    if not content.strip():
        raise _empty(content, path)


def _empty(content: bytes, path: str) -> SlipwayError:
    return SlipwayError(
        f'the checksum list "{path}" is empty', found=f"{len(content)} bytes", next=_NEXT
    )


def _lines(content: bytes, path: str) -> List[str]:
    if len(content) > LARGEST:
        raise SlipwayError(
            f'the checksum list "{path}" is too long',
            found=f"{len(content)} bytes, more than {LARGEST}",
            next=_NEXT,
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SlipwayError(
            f'the checksum list "{path}" is not UTF-8',
            found=f"byte 0x{content[error.start]:02x} at offset {error.start}",
            next=_NEXT,
        ) from None
    *lines, rest = text.split("\n")
    if rest:
        # The last name could be the start of another name: `node.tar.gz` is one of `node.tar.gz.asc`.
        raise SlipwayError(
            f'the checksum list "{path}" is cut off: its last line does not end',
            where=f"{path}:{len(lines) + 1}",
            found=rest[:_SHOWN],
            next=_NEXT,
        )
    if len(lines) > _MOST_LINES:
        raise SlipwayError(
            f'the checksum list "{path}" is too long',
            found=f"{len(lines)} lines, more than {_MOST_LINES}",
            next=_NEXT,
        )
    return [line[:-1] if line.endswith("\r") else line for line in lines]


_NOT_A_LINE = "not `<SHA-256>  <name>`"


def _fault_of_line(digits: str, name: str) -> Optional[str]:
    if len(digits) != _DIGITS:
        other = _OTHER_HASHES.get(len(digits))
        return f"{other} instead of SHA-256" if other else f"a hash with {len(digits)} digits"
    return _fault_of_name(name)


def _fault_of_name(name: str) -> Optional[str]:
    if len(name.encode()) > _LONGEST_NAME:
        return f"a name with more than {_LONGEST_NAME} bytes"
    if one_line(name) != name or "\t" in name or name != name.strip():
        return "a name with control characters, or with spaces around it"
    if "\\" in name:
        return "a name with a backslash"
    if name.startswith("/"):
        return "an absolute path"
    if {"", ".", ".."} & set(name.split("/")):
        return "a path with an empty part, `.` or `..`"
    return None


def _quoted(line: str) -> str:
    shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
    return f'"{one_line(shown)}"'
