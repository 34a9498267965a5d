"""Reads files that foreign commands left, without trusting them.

A symlink can lead out of the folder, a read from a pipe may never end, and a sparse file can be
larger than any disk. The commands have exited, so the files cannot change during a read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterator

from slipway.core.errors import SlipwayError

MOST_TEXT = 16 << 20
"""The maximum size in bytes of a text file such as package.json."""


@contextlib.contextmanager
def collecting(what: str, where: str, *tops: str) -> Iterator[None]:
    """Turns errors while a tree is collected into a SlipwayError.

    `what` names the command that left the tree, and `where` the place that declares it. `tops` are
    folders that must still be folders: a symlink in their place could lead anywhere.
    """
    try:
        for top in tops:
            if os.path.islink(top) or not os.path.isdir(top):
                raise NotADirectoryError(0, "the folder was replaced", top)
        yield
    except (RecursionError, PermissionError, FileNotFoundError, NotADirectoryError) as error:
        found = "folders that are nested too deeply"
        if isinstance(error, OSError):
            found = f"{error.filename}: {error.strerror}"
        raise SlipwayError(
            f"{what} left files that a build step cannot read",
            where=where,
            found=found,
            next="change the script, so that it removes these files or makes them readable",
        ) from None
    except SlipwayError as error:
        if error.where:
            raise
        raise SlipwayError(
            error.what, where=f"{where}: {what}", found=error.found, next=error.next
        ) from None


class NotAFile(SlipwayError):
    """The path is not a regular file of an acceptable size; the text says what was found."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f'"{path}" is not a file that a build step can read',
            found=found,
            next="change the script that writes it, so that it writes a regular file",
        )


def read(path: str, top: str, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file below the folder `top`; symlinks may lead to it.

    Raises NotAFile for anything else, and for files of more than `most` bytes.
    """
    place = inside(path, top)
    try:
        # Without O_NONBLOCK, open() of a pipe without a writer never returns.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotAFile(path, str(error.strerror)) from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise NotAFile(path, "not a regular file")
        if state.st_size > most:
            raise NotAFile(path, f"{state.st_size} bytes, more than {most}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def inside(path: str, top: str) -> str:
    """The real path of `path`; raises NotAFile if it is not below the real path of `top`."""
    place, real_top = os.path.realpath(path), os.path.realpath(top)
    if not place.startswith(real_top + "/"):
        raise NotAFile(path, f'a symlink to "{place}", outside its folder')
    return place
