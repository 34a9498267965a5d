"""Makes a Node runtime from the archives of Node.js and npm, and tries it.

Writes `runtime.tar`, the runtime for later steps.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List

from slipway.archive import layers, package_tarball
from slipway.core.errors import SlipwayError
from slipway.isolation import jailed
from slipway.runtime import bundled_npm
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram

_TOP = ("bin", "include", "lib", "share")


@dataclass(frozen=True)
class Arguments:
    """The versions that Node.js and npm must print."""

    version: str
    npm_version: str


PROGRAM = StepProgram(__name__, Arguments)
RUNTIME = Output("runtime.tar")


def make(arguments: Arguments) -> None:
    version, npm_version = arguments.version, arguments.npm_version
    package_tarball.unpack("in/node.tgz", f"Node.js {version}", "node")
    bundled_npm.install("in/npm.tgz", npm_version, "node")
    _try("Node.js", ["node/bin/node", "-v"], f"v{version}")
    _try(
        "npm",
        ["node/bin/node", f"node/{bundled_npm.FOLDER}/bin/npm-cli.js", "--version"],
        npm_version,
    )
    entries = layers.walk("node", keep=lambda path: path.split("/")[0] in _TOP)
    layers.write_tar(RUNTIME.path, entries)


def _try(what: str, argv: List[str], expected: str) -> None:
    try:
        status, output = jailed.capture(argv, ".", os.environ)
    except OSError as error:
        status, output = -1, f"{argv[0]}: {error.strerror}"
    if status != 0 or output != expected:
        raise SlipwayError(
            f'{what} does not print its version "{expected}"',
            found=output or f"exit status {status}",
            next="correct the version or the archive in the definition",
        )


if __name__ == "__main__":
    run(PROGRAM, make)
