"""Sizes of packaged files, and the difference from the previous build.

The files in `dist` are not enough for this: a build without changes would be compared with itself, and
a new version has another file name. So Slipway keeps a record per target in the workspace, with the
files of its last two builds that differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Tuple

from slipway.core import text_table

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class PackedFile:
    """`kind`, such as `.tar.gz`, is the same in all versions; `size` is in bytes."""

    kind: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Sizes:
    """The SHA-256 and size of each file of a build, by kind."""

    files: Mapping[str, Tuple[str, int]] = field(default_factory=dict)


def update_record(path: str, files: Sequence[PackedFile]) -> Sizes:
    """Records the files, and returns the last build with another content; empty if unknown.

    A record that cannot be read counts as empty, and a failed write is ignored: the size table must not
    fail a build.
    """
    last, before = _read(path)
    new = Sizes({file.kind: (file.sha256, file.size) for file in files})
    if new == last:
        return before
    with contextlib.suppress(OSError):
        _write(path, new, last)
    return last


def render(files: Sequence[PackedFile], before: Sizes) -> str:
    """A table of the files, without a final line break."""
    rows = [("file", "size", "difference")]
    for file in files:
        difference = _difference(file, before.files.get(file.kind))
        rows.append((file.name, format_size(file.size), difference))
    return text_table.render(rows)


def format_size(size: int) -> str:
    """A size such as `31.2 MB`, in powers of 1000 like `ls --si`."""
    for unit, name in _UNITS:
        # From 999,950 bytes on, "kB" would be rounded to "1000.0 kB".
        if size >= unit * 0.99995:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _difference(file: PackedFile, before: Optional[Tuple[str, int]]) -> str:
    if before is None:
        return "-"
    sha256, size = before
    if sha256 == file.sha256:
        return "same"
    return ("-" if file.size < size else "+") + format_size(abs(file.size - size))


def _read(path: str) -> Tuple[Sizes, Sizes]:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        return _sizes(record["last"]), _sizes(record["before"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return Sizes(), Sizes()


def _sizes(record: Mapping[str, Any]) -> Sizes:
    return Sizes({kind: (str(sha256), int(size)) for kind, (sha256, size) in record.items()})


def _write(path: str, last: Sizes, before: Sizes) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # Two Pants processes may write at the same time, so replace the whole file atomically.
    handle, scratch = tempfile.mkstemp(dir=folder)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"last": last.files, "before": before.files}, file, sort_keys=True)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
