"""Holds the binaries of a release against an ABI policy, and writes the table of them.

They come from an archive, or from what was noted down when the layers of a release were written.
The names that the oldest host has are those of this root's own libraries within the policy.  Leaves
`audit.json`; a breach is no failure here, since the table is wanted then most of all.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from slipway.abi import audit as abi_audit
from slipway.abi.audit import AuditedFile
from slipway.abi.policy import AbiPolicy
from slipway.archive import tar_reading, unpacking
from slipway.archive.decompression import Stream, unpacked_chunks
from slipway.archive.tar_reading import Kind
from slipway.archive.unpacking import Content
from slipway.core.errors import SlipwayError
from slipway.core.json_text import loads
from slipway.elf import facts, reader
from slipway.elf.facts import ElfFacts
from slipway.step.frame import run
from slipway.step.interface import ReportFile, StepProgram

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Arguments:
    """An `archive` by its name; or else `layers` by theirs, and npm's `packages` by their paths."""

    policy: AbiPolicy
    archive: str = ""
    layers: Tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    files: Tuple[AuditedFile, ...]


class Outputs(NamedTuple):
    report: ReportFile[Report] = ReportFile("audit.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def audit(arguments: Arguments) -> None:
    policy = arguments.policy
    packages = arguments.packages
    if arguments.archive:
        files, packages = _of_archive(arguments.archive)
    else:
        files = _of_layers(arguments.layers)
    table = abi_audit.audit(files, packages, policy, provided_names(policy))
    OUTPUTS.report.write(Report(tuple(table)))


def _of_layers(names: Sequence[str]) -> List[ElfFacts]:
    found: List[ElfFacts] = []
    for name in names:
        found.extend(facts.read(f"in/facts/{name}.elf.json"))
    return sorted(found, key=lambda one: one.path)


def _of_archive(name: str) -> Tuple[List[ElfFacts], Dict[str, str]]:
    """The facts about any archive, of Slipway or not; packages are those that release.json names."""
    found: List[ElfFacts] = []
    packages: Dict[str, str] = {}
    try:
        with open(os.path.join("in/release", name), "rb") as file:
            stream = Stream(unpacked_chunks(unpacking.blocks_of(file), name, unpacking.MOST_BYTES))
            for member in tar_reading.read_stream(stream, name):
                if member.kind is not Kind.FILE:
                    continue
                content = Content(stream, member, name)
                if member.name == "release.json":
                    packages = _packages(loads(content.read()))
                else:
                    path = posixpath.normpath(member.name)
                    found.extend(facts.facts_of_file(path, content.read))
    except (SlipwayError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SlipwayError(
            f'"{name}" is no tar archive that can be read',
            found=getattr(error, "found", "") or str(error),
            next="name a release, such as koa-kkl-1.4.0-prod.tar.gz",
        ) from None
    return sorted(found, key=lambda one: one.path), packages


def _packages(about: Dict[str, Any]) -> Dict[str, str]:
    """npm's paths and what lies there, as the release itself says."""
    return {one["path"]: f"{one['name']}@{one['version']}" for one in about.get("packages", ())}


def provided_names(policy: AbiPolicy, folder: str = _LIBRARIES) -> Set[str]:
    """The names that libraries of the oldest host have, whatever version is asked for."""
    found: Set[str] = set()
    for library in sorted(policy.libraries):
        path = os.path.join(folder, library)
        if os.path.exists(path):
            with open(path, "rb") as file:
                read = reader.read(file.read())
            found.update(one.name for one in read.exported if policy.allows(one.version))
    return found


if __name__ == "__main__":
    run(PROGRAM, audit)
