"""Checks the binaries of a release against an ABI policy, and writes a table of them.

The facts about the binaries come from an archive, or from files that were written with the layers. The
symbols of the oldest host are those of the libraries in this root, as far as the policy allows them.
Writes `audit.json`. A violation is not a failure here, because the rule needs the table to report it.
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
    """The name of an `archive`; or the names of `layers`, and the npm `packages` by path."""

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
    """The facts about the binaries in any archive, and the packages that its release.json names."""
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
            f'cannot read "{name}" as a tar archive',
            found=getattr(error, "found", "") or str(error),
            next="pass a release, such as koa-kkl-1.4.0-prod.tar.gz",
        ) from None
    return sorted(found, key=lambda one: one.path), packages


def _packages(about: Dict[str, Any]) -> Dict[str, str]:
    """The package at each npm path, according to the release.json."""
    return {one["path"]: f"{one['name']}@{one['version']}" for one in about.get("packages", ())}


def provided_names(policy: AbiPolicy, folder: str = _LIBRARIES) -> Set[str]:
    """The symbol names that the libraries of the oldest host export, in any allowed version."""
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
