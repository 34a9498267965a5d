"""Replaces the npm of a runtime from source with the npm that its definition pins.

This is a separate step, because the build is slow and does not depend on npm. Writes `runtime.tar`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from slipway.archive import layers
from slipway.runtime import bundled_npm
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram


@dataclass(frozen=True)
class Arguments:
    """The version of the npm in `in/npm.tgz`."""

    npm_version: str


PROGRAM = StepProgram(__name__, Arguments)
RUNTIME = Output("runtime.tar")


def replace(arguments: Arguments) -> None:
    shutil.copytree("node_runtime", "node", symlinks=True)
    bundled_npm.install("in/npm.tgz", arguments.npm_version, "node")
    layers.write_tar(RUNTIME.path, layers.walk("node"))


if __name__ == "__main__":
    run(PROGRAM, replace)
