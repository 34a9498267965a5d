"""npm inside of a Node runtime: where it lies, how it starts, and how another takes its place."""

from __future__ import annotations

import json
import os
import shutil

from slipway.archive import package_tarball
from slipway.step import left_files

FOLDER = "lib/node_modules/npm"
_PROGRAMS = ("npm", "npx")
# Where npm's own first line names a path of the machine that packed it, this one works anywhere.
_FIRST_LINE = b"#!/usr/bin/env node\n"


def install(archive: str, version: str, runtime: str) -> None:
    """Puts the npm of a tarball into the runtime, in place of any that is there."""
    folder = os.path.join(runtime, FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    package_tarball.unpack(archive, f"npm {version}", folder)
    link_programs(runtime)


def version(runtime: str) -> str:
    """The version of the npm that is there; empty if there is none."""
    path = os.path.join(runtime, FOLDER, "package.json")
    if not os.path.lexists(path):
        return ""
    return str(json.loads(left_files.read(path, runtime))["version"])


def link_programs(runtime: str) -> None:
    """`bin/npm` and `bin/npx`, started by whatever `node` comes first on the PATH."""
    left_files.inside(os.path.join(runtime, "bin"), runtime)
    for name in _PROGRAMS:
        program = os.path.join(runtime, FOLDER, "bin", f"{name}-cli.js")
        link = os.path.join(runtime, "bin", name)
        if os.path.lexists(link):
            os.unlink(link)
        if os.path.lexists(program):
            # A build from source has made it; the program that is changed is one of the runtime.
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
