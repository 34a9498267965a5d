"""Runs the install scripts of one npm package with a compiler and without network access.

npm runs the scripts as an install would. Writes `<layer>.tar`, the package's folder for the build
script; `<layer>.layer`, the same as a layer of releases, with `<layer>.elf.json`; and `compile.json`,
the size of the package and the files that its scripts wrote elsewhere. With the decision `prebuilt`, a
server on loopback has the pinned binaries, and the script's mirror variables point to it. `asked.json`
lists the requested files, also if the script fails.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Tuple

from slipway.archive import layers, unpacking
from slipway.archive.layers import Entry
from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.elf import facts as elf_facts
from slipway.isolation.jail_protocol import Subject
from slipway.npm.lockfiles.production import owner
from slipway.npm.scripts import mirrors, native_packages, rebuild
from slipway.npm.scripts.loopback import LoopbackServer
from slipway.runtime import layer_outputs, node_process, release_layers
from slipway.runtime.headers import NodeHeaders
from slipway.runtime.release_layers import Scope
from slipway.step import left_files
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_APP = "app"
_State = Tuple[int, int]


@dataclass(frozen=True)
class Arguments:
    """The package `name` at `path` in the tree; `layer` is the name of its layer.

    `from_source` makes its scripts compile the package. With `takes_binary` the scripts can download
    `binaries`, which maps request paths to files; `variables` is the user's table of mirror variables.
    `node` is the version of Node, and `python` the Python for node-gyp.
    """

    path: str
    layer: str
    name: str
    version: str
    node: str
    python: str
    from_source: bool = False
    takes_binary: bool = False
    drop_foreign: bool = False
    variables: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    binaries: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Report:
    """`bytes` is the size of the layer; `foreign` are the paths dropped from it; `elsewhere` are files
    that the scripts wrote outside of the package's folder."""

    bytes: int
    elsewhere: Tuple[str, ...]
    foreign: Tuple[str, ...]


class Outputs(NamedTuple):
    layer: Output
    facts: Output
    compiled: Output
    report: ReportFile[Report] = ReportFile("compile.json", Report)


PROGRAM = StepProgram(__name__, Arguments)


def outputs_of(layer: str) -> Outputs:
    return Outputs(*layer_outputs.outputs_of(layer), Output(f"{layer}.tar"))


def compile_package(arguments: Arguments) -> None:
    path, label = arguments.path, arguments.label
    os.mkdir(_APP)
    unpacking.unpack(f"in/closure/{arguments.layer}.tar", _APP)
    with open(os.path.join(_APP, native_packages.LISTING), encoding="utf-8") as file:
        closure = frozenset(json.load(file))
    os.unlink(os.path.join(_APP, native_packages.LISTING))
    with open(os.path.join(_APP, "package.json"), "w", encoding="utf-8") as file:
        json.dump({"name": "app", "version": "0.0.0", "private": True}, file)
    with open(os.path.join(_APP, path, "package.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    scripts = _install_scripts(manifest, path, label)
    before = _states()
    names = mirrors.variables(arguments.name, manifest, arguments.variables)
    if not arguments.takes_binary:
        names = ()
    elif not names:
        raise SlipwayError(
            f'no variable is known that names the mirror for the binary of "{label}"',
            where=f"{placeholders.ORIGIN}, field install_scripts",
            next=f'set install_scripts={{"{arguments.name}": "source"}}, or name the variable in '
            f"pants.toml: [install-scripts] variables = "
            f'{{"{arguments.name}" = ["NAME_OF_THE_VARIABLE"]}}',
        )
    headers = NodeHeaders(node_process.RUNTIME, arguments.node)
    with LoopbackServer(names, arguments.binaries, headers) as server:
        rebuild.rebuild(
            Subject(arguments.name, arguments.version, scripts),
            _APP,
            server,
            python=arguments.python,
            from_source=arguments.from_source,
        )
    where = f"{placeholders.ORIGIN}, field install_scripts"
    with left_files.collecting(f'the install script of "{label}"', where, _APP):
        changed = [name for name, state in _states().items() if before.get(name) != state]
        _collect(arguments, closure, frozenset(before), changed)


def _collect(
    arguments: Arguments, closure: FrozenSet[str], before: FrozenSet[str], changed: List[str]
) -> None:
    path, outputs = arguments.path, outputs_of(arguments.layer)
    own: List[Entry] = []
    for entry in layers.walk(_APP):
        inside = entry.name[len(path) + 1 :]
        left_over = entry.name not in before and native_packages.is_by_product(inside)
        if entry.kind != "folder" and owner(closure, entry.name) == path and not left_over:
            own.append(entry)
    release_layers.check_entries(
        own,
        Scope(arguments.layer, release_layers.PACKAGE, path),
        arguments.label,
        next=f'install_scripts={{"{arguments.name}": "skip"}} in {placeholders.ORIGIN}, '
        "or another version of the package",
    )
    carried, foreign = _write_outputs(arguments, own)
    elsewhere = [name for name in changed if owner(closure, name) != path and not _is_npms(name)]
    size = sum(os.lstat(entry.source).st_size for entry in carried if entry.source)
    outputs.report.write(Report(size, tuple(elsewhere), tuple(foreign)))


def _install_scripts(manifest: Dict[str, Any], path: str, label: str) -> Dict[str, str]:
    has_gyp_file = os.path.exists(os.path.join(_APP, path, "binding.gyp"))
    scripts = native_packages.install_scripts(manifest, has_gyp_file)
    if not scripts:
        raise SlipwayError(
            f'"{label}" has no install script',
            where=f"{placeholders.ORIGIN}, field install_scripts",
            next="remove its entry",
        )
    return scripts


def _write_outputs(arguments: Arguments, own: List[Entry]) -> Tuple[List[Entry], List[str]]:
    """The files of the package in the release, and the paths of dropped files."""
    outputs = outputs_of(arguments.layer)
    layers.write_tar(outputs.compiled.path, own)
    facts = elf_facts.facts_of_layer(own)
    carried = own
    foreign: List[str] = []
    if arguments.drop_foreign:
        carried, facts, foreign = elf_facts.without_foreign(own, facts)
    layers.write_layer(outputs.layer.path, arguments.layer, carried)
    elf_facts.write(outputs.facts.path, facts)
    return carried, foreign


def _states() -> Dict[str, _State]:
    """Size and modification time of each file and symlink."""
    found = {}
    for folder, folders, files in os.walk(_APP):
        for name in folders + files:
            place = os.path.join(folder, name)
            if os.path.islink(place) or not os.path.isdir(place):
                state = os.lstat(place)
                found[os.path.relpath(place, _APP)] = (state.st_size, state.st_mtime_ns)
    return found


def _is_npms(name: str) -> bool:
    """Whether npm itself writes the file: its record of the tree, or a .bin link."""
    return name == "node_modules/.package-lock.json" or "/.bin/" in name


if __name__ == "__main__":
    run(PROGRAM, compile_package)
