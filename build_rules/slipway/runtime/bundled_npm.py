"""npm inside a Node runtime: its folder, its programs, and its replacement."""

from __future__ import annotations

import json
import os
import shutil

from slipway.archive import package_tarball
from slipway.core.errors import SlipwayError
from slipway.step import left_files

FOLDER = "lib/node_modules/npm"
_PROGRAMS = ("npm", "npx")
# Replaces the first line of npm's programs, which can have a path of the machine that built it.
_FIRST_LINE = b"#!/usr/bin/env node\n"


def install(archive: str, version: str, runtime: str) -> None:
    """Installs npm from a tarball into the runtime; replaces an existing npm."""
    folder = os.path.join(runtime, FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    package_tarball.unpack(archive, f"npm {version}", folder)
    link_programs(runtime)


def version(runtime: str) -> str:
    """The version of the runtime's npm; empty without npm."""
    path = os.path.join(runtime, FOLDER, "package.json")
    if not os.path.lexists(path):
        return ""
    try:
        return str(json.loads(left_files.read(path, runtime))["version"])
    except (ValueError, KeyError, TypeError):
        raise SlipwayError(
            "the npm of the runtime has no version",
            where=f"{FOLDER}/package.json",
            found="not a JSON object with a version",
            next="pin an npm in the definition: [npm]",
        ) from None


def link_node(runtime: str, program: str) -> None:
    """Creates `bin/node` for a runtime with another name: npm and the scripts of packages call `node`."""
    name = os.path.basename(program)
    link = os.path.join(left_files.inside(os.path.join(runtime, "bin"), runtime), "node")
    if name != "node" and not os.path.lexists(link):
        os.symlink(name, link)


def link_programs(runtime: str) -> None:
    """Creates `bin/npm` and `bin/npx`, which run with the first `node` on the PATH."""
    left_files.inside(os.path.join(runtime, "bin"), runtime)
    for name in _PROGRAMS:
        program = os.path.join(runtime, FOLDER, "bin", f"{name}-cli.js")
        link = os.path.join(runtime, "bin", name)
        if os.path.lexists(link):
            os.unlink(link)
        if os.path.lexists(program):
            # A build from source created this file, so it can be a symlink to anywhere. Only a
            # program inside the runtime is changed.
            program = left_files.inside(program, runtime)
            _set_first_line(program)
            os.chmod(program, 0o755)
            os.symlink(f"../{FOLDER}/bin/{name}-cli.js", link)


def _set_first_line(path: str) -> None:
    first, newline, rest = left_files.read(path, os.path.dirname(path)).partition(b"\n")
    first += newline
    if first.startswith(b"#!") and first != _FIRST_LINE:
        with open(path, "wb") as file:
            file.write(_FIRST_LINE + rest)
