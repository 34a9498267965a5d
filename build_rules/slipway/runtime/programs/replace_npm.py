"""Gives a runtime that was built from source the npm that its definition pins.

Apart from the build, which takes long and does not change with npm.  Leaves `runtime.tar`.
"""

from __future__ import annotations

import shutil
from typing import Any, Dict

from slipway.archive import layers
from slipway.runtime import bundled_npm
from slipway.step.frame import run_untyped


def replace(arguments: Dict[str, Any]) -> None:
    shutil.copytree("node_runtime", "node", symlinks=True)
    bundled_npm.install("in/npm.tgz", arguments["npm_version"], "node")
    layers.write_tar("out/runtime.tar", layers.walk("node"))


if __name__ == "__main__":
    run_untyped(replace)
