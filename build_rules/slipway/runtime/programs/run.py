"""Unpacks the runtime beside itself and becomes its program, without a shell or tar of the machine.

The goal `run` starts this program outside any sandbox.
"""

from __future__ import annotations

import os
import sys
from typing import List, NoReturn

from slipway.archive import unpacking
from slipway.core.errors import SlipwayError

_TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


def main(arguments: List[str]) -> NoReturn:
    """The first argument is the program, such as `bin/node`; the others are for it."""
    folder = os.path.join(_TOP, "runtime")
    os.mkdir(folder)
    try:
        unpacking.unpack(os.path.join(_TOP, "runtime.tar"), folder, keep_times=True)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    program = os.path.join(folder, arguments[0])
    os.execv(program, [program, *arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
