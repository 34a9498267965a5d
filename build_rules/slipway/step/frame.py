"""The frame of a program that runs in a build step: arguments in, outputs or one message out."""

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
    """Calls `main` at `/build` with the step's arguments; a SlipwayError ends with its text."""
    # Foreign commands of the same user can neither trace this process nor talk in its place.
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
            "a build step found folders that are nested too deeply",
            where="/build",
            next="see which script makes them, and have it remove them",
        )
        print(deep, file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
            raise
        full = SlipwayError(
            "no space is left for a build step",
            where=str(error.filename or "/build"),
            found=os.strerror(error.errno),
            next="free space on the disk of [GLOBAL] local_execution_root_dir, or memory",
        )
        print(full, file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
