"""Files that foreign commands left, read as what they are: anything.

A link may lead out of their folder, a pipe never ends, and a file with a hole can be larger than any
disk.  No process is left that could change them meanwhile.
"""

from __future__ import annotations

import os
import stat

from build_rules.lib.errors import SlipwayError

MOST_TEXT = 16 << 20
"""Bytes of a file that is read as a text, such as a package.json."""


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
        # Opened without waiting: a pipe that nobody writes to would keep it for ever.
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
