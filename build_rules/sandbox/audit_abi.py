"""Holds the binaries of a release against an ABI policy, and writes the table of them.

They come from an archive, or from what was noted down when the layers of a release were written.
The names that the oldest host has are those of this root's own libraries within the policy.  Leaves
`audit.json`; a breach is no failure here, since the table is wanted then most of all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tarfile
from typing import Any, Dict, List, Set, Tuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import abi_audit, abi_policy, elf, elf_facts
from build_rules.lib.abi_policy import AbiPolicy
from build_rules.lib.elf_facts import ElfFacts
from build_rules.lib.errors import SlipwayError
from build_rules.lib.step_program import run

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def audit(arguments: Dict[str, Any]) -> None:
    policy = abi_policy.read(arguments["policy"], "the ABI policy")
    if "file" in arguments:
        files, packages = _of_archive(arguments["file"])
    else:
        files, packages = _of_layers(arguments["layers"]), arguments["packages"]
    table = abi_audit.audit(files, packages, policy, provided_names(policy))
    with open("out/audit.json", "w", encoding="utf-8") as file:
        json.dump({"files": [dataclasses.asdict(one) for one in table]}, file, sort_keys=True)


def _of_layers(names: List[str]) -> List[ElfFacts]:
    found: List[ElfFacts] = []
    for name in names:
        with open(f"in/facts/{name}.elf.json", encoding="utf-8") as file:
            found.extend(elf_facts.from_json(json.load(file)))
    return sorted(found, key=lambda one: one.path)


def _of_archive(name: str) -> Tuple[List[ElfFacts], Dict[str, str]]:
    path = os.path.join("in/release", name)
    try:
        with tarfile.open(path, "r:*") as tar:
            return elf_facts.facts_of_tar(tar), _packages(tar)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SlipwayError(
            f'"{name}" is no tar archive that can be read',
            found=str(error),
            next="name a release, such as koa-kkl-1.4.0-prod.tar.gz",
        ) from None


def _packages(tar: tarfile.TarFile) -> Dict[str, str]:
    """npm's paths and what lies there, as the release itself says."""
    try:
        file = tar.extractfile("release.json")
    except KeyError:
        return {}
    about = json.load(file) if file else {}
    return {one["path"]: f"{one['name']}@{one['version']}" for one in about.get("packages", ())}


def provided_names(policy: AbiPolicy, folder: str = _LIBRARIES) -> Set[str]:
    """The names that libraries of the oldest host have, whatever version is asked for."""
    found: Set[str] = set()
    for library in sorted(policy.libraries):
        path = os.path.join(folder, library)
        if os.path.exists(path):
            with open(path, "rb") as file:
                read = elf.read(file.read())
            found.update(one.name for one in read.exported if policy.allows(one.version))
    return found


if __name__ == "__main__":
    run(audit)
