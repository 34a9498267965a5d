"""Unpacks a folder of a Python wheel, which is a zip archive from outside.

As with npm tarballs, the whole archive is checked before anything is written, and an archive with
unusual entries is rejected.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections import Counter
from typing import List, Optional, Sequence, Tuple

from slipway.archive.package_tarball import MOST_BYTES, MOST_MEMBERS
from slipway.core.errors import SlipwayError, SlipwayErrors, suggesting

_MAGIC = b"PK\x03\x04"
_CHUNK = 1 << 20
_MOST_FAULTS = 10
_ENCRYPTED = 1
# zipfile reports damaged data with any of these.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)
NEXT = "use another version, or report this wheel to its project"


def is_zip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def unpack(path: str, label: str, target: str, folder: str, wanted: Sequence[str]) -> None:
    """Unpacks `wanted` (files, or folders with all that is in them) from `folder` of the wheel at `path`.

    `target` is a new folder. Raises SlipwayError for a damaged, encrypted or too large archive, for
    names that leave it, for names that are there twice, and for entries other than files and folders.
    """
    os.mkdir(target)
    with suggesting(NEXT):
        try:
            with zipfile.ZipFile(path) as archive:
                for info, name in _checked(archive, label, f"{folder}/"):
                    if any(name == one or name.startswith(f"{one}/") for one in wanted):
                        _write(archive, info, os.path.join(target, *name.split("/")))
        except _DAMAGED as error:
            raise SlipwayError(f'the wheel "{label}" is damaged', found=str(error)) from None


def read(path: str, label: str, name: str) -> Optional[bytes]:
    """The file `name` of a wheel; None if it does not exist. Raises SlipwayError as unpack() does."""
    with suggesting(NEXT):
        try:
            with zipfile.ZipFile(path) as archive:
                found = [info for info, one in _checked(archive, label, "") if one == name]
                return archive.read(found[0]) if found else None
        except _DAMAGED as error:
            raise SlipwayError(f'the wheel "{label}" is damaged', found=str(error)) from None


def _checked(
    archive: zipfile.ZipFile, label: str, folder: str
) -> List[Tuple[zipfile.ZipInfo, str]]:
    """The files below `folder`, with their names relative to it."""
    infos = archive.infolist()
    size = sum(info.file_size for info in infos)
    if len(infos) > MOST_MEMBERS or size > MOST_BYTES:
        raise SlipwayError(
            f'the wheel "{label}" is too large', found=f"{len(infos)} entries, {size} bytes"
        )
    counts = Counter(info.filename for info in infos)
    faults = [f"{name!r}: is there twice" for name, count in counts.items() if count > 1]
    faults += [f"{info.filename!r}: {fault}" for info in infos for fault in [_fault(info)] if fault]
    if faults:
        raise SlipwayErrors(
            f'the wheel "{label}" contains entries that a release must not contain',
            faults[:_MOST_FAULTS],
        )
    return [
        (info, info.filename[len(folder) :])
        for info in infos
        if info.filename.startswith(folder) and not info.is_dir()
    ]


def _fault(info: zipfile.ZipInfo) -> str:
    parts = info.filename.rstrip("/").split("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if any(part in ("", ".", "..") for part in parts):
        return "its name leaves the wheel"
    # zipfile cuts a name at a NUL, so another name would be unpacked than the one that is shown.
    if "\\" in info.orig_filename or not info.orig_filename.isprintable():
        return "its name contains a backslash or a control character"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "neither a file nor a folder"
    return "encrypted" if info.flag_bits & _ENCRYPTED else ""


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: str) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    left = info.file_size
    with archive.open(info) as source, open(place, "xb") as file:
        for chunk in iter(lambda: source.read(_CHUNK), b""):
            left -= len(chunk)
            if left < 0:
                raise SlipwayError(f"{info.filename!r} is larger than the wheel says")
            file.write(chunk)
    os.chmod(place, 0o755 if info.external_attr >> 16 & 0o100 else 0o644)
