"""Checks and unpacks archives of packages from outside, such as npm tarballs.

npm and tar silently skip or change unusual entries of a tarball, each in its own way. A release
must not depend on that. So this module checks the whole archive before anything uses it, and
rejects an archive with unusual entries with a list of all of them.
"""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO, Collection, Dict, List, cast

from slipway.archive.decompression import unpacked_chunks
from slipway.archive.tar_reading import Kind, Member, read_members
from slipway.core.errors import SlipwayError, SlipwayErrors, suggesting

MOST_MEMBERS = 100_000
MOST_BYTES = 1 << 30
_CHUNK = 1 << 20
_MOST_FAULTS = 10
NEXT = "use another version of the package, or report this one to its registry"


def check(path: str, label: str) -> None:
    """Raises SlipwayError if npm must not unpack the archive at `path`, of the package `label`.

    Hard links are acceptable: every npm skips them, so no tree has them.
    """
    with _scratch_file() as plain:
        _members(path, label, plain, npm_unpacks=True)


def manifest(path: str, label: str) -> bytes:
    """The package.json of the archive at `path`; raises SlipwayError as check() does, or without one."""
    found = read(path, label, ("package.json",))
    if not found:
        raise SlipwayError(f'the package "{label}" has no package.json', next=NEXT)
    return found["package.json"]


def read(path: str, label: str, names: Collection[str]) -> Dict[str, bytes]:
    """The files with these paths in a package, without its top folder; raises SlipwayError as check() does."""
    found: Dict[str, bytes] = {}
    with _scratch_file() as plain:
        # tar keeps the last of several entries with the same name
        for member in _members(path, label, plain, npm_unpacks=True):
            inside = "/".join(_parts(member.name)[1:])
            if inside in names and member.kind is Kind.FILE:
                plain.seek(member.offset)
                found[inside] = plain.read(member.size)
    return found


def unpack(path: str, label: str, target: str) -> None:
    """Unpacks a package without its top folder into the new folder `target`.

    Raises SlipwayError as check() does.
    """
    os.mkdir(target)
    with _scratch_file() as plain:
        for member in _members(path, label, plain):
            inside = _parts(member.name)[1:]
            if not inside:
                continue
            place = os.path.join(target, *inside)
            if member.kind is Kind.FOLDER:
                os.makedirs(place, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if os.path.lexists(place):
                os.unlink(place)  # tar keeps the last of several entries with the same name
            if member.kind is Kind.SYMLINK:
                os.symlink(member.target, place)
            else:
                _write(place, plain, member)


def _scratch_file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile())


def _members(path: str, label: str, plain: BinaryIO, npm_unpacks: bool = False) -> List[Member]:
    with suggesting(NEXT):
        return _checked_members(path, label, plain, npm_unpacks)


def _checked_members(path: str, label: str, plain: BinaryIO, npm_unpacks: bool) -> List[Member]:
    with open(path, "rb") as file:
        for chunk in unpacked_chunks(file, label, MOST_BYTES):
            plain.write(chunk)
    members: List[Member] = []
    faults: List[str] = []
    for member in read_members(plain, label):
        if len(members) >= MOST_MEMBERS:
            raise SlipwayError(f'"{label}" is too large', found=f"more than {MOST_MEMBERS} entries")
        fault = _fault(member)
        if fault and not (npm_unpacks and member.kind is Kind.HARD_LINK):
            faults.append(fault)
        members.append(member)
    if faults:
        shown = faults[:_MOST_FAULTS]
        if len(faults) > len(shown):
            shown.append(f"… and {len(faults) - len(shown)} more")
        raise SlipwayErrors(
            f'the package "{label}" contains entries that a release must not contain',
            shown,
            next=NEXT,
        )
    return members


def _parts(name: str) -> List[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _fault(member: Member) -> str:
    """Why an entry is not acceptable; empty if it is."""
    name = member.name
    if _is_odd(name):
        return f"{os.fsencode(name)!r}: its name is not UTF-8 or contains a control character"
    file, link = member.kind is Kind.FILE, member.kind is Kind.SYMLINK
    for odd, what in (
        (name.startswith("/"), "an absolute name"),
        (".." in _parts(name), "its name leaves the package"),
        (member.kind is Kind.DEVICE, f"a {member.kind.value}"),
        (member.kind is Kind.HARD_LINK, f'a hard link to "{member.target}"'),
        (file and bool(member.mode & 0o6000), "a set-uid or set-gid file"),
        (link and _leaves(name, member.target), f'a symlink out of the package: "{member.target}"'),
    ):
        if odd:
            return f'"{name}": {what}'
    return ""


def _is_odd(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return any(character < " " or character == "\x7f" for character in name)


def _leaves(name: str, target: str) -> bool:
    if target.startswith("/"):
        return True
    depth = len(_parts(name)) - 2  # below the package's top folder
    for part in _parts(target):
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _write(place: str, plain: BinaryIO, member: Member) -> None:
    plain.seek(member.offset)
    left = member.size
    with open(place, "wb") as file:
        while left:
            chunk = plain.read(min(left, _CHUNK))
            file.write(chunk)
            left -= len(chunk)
    os.chmod(place, 0o755 if member.mode & 0o100 else 0o644)
