"""Holds every ELF file of a release against an ABI policy, and writes the table of them.

The names that the oldest host has are those of this root's own libraries within the policy.  Leaves
`audit.json`; a breach is no failure here, since the table is wanted then most of all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tarfile
from typing import Any, Dict, Set

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import abi_audit, abi_policy, elf, elf_facts
from build_rules.lib.abi_policy import AbiPolicy
from build_rules.lib.errors import SlipwayError
from build_rules.lib.step_program import run

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def audit(arguments: Dict[str, Any]) -> None:
    policy = abi_policy.read(arguments["policy"], "the ABI policy")
    path = os.path.join("in/release", arguments["file"])
    try:
        with tarfile.open(path, "r:*") as tar:
            files = elf_facts.facts_of_tar(tar)
            packages = _packages(tar)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SlipwayError(
            f'"{arguments["file"]}" is no tar archive that can be read',
            found=str(error),
            next="name a release, such as koa-kkl-1.4.0-prod.tar.gz",
        ) from None
    table = abi_audit.audit(files, packages, policy, provided_names(policy))
    with open("out/audit.json", "w", encoding="utf-8") as file:
        json.dump({"files": [dataclasses.asdict(one) for one in table]}, file, sort_keys=True)


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
