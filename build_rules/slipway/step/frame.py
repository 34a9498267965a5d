"""The frame of programs in build steps: reads the arguments, and reports errors as messages."""

from __future__ import annotations

import errno
import os
import sys
from typing import Callable, NoReturn, TypeVar

from slipway.core.errors import SlipwayError
from slipway.isolation import jail_protocol
from slipway.isolation.job import hide
from slipway.step.interface import ARGUMENTS, StepProgram

A = TypeVar("A")


def run(program: StepProgram[A], main: Callable[[A], None]) -> NoReturn:
    """Calls `main` in `/build` with the step's arguments, and exits.

    Prints a SlipwayError as its text, and exits with status 1.
    """
    # Foreign commands run as the same user. Without this they could trace this process, or send
    # requests to the jail in its place.
    hide()
    os.set_inheritable(jail_protocol.DESCRIPTOR, False)
    os.chdir("/build")
    arguments = program.read_file(os.path.join("in", ARGUMENTS))
    try:
        main(arguments)
    except SlipwayError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        sys.exit(1)
    except RecursionError:
        deep = SlipwayError(
            "folders in a build step are nested too deeply",
            where="/build",
            next="change the script that creates these folders, so that it removes them",
        )
        print(deep, file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
            raise
        full = SlipwayError(
            "no space left for a build step",
            where=str(error.filename or "/build"),
            found=os.strerror(error.errno),
            next="free memory, or space on the disk of [GLOBAL] local_execution_root_dir",
        )
        print(full, file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
