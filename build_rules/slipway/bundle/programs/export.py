"""Unpacks the archives of `export`: the runtime to `node_runtime`, the others to the folder itself.

`export` starts this program outside of any sandbox, with the folder as argument. The program's modules
are in a subfolder; at the end the program removes the subfolder and the archives.
"""

from __future__ import annotations

import os
import shutil
import sys

from slipway.archive import unpacking
from slipway.core.errors import SlipwayError

_TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
_RUNTIME = "runtime.tar"


def main(folder: str) -> int:
    archives = [name for name in sorted(os.listdir(folder)) if name.endswith(".tar")]
    try:
        for name in archives:
            target = os.path.join(folder, "node_runtime") if name == _RUNTIME else folder
            os.makedirs(target, exist_ok=True)
            unpacking.unpack(os.path.join(folder, name), target, keep_times=True)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    for name in archives:
        os.unlink(os.path.join(folder, name))
    shutil.rmtree(_TOP)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
