"""Reads files that foreign commands left, and trusts nothing about them.

A symlink may lead out of the folder, a pipe never ends, and a sparse file can be larger than any
disk.  The commands have ended, so nothing changes the files during a read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterator

from slipway.core.errors import SlipwayError

MOST_TEXT = 16 << 20
"""Bytes of a file that is read as a text, such as a package.json."""


@contextlib.contextmanager
def collecting(what: str, where: str, *tops: str) -> Iterator[None]:
    """Names `what` left a tree that cannot be collected, and `where` it is declared.

    `tops` are the folders that it may have replaced: a link in the place of one leads anywhere.
    """
    try:
        for top in tops:
            if os.path.islink(top) or not os.path.isdir(top):
                raise NotADirectoryError(0, "it was replaced by something else", top)
        yield
    except (RecursionError, PermissionError, FileNotFoundError, NotADirectoryError) as error:
        found = "folders that are nested too deeply"
        if isinstance(error, OSError):
            found = f"{error.filename}: {error.strerror}"
        raise SlipwayError(
            f"{what} left files that a build step cannot read",
            where=where,
            found=found,
            next="have the script remove them, or make them readable",
        ) from None
    except SlipwayError as error:
        if error.where:
            raise
        raise SlipwayError(
            error.what, where=f"{where}: {what}", found=error.found, next=error.next
        ) from None


class NotAFile(SlipwayError):
    """There is no regular file of a reasonable size; the text says what is there."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f'"{path}" is not a file that a build step can read',
            found=found,
            next="see which script writes it, and have it write a regular file",
        )


def read(path: str, top: str, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file below the folder `top`, which links may lead to.

    Raises NotAFile for anything else, and for files larger than `most` bytes.
    """
    place = inside(path, top)
    try:
        # Without O_NONBLOCK, opening a pipe without a writer never returns.
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
    """The real path; raises NotAFile if that is not below the real path of `top`."""
    place, real_top = os.path.realpath(path), os.path.realpath(top)
    if not place.startswith(real_top + "/"):
        raise NotAFile(path, f'a link to "{place}", out of its folder')
    return place
