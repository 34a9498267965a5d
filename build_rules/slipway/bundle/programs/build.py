"""Runs an application's build script and collects its declared outputs.

Writes `built.tar` with the outputs, and `build.json` with the other files that the script wrote.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

from slipway.archive import layers
from slipway.bundle.patches import Changes, InstalledFiles, way_out
from slipway.bundle.programs.laid_out import APP, lay_out, subject
from slipway.core import placeholders
from slipway.core.errors import SlipwayError, SlipwayErrors, nearest
from slipway.isolation.jail_protocol import Subject
from slipway.npm.lockfiles.production import owner
from slipway.runtime import node_process
from slipway.step import left_files
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_MOST_NAMED = 20
_State = Tuple[int, int, int]


@dataclass(frozen=True)
class Arguments:
    """The npm script with its arguments, and the scripts to run before it.

    `outputs` are the files and folders that the script must write; `executables` are the executable
    files among the sources. `production` are the packages of a release by path, as `name@version`.
    `member` is the application's folder in npm workspaces; paths are relative to the lockfile's folder.
    """

    script: str
    script_arguments: Tuple[str, ...]
    lifecycle_scripts: Tuple[str, ...]
    server_env: str
    env: Mapping[str, str]
    outputs: Tuple[str, ...]
    executables: Tuple[str, ...]
    production: Mapping[str, str]
    member: str = ""


@dataclass(frozen=True)
class Report:
    """The files that the script wrote outside its outputs, without those in dev dependencies."""

    undeclared: Tuple[str, ...]


class Outputs(NamedTuple):
    built: Output = Output("built.tar")
    report: ReportFile[Report] = ReportFile("build.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def build(arguments: Arguments) -> None:
    installed = InstalledFiles(APP, lay_out(arguments.executables), arguments.production)
    application = subject(arguments.member)
    before = _files()
    for script in arguments.lifecycle_scripts:
        _run_script(script, [], application, arguments)
    more = arguments.script_arguments
    _run_script(arguments.script, ["--", *more] if more else [], application, arguments)
    with left_files.collecting(f'the script "{arguments.script}"', placeholders.PACKAGE_JSON, APP):
        changes = installed.changes()
        _check_packages(changes, arguments)
        _collect(before, changes.added, arguments)


def _check_packages(changes: Changes, arguments: Arguments) -> None:
    """Raises SlipwayErrors if scripts changed production packages."""
    if not changes.changed:
        return
    by_package: Dict[str, List[str]] = {}
    for file in changes.changed:
        by_package.setdefault(str(owner(arguments.production, file)), []).append(file)
    first = next(iter(by_package))
    name, _, version = arguments.production[first].rpartition("@")
    scripts = (*arguments.lifecycle_scripts, arguments.script)
    raise SlipwayErrors(
        "the scripts of the build changed production packages, and the release would not contain "
        "the changes",
        [
            f"{arguments.production[path]}: {', '.join(files[:3])}"
            + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            for path, files in by_package.items()
        ],
        where=f"{placeholders.ORIGIN}, fields lifecycle_scripts and build_script",
        next=f"{way_out(first, name, version, scripts)}\n./pants generate-lockfiles "
        f"--resolve={placeholders.RESOLVE}",
    )


def _collect(before: Mapping[str, _State], added: Sequence[str], arguments: Arguments) -> None:
    outputs = arguments.outputs
    _check_outputs(arguments)
    after = _files()
    changed = sorted(path for path, state in after.items() if before.get(path) != state)
    undeclared = [path for path in (*changed, *added) if not _is_below(path, outputs)]
    layers.write_tar(
        OUTPUTS.built.path,
        [
            entry
            for entry in layers.walk(APP, keep=lambda path: _leads_to(path, outputs))
            if _is_below(entry.name, outputs)
        ],
    )
    OUTPUTS.report.write(Report(tuple(undeclared)))


def _run_script(
    script: str, more: Sequence[str], application: Subject, arguments: Arguments
) -> None:
    extra = {"SERVER_ENV": arguments.server_env, **arguments.env}
    status, last = node_process.npm(
        ["run", script, *more],
        os.path.join(APP, arguments.member),
        extra,
        app=APP,
        subject=application,
    )
    if status != 0:
        said = " ".join(["npm run", script, *more])
        raise SlipwayError(
            f'the script "{script}" failed with exit status {status}',
            where=f"{placeholders.PACKAGE_JSON}, scripts",
            found="\n".join([f"last lines of {said}:", *last]),
            next=f"run the script by hand: ./pants export --resolve={placeholders.RESOLVE}",
        )


def _check_outputs(arguments: Arguments) -> None:
    top = os.path.realpath(APP)
    there = sorted(path for path in _all_paths() if "node_modules" not in path.split("/"))
    faults = []
    for output in arguments.outputs:
        place = os.path.join(APP, output)
        if not os.path.lexists(place):
            guesses = nearest(output, there)
            hint = f"; did you mean {', '.join(guesses)}?" if guesses else ""
            faults.append(f'"{output}" does not exist{hint}')
            continue
        for shown in there:
            path = os.path.join(APP, shown)
            if not _is_below(shown, [output]) or not os.path.islink(path):
                continue
            target = os.readlink(path)
            if not (os.path.realpath(path) + "/").startswith(top + "/"):
                faults.append(
                    f'"{shown}" is a symlink to "{target}", outside the application folder'
                )
            elif target.startswith("/"):
                # An absolute target is a path in the sandbox, which does not exist on hosts.
                faults.append(f'"{shown}" is a symlink to "{target}", which must be relative')
    if faults:
        raise SlipwayErrors(
            f'the script "{arguments.script}" did not write the declared outputs',
            faults,
            where=f"{placeholders.ORIGIN}, field build_outputs",
            next="correct the field, or change the output paths of the script",
        )


def _files() -> Dict[str, _State]:
    """Size, modification time and mode of each file outside of node_modules."""
    found = {}
    for path in _all_paths():
        place = os.path.join(APP, path)
        if "node_modules" in path.split("/") or (
            os.path.isdir(place) and not os.path.islink(place)
        ):
            continue
        state = os.lstat(place)
        found[path] = (state.st_size, state.st_mtime_ns, state.st_mode)
    return found


def _all_paths() -> List[str]:
    found: List[str] = []
    for folder, folders, files in os.walk(APP):
        if "node_modules" in folders:
            folders.remove("node_modules")
        found.extend(os.path.relpath(os.path.join(folder, name), APP) for name in folders + files)
    return found


def _leads_to(path: str, folders: Sequence[str]) -> bool:
    return _is_below(path, folders) or any(folder.startswith(path + "/") for folder in folders)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


if __name__ == "__main__":
    run(PROGRAM, build)
