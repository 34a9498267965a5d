"""Builds a runtime from its source release: patch, configure, make, test, install, strip, try.

Writes `runtime.tar`, the runtime for later steps; `build.json`, the result of the tests; and
`build.log`, the output of all tools. The log is also written if the build fails.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from slipway.archive import layers, package_tarball
from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.elf import reader
from slipway.isolation import jailed
from slipway.runtime import bundled_npm, node_process
from slipway.runtime.recipe import Recipe
from slipway.step import left_files
from slipway.step import log as step_log
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_SOURCE, _TRIAL = "source", "trial"
_PREFIX, _PATCHES = "/build/installed", "/build/in/patches"
_TOP = ("bin", "include", "lib", "share")
_LAST_LINES, _MOST_ERRORS = 30, 10
_ERROR = re.compile(r"\berror:|undefined reference|\*\*\* ", re.IGNORECASE)
_REPORT, _SKIP = "report", "skip"
_SEE_LOG = "read the whole log; its path is below"


@dataclass(frozen=True)
class Arguments:
    """The recipe of the build; `label` is the name of the runtime in messages, and `bin` its program.

    With `is_node`, scripts may call it as `node`.
    """

    source: Recipe
    label: str
    bin: str
    is_node: bool


@dataclass(frozen=True)
class Report:
    """The result of a build; `tests` is "passed", "failed" or "skipped".

    `npm` is the version of the npm in the source release, or "".
    """

    tests: str
    npm: str


class Outputs(NamedTuple):
    runtime: Output = Output("runtime.tar")
    report: ReportFile[Report] = ReportFile("build.json", Report)
    log: Output = Output("build.log")


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


class Build:
    """Runs the tools of a build, and writes their output to the log."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._jobs = f"-j{len(os.sched_getaffinity(0))}"

    def run(
        self,
        what: str,
        argv: Sequence[str],
        next: str,
        cwd: str = _SOURCE,
        env: Optional[Dict[str, str]] = None,
    ) -> None:
        status = self.attempt(argv, cwd, env)
        if status != 0:
            raise SlipwayError(
                f"{what} failed with exit status {status}",
                where=placeholders.ORIGIN,
                found="\n".join([f"output of: {' '.join(argv)}", *self._relevant_lines()]),
                next=next,
            )

    def attempt(
        self, argv: Sequence[str], cwd: str = _SOURCE, env: Optional[Dict[str, str]] = None
    ) -> int:
        with open(self._log, "ab") as log:
            log.write(f"{step_log.MARK}{' '.join(argv)}\n".encode())
            log.flush()
            try:
                return jailed.run_into(log, argv, cwd, env or os.environ, writable=_writable())
            except OSError as error:
                log.write(f"{argv[0]}: {error.strerror}\n".encode())
                return 127

    def make(self, *arguments: str, parallel: bool = True) -> List[str]:
        return ["make", *([self._jobs] if parallel else []), *arguments]

    def _relevant_lines(self) -> List[str]:
        """The last lines, and earlier errors: in a parallel make, they are far above the end."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            lines = [line.rstrip("\n") for line in log]
        last = lines[-_LAST_LINES:]
        errors = [line for line in lines[:-_LAST_LINES] if _ERROR.search(line)][-_MOST_ERRORS:]
        return [*errors, *(["…"] if errors else []), *last]


def build(arguments: Arguments) -> None:
    source, label = arguments.source, arguments.label
    package_tarball.unpack("in/source.archive", label, _SOURCE)
    for folder in _writable():
        os.makedirs(folder, exist_ok=True)
    tools = Build(OUTPUTS.log.path)
    for patch in source.patches:
        tools.run(
            f'the patch "{patch}"',
            ["patch", "-p1", "--forward", "--batch", "-i", f"{_PATCHES}/{patch}"],
            next="create the patch again for this version",
        )
    if os.path.exists(f"{_SOURCE}/configure"):
        _configure(tools, source)
    tools.run("make", tools.make(*source.make), next=_SEE_LOG)
    tests = _test(tools, source)
    install = [argument.replace("{prefix}", _PREFIX) for argument in source.install]
    tools.run("make install", tools.make(*install, parallel=False), next=_SEE_LOG)
    with left_files.collecting(f'the build of "{label}"', placeholders.ORIGIN):
        _collect(tools, arguments, tests)


def _collect(tools: Build, arguments: Arguments, tests: str) -> None:
    if arguments.is_node and os.path.lexists(f"{_PREFIX}/{arguments.bin}"):
        bundled_npm.link_node(_PREFIX, arguments.bin)
    if os.path.isdir(f"{_PREFIX}/{bundled_npm.FOLDER}"):
        bundled_npm.link_programs(_PREFIX)
    _strip(tools)
    _check(arguments.source, arguments.label)
    if os.path.isdir(f"{_PREFIX}/{bundled_npm.FOLDER}"):
        _try_app(tools)
    OUTPUTS.report.write(Report(tests, bundled_npm.version(_PREFIX)))
    entries = layers.walk(_PREFIX, keep=lambda path: path.split("/")[0] in _TOP)
    layers.write_tar(OUTPUTS.runtime.path, entries)


def _writable() -> Tuple[str, ...]:
    """The folders that the tools may write to; only `installed` is collected."""
    return _SOURCE, _PREFIX, _TRIAL, "npm_cache"


def _configure(tools: Build, source: Recipe) -> None:
    first = left_files.read(f"{_SOURCE}/configure", _SOURCE).partition(b"\n")[0]
    # The configure script of Node.js is a Python program, and old releases need Python 2.
    start = ["/bin/sh"] if first.startswith(b"#!/bin/sh") and b"python" not in first else []
    if b"python" in first or _is_node(source):
        start = [source.python]
    argv = [*start, "./configure", f"--prefix={_PREFIX}", *source.configure]
    tools.run("configure", argv, next="correct the flags in the definition: source.configure")


def _is_node(source: Recipe) -> bool:
    return os.path.exists(f"{_SOURCE}/node.gyp")


def _test(tools: Build, source: Recipe) -> str:
    """Runs the tests: `passed`, `failed` or `skipped`. Raises if required tests fail."""
    if source.test == _SKIP:
        return "skipped"
    argv = tools.make(*source.test_targets, parallel=False)
    if source.test == _REPORT:
        return "passed" if tools.attempt(argv) == 0 else "failed"
    tools.run(
        "make test", argv, next='read the whole log, or set test = "report" in the definition'
    )
    return "passed"


def _strip(tools: Build) -> None:
    for entry in layers.walk(_PREFIX):
        if entry.kind != "file" or entry.source is None:
            continue
        with open(entry.source, "rb") as file:  # walk() returns only regular files as "file"
            if file.read(len(reader.MAGIC)) != reader.MAGIC:
                continue
        tools.run("strip", ["strip", "--strip-unneeded", entry.source], next=_SEE_LOG)


def _check(source: Recipe, label: str) -> None:
    program, *rest = source.check
    argv = [f"{_PREFIX}/{program}", *rest]
    try:
        output = jailed.capture(argv, _PREFIX, os.environ)[1]
    except OSError as error:
        output = f"{program}: {error.strerror}"
    if output != source.says:
        raise SlipwayError(
            f'{label} does not print "{source.says}"',
            where=placeholders.ORIGIN,
            found=f"{' '.join(source.check)}: {output}",
            next="correct runtime.check and runtime.says in the definition, or the version",
        )


def _try_app(tools: Build) -> None:
    """Installs an application with the new npm, and runs it with the new Node.js."""
    for folder, manifest in (
        (f"{_TRIAL}/answer", {"name": "answer", "version": "1.0.0"}),
        (
            _TRIAL,
            {
                "name": "trial",
                "version": "1.0.0",
                "description": "-",
                "dependencies": {"answer": "file:answer"},
                "scripts": {"start": "node index.js"},
            },
        ),
    ):
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/package.json", "w", encoding="utf-8") as file:
            json.dump(manifest, file)
    for path, text in (
        (f"{_TRIAL}/answer/index.js", "module.exports = function () { return 6 * 7; };\n"),
        (f"{_TRIAL}/index.js", "require('assert').strictEqual(require('answer')(), 42);\n"),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    env = node_process.environment({"PATH": f"{_PREFIX}/bin:{os.environ['PATH']}"})
    npm = [f"{_PREFIX}/bin/node", f"{_PREFIX}/{bundled_npm.FOLDER}/bin/npm-cli.js"]
    for command in ("install", "start"):
        tools.run(
            f"npm {command} of the trial application",
            [*npm, command],
            next=_SEE_LOG,
            cwd=_TRIAL,
            env=env,
        )


if __name__ == "__main__":
    run(PROGRAM, build)
