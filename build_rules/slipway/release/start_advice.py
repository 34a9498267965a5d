"""What to change in BUILD or package.json, so that a release contains what its start needs."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, Iterator, List, Sequence

from slipway.release import start_command
from slipway.release.start_command import Content, Finding

_STARTS = re.compile(r"start|serve|prod", re.IGNORECASE)
_DEVELOPS = re.compile(r"dev|debug|watch|test|lint|build|^pre|^post", re.IGNORECASE)
_ENDINGS = ("", ".js", ".json", ".node", ".cjs", ".mjs", "/index.js", "/package.json")


@dataclass(frozen=True)
class Elsewhere:
    """Files that the release could contain, by the reason why it does not.

    `static` are in the static archive, `unlisted` were written by the build script outside of
    `build_outputs`, and `sources` are in the application's folder. `bundle` and `release` are the
    addresses of the targets, and `build_script` is the script of the bundle, which may be empty.
    """

    bundle: str
    release: str
    folder: str
    build_script: str = ""
    static: FrozenSet[str] = frozenset()
    unlisted: FrozenSet[str] = frozenset()
    sources: FrozenSet[str] = frozenset()


def advice(findings: Sequence[Finding], content: Content, elsewhere: Elsewhere) -> str:
    """The next steps for findings that are certain, one line each."""
    lines: Dict[str, None] = {}
    for finding in findings:
        lines.update(dict.fromkeys(_for_finding(finding, content, elsewhere)))
    return "\n".join(lines)


def candidates(path: str) -> FrozenSet[str]:
    """The files that node may load for a path."""
    return frozenset(f"{path}{ending}" for ending in _ENDINGS)


def _for_finding(finding: Finding, content: Content, elsewhere: Elsewhere) -> Iterator[str]:
    if finding.kind == start_command.FILE:
        yield from _for_file(finding, content, elsewhere)
        return
    yield from _other_scripts(finding, content, elsewhere)
    if finding.kind == start_command.SCRIPT:
        yield f'add the script "{finding.name}" to {posixpath.join(elsewhere.folder, "package.json")}'
        if not finding.script:
            yield f'or set run_script="" in {elsewhere.release}, if nothing runs in the foreground'
    else:
        package = finding.name if finding.kind == start_command.PACKAGE else "its package"
        yield f"if the release needs {finding.name}, move {package} from devDependencies to dependencies"


def _for_file(finding: Finding, content: Content, elsewhere: Elsewhere) -> Iterator[str]:
    wanted = candidates(finding.name)
    top = finding.name.split("/")[0]
    if wanted & elsewhere.static:
        yield f'set static_dir="" in {elsewhere.bundle}: {finding.name} is in the static archive'
    elif wanted & elsewhere.unlisted:
        yield f'add "{top}" to build_outputs in {elsewhere.bundle}: the build script wrote it'
    elif wanted & elsewhere.sources:
        pattern = f"{top}/**" if "/" in finding.name else sorted(wanted & elsewhere.sources)[0]
        yield f'add "{pattern}" to runtime_sources in {elsewhere.bundle}'
    else:
        if not elsewhere.build_script and "build" in content.scripts:
            yield f'set build_script="build" and build_outputs=["{top}"] in {elsewhere.bundle}'
        others = list(_other_scripts(finding, content, elsewhere))
        yield from others
        if not others:
            yield (
                f'correct the script "{finding.script}", or let the build script write '
                f"{finding.name} and name it in build_outputs in {elsewhere.bundle}"
            )


def _other_scripts(finding: Finding, content: Content, elsewhere: Elsewhere) -> List[str]:
    """Another script that starts the release, and what it needs in turn."""
    reachable = dataclasses.replace(
        content, files=content.files | elsewhere.static | elsewhere.unlisted | elsewhere.sources
    )
    for name in start_scripts(content.scripts):
        if name == finding.script or start_command.missing(name, reachable):
            continue
        lines = [f'set run_script="{name}" in {elsewhere.release}']
        rest = start_command.missing(name, content)
        return lines + [line for one in rest for line in _for_file(one, content, elsewhere)]
    return []


def start_scripts(names: Iterable[str]) -> List[str]:
    """The scripts of package.json that start the application, by their names."""
    return [name for name in names if _STARTS.search(name) and not _DEVELOPS.search(name)]
