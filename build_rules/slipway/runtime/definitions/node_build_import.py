"""Turns definitions of node-build into Node definitions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, Mapping, Tuple, Union

from slipway.core import text_table
from slipway.runtime.definitions.definition import PinnedArchive
from slipway.runtime.definitions.lines import NODE_PROJECT, order
from slipway.runtime.definitions.node_build import (
    LINUX_X64,
    Archive,
    Definition,
    DefinitionRefused,
    parse,
)
from slipway.runtime.definitions.render import render
from slipway.runtime.definitions.search_path import SUFFIX

_NODE = "node"
# io.js has no npm that reads lockfiles; what it runs was written for Node.js.
_TRAITS: Mapping[str, Mapping[str, Union[str, bool]]] = {
    "iojs": {"bin": "bin/iojs", "npm": False, "node": True}
}
# The configure scripts of later releases need Python 3.
_LAST_WITH_PYTHON_2 = 13
# These packages are unpacked as they are, or built with configure and make.
_PLAIN_STEPS = {"standard", "warn_eol", "warn_lts_maintenance"}


@dataclass(frozen=True)
class Imported:
    """The new files by name, and for each file of node-build that is not used, the reason.

    `counts` are triples of a runtime, a kind (`binary` or `source`) and the number of definitions.
    """

    files: Mapping[str, str]
    refused: Mapping[str, str]
    counts: Tuple[Tuple[str, str, int], ...]


def import_all(texts: Mapping[str, bytes], command: str, today: str) -> Imported:
    """The definitions in files of node-build; `command` is written into each."""
    files: Dict[str, str] = {}
    refused: Dict[str, str] = {}
    counts: List[Tuple[str, str]] = []
    for name in sorted(texts):
        try:
            found = parse(texts[name], name)
        except DefinitionRefused as refusal:
            refused[name] = refusal.reason.value
            continue
        odd = set(found.steps) - _PLAIN_STEPS
        if odd:
            refused[name] = f"the install step {', '.join(sorted(odd))} changes the archive"
            continue
        files[f"{name}{SUFFIX}"] = as_toml(found, command, today)
        kind = "binary" if LINUX_X64 in dict(found.binaries) else "source"
        counts.append((found.runtime, kind))
    counted = tuple((*key, number) for key, number in sorted(Counter(counts).items()))
    return Imported(files, refused, counted)


def as_toml(found: Definition, command: str, today: str) -> str:
    """The text of the Node definition; a definition with a binary for Linux is not built from source."""
    traits = _TRAITS.get(found.runtime, {})
    built_by = NODE_PROJECT if found.runtime == _NODE else ""
    binaries = {
        platform: _pinned(found.version, archive, built_by, today)
        for platform, archive in found.binaries
    }
    if LINUX_X64 in binaries or found.source is None:
        return render(found.version, binaries, (), command, runtime=traits)
    source = _pinned(found.version, found.source, "", today)
    old = found.runtime != _NODE or order(found.version)[0][0] <= _LAST_WITH_PYTHON_2
    python = "python2.7" if old else "python3"
    return render(found.version, {}, (), command, source, python, traits)


def _pinned(version: str, archive: Archive, built_by: str, today: str) -> PinnedArchive:
    return PinnedArchive(
        version,
        archive.sha256,
        0,
        url=archive.url,
        built_by=built_by,
        hash_from="a definition of node-build",
        hash_date=today,
    )


def report(imported: Imported) -> str:
    """The counts by runtime and kind, and of each reason."""
    rows = [(runtime, kind, str(number)) for runtime, kind, number in imported.counts]
    reasons: Dict[str, List[str]] = {}
    for name, reason in imported.refused.items():
        reasons.setdefault(reason, []).append(name)
    refused = [
        (
            "",
            f"refused: {reason}",
            f"{len(names)} ({', '.join(names[:3])}{', …' * (len(names) > 3)})",
        )
        for reason, names in sorted(reasons.items())
    ]
    return text_table.render([("runtime", "kind", "definitions"), *rows, *refused])
