"""Compiles a native addon of the workspace for one Node version, and tests it.

The addon is in `node_modules` beside its dependencies, and npm runs its install script as an install
would. Writes `addon.tar`, the addon's folder as in a release, with `addon.elf.json`; `addon.tar.gz`,
only the compiled files; and `addon.json`, the size and the number of Node's binary interface.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Dict, NamedTuple, Set, Tuple

from slipway.archive import layers, unpacking
from slipway.core.errors import SlipwayError
from slipway.core.placeholders import ORIGIN
from slipway.elf import facts
from slipway.isolation import jailed
from slipway.isolation.jail_protocol import Subject
from slipway.npm.scripts import native_packages, rebuild
from slipway.npm.scripts.loopback import LoopbackServer
from slipway.runtime import node_process
from slipway.runtime.headers import NodeHeaders
from slipway.step import left_files
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_APP = "app"


@dataclass(frozen=True)
class Arguments:
    """The addon to compile; `executables` lists its executable files.

    `node` is the version of Node, and `python` the Python for node-gyp; `test_script` may be empty.
    """

    name: str
    version: str
    node: str
    python: str
    executables: Tuple[str, ...]
    test_script: str


@dataclass(frozen=True)
class Report:
    """`bytes` is the size of the addon's folder; `modules` is the number of Node's binary interface."""

    bytes: int
    modules: int


class Outputs(NamedTuple):
    folder: Output = Output("addon.tar")
    binaries: Output = Output("addon.tar.gz")
    facts: Output = Output("addon.elf.json")
    report: ReportFile[Report] = ReportFile("addon.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def compile_addon(arguments: Arguments) -> None:
    name, label = arguments.name, f"{arguments.name}@{arguments.version}"
    place = os.path.join(_APP, "node_modules", name)
    os.mkdir(_APP)
    for archive in sorted(os.listdir("in/installed")):
        unpacking.unpack(os.path.join("in/installed", archive), _APP)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    layers.lay_out(layers.walk("in/sources", executables=arguments.executables), place)
    with open(os.path.join(_APP, "package.json"), "w", encoding="utf-8") as file:
        json.dump({"name": "app", "version": "0.0.0", "private": True}, file)
    subject = Subject(name, arguments.version, _install_scripts(place, label))
    before = {entry.name for entry in layers.walk(place)}
    headers = NodeHeaders(node_process.RUNTIME, arguments.node)
    with LoopbackServer((), {}, headers) as server:
        rebuild.rebuild(subject, _APP, server, python=arguments.python, from_source=True)
    with left_files.collecting(f'the install script of "{label}"', ORIGIN, _APP, place):
        _collect(place, before, subject, arguments)


def _collect(place: str, before: Set[str], subject: Subject, arguments: Arguments) -> None:
    own = [
        entry
        for entry in layers.walk(place)
        if entry.kind != "folder"
        and (entry.name in before or not native_packages.is_by_product(entry.name))
    ]
    if arguments.test_script:
        _test(arguments.test_script, place, subject)
    layers.write_tar(OUTPUTS.folder.path, own)
    layers.write_whole(OUTPUTS.binaries.path, [one for one in own if one.name not in before])
    facts.write(OUTPUTS.facts.path, facts.facts_of_layer(own))
    size = sum(os.lstat(entry.source).st_size for entry in own if entry.source)
    OUTPUTS.report.write(Report(size, _modules()))


def _install_scripts(place: str, label: str) -> Dict[str, str]:
    with open(os.path.join(place, "package.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    has_gyp_file = os.path.exists(os.path.join(place, "binding.gyp"))
    scripts = native_packages.install_scripts(manifest, has_gyp_file)
    if not scripts:
        raise SlipwayError(
            f'the addon "{label}" has nothing to compile',
            where=f"{ORIGIN}, field addon_sources",
            found="no binding.gyp, and no install script in package.json",
            next="add a binding.gyp, and list the file in the field",
        )
    return scripts


def _test(script: str, place: str, subject: Subject) -> None:
    status, last = node_process.npm(["run", script], place, {}, app=_APP, subject=subject)
    if status != 0:
        raise SlipwayError(
            f'the script "{script}" of "{subject.package}@{subject.version}" failed with exit '
            f"status {status}",
            where=f"{ORIGIN}, field test_script",
            found="\n".join(last),
            next="correct the addon or its test",
        )


def _modules() -> int:
    node = f"{node_process.RUNTIME}/bin/node"
    status, said = jailed.capture([node, "-p", "process.versions.modules"], _APP, os.environ)
    if status != 0 or not (said.isascii() and said.isdigit()):
        raise SlipwayError(
            "cannot read the binary interface number (process.versions.modules) of Node.js",
            where=f"{ORIGIN}, field runtime",
            found=said or f"exit status {status}",
            next="correct the definition of the runtime",
        )
    return int(said)


if __name__ == "__main__":
    run(PROGRAM, compile_addon)
