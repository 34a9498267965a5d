"""The first program of a container: unpacks a tar from stdin, and becomes the command in its arguments.

The Python of the image runs the text of this file, which imports nothing of Slipway: its modules are in
the tar. Stdin stays open for the command.
"""

from __future__ import annotations

import os
import sys
import tarfile

BUILD = "/build"
MODULES = ".slipway"
"""The folder below /build with the modules of Slipway."""

OUT = "out"
PROGRAM_USER = 1001
"""The user of the step's program; foreign commands run as USER_ID of `job`."""

RECORD = tarfile.RECORDSIZE
"""The input is read in whole tar records, so that nothing after the archive is consumed."""


def main() -> None:
    os.umask(0o022)
    os.makedirs(os.path.join(BUILD, OUT))
    os.chown(os.path.join(BUILD, OUT), PROGRAM_USER, PROGRAM_USER)
    with tarfile.open(
        fileobj=os.fdopen(0, "rb", 0, closefd=False), mode="r|", bufsize=RECORD
    ) as tar:
        tar.extractall(BUILD)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
