"""Reads a release's own lists: its release.json, and the hash of every file that is not Node's.

Leaves `contents.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from typing import Any, Dict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import layers
from build_rules.lib.step_program import run

_RUNTIME = f"{layers.LISTING_FOLDER}/runtime.sha256"


def read(arguments: Dict[str, Any]) -> None:
    files: Dict[str, str] = {}
    manifest: Dict[str, Any] = {}
    with tarfile.open(os.path.join("in", arguments["file"]), "r:gz") as tar:
        for member in tar:
            folder = member.name.rpartition("/")[0]
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if member.name == "release.json":
                manifest = json.load(content)
            elif folder == layers.LISTING_FOLDER and member.name != _RUNTIME:
                files.update(_hashes(content.read().decode()))
    with open("out/contents.json", "w", encoding="utf-8") as file:
        json.dump({"manifest": manifest, "files": files}, file, sort_keys=True)


def _hashes(listing: str) -> Dict[str, str]:
    """Lines of sha256sum; a backslash before one marks backslashes in its name."""
    found = {}
    for line in listing.splitlines():
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):
            digest, name = digest[1:], name.replace("\\\\", "\\")
        found[name] = digest
    return found


if __name__ == "__main__":
    run(read)
