"""A strict reader of tar files that came from elsewhere: it ends, and says what is wrong.

The standard library's `tarfile` of CPython 3.7 to 3.9 goes round for ever on a member of negative
size, takes a cut-off archive for a complete one, and raises a dozen kinds of exception.  This one
knows what package builders and image tools write (ustar, GNU and pax headers) and refuses the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, Dict, Iterator, Optional

from build_rules.lib.errors import SlipwayError

_BLOCK = 512
_LONGEST_HEADER = 1 << 20
_MOST_MEMBERS = 1_000_000


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


@dataclass(frozen=True)
class Member:
    """`name` and `target` are as the archive has them; bytes that are no UTF-8 are escaped.

    The content of a file is the `size` bytes from `offset` on.
    """

    name: str
    kind: Kind
    mode: int
    target: str
    offset: int
    size: int


def read_members(
    file: BinaryIO, label: str, start: int = 0, end: Optional[int] = None
) -> Iterator[Member]:
    """The members of the uncompressed archive between two positions of `file`, in their order.

    `label` names the archive in messages.  The caller may move the file's position in between.
    """
    total = file.seek(0, 2) if end is None else end
    at, count = start, 0
    extra: Dict[str, str] = {}
    while True:
        header = _read(file, at, _BLOCK, total, label)
        if header.count(b"\0") == _BLOCK:
            return
        count += 1
        if count > _MOST_MEMBERS:
            raise _fault(label, at, f"more than {_MOST_MEMBERS} members")
        _check_sum(header, label, at)
        kind, content = header[156:157], at + _BLOCK
        size = _number(header[124:136], label, at)
        if kind in b"LKxg":
            if size > _LONGEST_HEADER:
                raise _fault(label, at, f"a header of {size} bytes")
            raw = _read(file, content, size, total, label)
            if kind == b"x":
                extra.update(_pax_records(raw, label, at))
            elif kind != b"g":
                key = "path" if kind == b"L" else "linkpath"
                extra.setdefault(key, _text(raw.split(b"\0")[0]))
            at = content + _padded(size)
            continue
        if "size" in extra:
            size = _decimal(extra["size"], label, at)
        member = _member(header, extra, content, size, label, at)
        if content + member.size > total:
            raise _fault(label, at, f'"{member.name}" is cut off')
        yield member
        extra = {}
        at = content + _padded(member.size)


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
        raise _fault(label, at, f'"{name}" is of an unknown kind, {header[156:157]!r}')
    if kind is Kind.FILE and name.endswith("/"):
        kind = Kind.FOLDER  # as tar wrote folders before there was a kind for them
    return Member(
        name=name,
        kind=kind,
        mode=_number(header[100:108], label, at) & 0o7777,
        target=extra.get("linkpath", _text(header[157:257].split(b"\0")[0])),
        offset=offset,
        # Some writers repeat the file's size for a link to it; no content follows.
        size=size if kind is Kind.FILE else 0,
    )


def _check_sum(header: bytes, label: str, at: int) -> None:
    blanked = header[:148] + b" " * 8 + header[156:]
    if _number(header[148:156], label, at) != sum(blanked):
        raise _fault(label, at, "the header's checksum is wrong")


def _number(field: bytes, label: str, at: int) -> int:
    if field[0] & 0x80:
        # GNU's binary form, for large files.  A negative one is read as a huge one, which no
        # archive is long enough for.
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise _fault(label, at, f"{digits!r} is no octal number")
    return int(digits, 8)


def _decimal(text: str, label: str, at: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _fault(label, at, f"{text!r} is no size")
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


def _read(file: BinaryIO, at: int, size: int, total: int, label: str) -> bytes:
    if at + size > total:
        raise _fault(label, at, "the archive is cut off")
    file.seek(at)
    return file.read(size)


def _fault(label: str, at: int, found: str) -> SlipwayError:
    return SlipwayError(
        f'"{label}" is not a sound tar archive', where=f"{label}, byte {at}", found=found
    )
