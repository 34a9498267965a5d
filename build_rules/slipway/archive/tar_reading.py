"""A strict reader of tar files from outside: it always terminates, and reports every fault.

The `tarfile` module of CPython 3.7 to 3.9 loops forever on a member with a negative size, accepts a
truncated archive as complete, and raises a dozen kinds of exceptions. This reader supports the
headers that package builders and image tools write (ustar, GNU and pax), and rejects all others.

The same code reads Slipway's own archives, with stricter rules: see `read_own_members`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Dict, Iterator, List, Optional, Tuple

from slipway.archive import tar_writing
from slipway.core.errors import SlipwayError

if TYPE_CHECKING:  # not in the `typing` of CPython 3.7
    from typing import Protocol
else:
    Protocol = object

_BLOCK = 512
_LONGEST_HEADER = 1 << 20
_MOST_MEMBERS = 1_000_000
# Two empty blocks end an archive. tar pads it with more of them to a multiple of twenty blocks.
_LONGEST_END = 22 * _BLOCK
# Longer than any path that Linux accepts (4096 bytes), and small enough to keep in memory.
_LONGEST_OWN_HEADER = 16 * _BLOCK


class Kind(Enum):
    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"
    DEVICE = "device, pipe or socket"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"6": Kind.DEVICE,
}


_OWN_KINDS = {
    Kind.FILE: tar_writing.FILE,
    Kind.HARD_LINK: tar_writing.HARD_LINK,
    Kind.SYMLINK: tar_writing.SYMLINK,
    Kind.FOLDER: tar_writing.FOLDER,
}


class Source(Protocol):
    """An archive to read: a file, or a stream that can only move forwards."""

    def seek(self, at: int) -> int:
        """Returns the new position: `at`, or the end of a stream that ends before it."""

    def read(self, size: int) -> bytes:
        """Returns fewer bytes only at the end."""


@dataclass(frozen=True)
class Member:
    """A member of an archive; `name` and `target` are as in the archive.

    Bytes that are not UTF-8 are surrogate escapes. The content of a file is the `size` bytes from
    `offset` on. `mtime` is in seconds, and 0 if the header does not have it as an octal number.
    """

    name: str
    kind: Kind
    mode: int
    target: str
    offset: int
    size: int
    mtime: int = 0


class _End(Enum):
    """The data that may follow the last member."""

    ANYTHING = "an empty block and anything"
    EMPTY_BLOCKS = "empty blocks alone"
    NOTHING = "nothing at all"


def read_members(
    file: BinaryIO, label: str, start: int = 0, end: Optional[int] = None
) -> Iterator[Member]:
    """The members of an uncompressed archive between two positions of `file`, in order.

    `label` is the archive's name in messages. Between two members, the caller may move the position
    of the file. Raises SlipwayError for a damaged archive.
    """
    total = file.seek(0, 2) if end is None else end
    return (member for member, _ in _walk(file, label, start, total, _End.ANYTHING))


def read_stream(source: Source, label: str) -> Iterator[Member]:
    """As `read_members`, for a stream: read each content before you take the next member."""
    return (member for member, _ in _walk(source, label, 0, None, _End.ANYTHING))


def read_own_members(
    source: Source, label: str, size: Optional[int], *, ends: bool
) -> Iterator[Tuple[Member, bool]]:
    """The members of an archive that Slipway wrote; True if the header is as Slipway writes it.

    `tar_writing` must produce the same header from the member, byte by byte. So owners, times,
    devices and extended headers cannot contain anything else. `size` is the archive's size; None
    for a stream. With `ends`, empty blocks end the archive; without it, the last member does.
    """
    end = _End.EMPTY_BLOCKS if ends else _End.NOTHING
    for member, header in _walk(source, label, 0, size, end):
        name = member.name
        if member.kind is Kind.FOLDER and name.endswith("/"):
            name = name[:-1]
        kind = _OWN_KINDS.get(member.kind)
        yield (
            replace(member, name=name),
            kind is not None
            and header
            == tar_writing.member_header(
                name, kind, member.mode, member.mtime, target=member.target, size=member.size
            ),
        )


def _walk(
    source: Source, label: str, at: int, total: Optional[int], end: _End
) -> Iterator[Tuple[Member, bytes]]:
    """The members from position `at` on, each with its header blocks (empty for `ANYTHING`)."""
    count = 0
    extra: Dict[str, str] = {}
    blocks: List[bytes] = []
    own = end is not _End.ANYTHING
    while True:
        may_end = end is _End.NOTHING and not blocks
        header = _read(source, at, _BLOCK, total, label, may_end)
        if not header:
            return
        if header.count(b"\0") == _BLOCK:
            if own:
                _check_end(source, at, label, end)
            return
        count += 1
        if count > _MOST_MEMBERS:
            raise _fault(label, at, f"more than {_MOST_MEMBERS} members")
        _check_sum(header, label, at)
        kind, content = header[156:157], at + _BLOCK
        size = _number(header[124:136], label, at)
        if kind in b"LKxg":
            if own and kind in b"xg":
                raise _fault(label, at, "a pax header, which Slipway does not write")
            if size > (_LONGEST_OWN_HEADER if own else _LONGEST_HEADER) or len(blocks) > 2:
                raise _fault(label, at, f"a header of {size} bytes")
            raw = _read(source, content, _padded(size) if own else size, total, label)
            if own:
                blocks.append(header + raw)
            _take_extra(extra, kind, raw, label, at)
            at = content + _padded(size)
            continue
        if "size" in extra:
            size = _decimal(extra["size"], label, at)
        member = _member(header, extra, content, size, label, at)
        if total is not None and content + member.size > total:
            raise _fault(label, at, f'"{member.name}" is truncated')
        yield member, b"".join([*blocks, header]) if own else b""
        extra, blocks = {}, []
        at = content + _padded(member.size)


def _take_extra(extra: Dict[str, str], kind: bytes, raw: bytes, label: str, at: int) -> None:
    if kind == b"x":
        extra.update(_pax_records(raw, label, at))
    elif kind != b"g":
        key = "path" if kind == b"L" else "linkpath"
        extra.setdefault(key, _text(raw.split(b"\0")[0]))


def _check_end(source: Source, at: int, label: str, end: _End) -> None:
    """Raises SlipwayError if the blocks from the empty block `at` on do not end the archive."""
    if end is _End.NOTHING:
        raise _fault(label, at, "an empty block")
    second = at + _BLOCK
    rest = source.read(_LONGEST_END) if source.seek(second) == second else b""
    if not _BLOCK <= len(rest) < _LONGEST_END or len(rest) % _BLOCK or rest.strip(b"\0"):
        raise _fault(label, at, "unexpected data after the last member")


def _member(
    header: bytes, extra: Dict[str, str], offset: int, size: int, label: str, at: int
) -> Member:
    name = _text(header[:100].split(b"\0")[0])
    prefix = _text(header[345:500].split(b"\0")[0])
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + "/" + name
    name = extra.get("path", name)
    kind = _KINDS.get(header[156:157])
    if kind is None or any(key.startswith("GNU.sparse") for key in extra):
        raise _fault(label, at, f'"{name}" has the unknown type {header[156:157]!r}')
    if kind is Kind.FILE and name.endswith("/"):
        kind = Kind.FOLDER  # the old V7 tar format has no type for folders, only this slash
    return Member(
        name=name,
        kind=kind,
        mode=_number(header[100:108], label, at) & 0o7777,
        target=extra.get("linkpath", _text(header[157:257].split(b"\0")[0])),
        offset=offset,
        # Some tools repeat the size of the linked file in the header of a hard link, although no
        # content follows. Using it would skip the next members.
        size=size if kind is Kind.FILE else 0,
        mtime=_time(header[136:148]),
    )


def _check_sum(header: bytes, label: str, at: int) -> None:
    blanked = header[:148] + b" " * 8 + header[156:]
    if _number(header[148:156], label, at) != sum(blanked):
        raise _fault(label, at, "the header's checksum is wrong")


def _number(field: bytes, label: str, at: int) -> int:
    if field[0] & 0x80:
        # GNU tar's base-256 form, for sizes of 8 GiB and more. A negative number is read as a huge
        # one, so that the check against the size of the archive rejects it.
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise _fault(label, at, f"{digits!r} is not an octal number")
    return int(digits, 8)


def _time(field: bytes) -> int:
    digits = field.split(b"\0")[0].strip(b" ")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0


def _decimal(text: str, label: str, at: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _fault(label, at, f"{text!r} is not a size")
    return int(text)


def _pax_records(raw: bytes, label: str, at: int) -> Dict[str, str]:
    records: Dict[str, str] = {}
    while raw:
        head, space, _ = raw[:20].partition(b" ")
        length = int(head) if space and head.isdigit() else 0
        record = raw[len(head) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if length > len(raw) or not equals or record[-1:] != b"\n":
            raise _fault(label, at, "an extended header is damaged")
        records[_text(key)] = _text(value)
        raw = raw[length:]
    return records


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _read(
    source: Source, at: int, size: int, total: Optional[int], label: str, may_end: bool = False
) -> bytes:
    """`size` bytes; empty at the end of the archive if it `may_end` there."""
    if total is None or at + size <= total:
        data = source.read(size) if source.seek(at) == at else b"cut off"
        if len(data) == size or (may_end and not data):
            return data
    elif may_end and at == total:
        return b""
    raise _fault(label, at, "the archive is truncated")


def _fault(label: str, at: int, found: str) -> SlipwayError:
    return SlipwayError(
        f'"{label}" is not a valid tar archive', where=f"{label}, byte {at}", found=found
    )
