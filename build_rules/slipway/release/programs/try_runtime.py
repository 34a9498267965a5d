"""Reads a release's own lists: its release.json, and the hash of every file that is not Node's.

Leaves `contents.json`.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict

from slipway.archive import layers, unpacking
from slipway.archive.tar_reading import Kind
from slipway.archive.unpacking import Form
from slipway.core.json_text import loads
from slipway.step.frame import run_untyped

_RUNTIME = f"{layers.LISTING_FOLDER}/runtime.sha256"
_LONGEST_LIST = 256 << 20


def read(arguments: Dict[str, Any]) -> None:
    files: Dict[str, str] = {}
    manifest: Dict[str, Any] = {}
    path = os.path.join("in", arguments["file"])
    with unpacking.opened(path, Form.TARBALL) as archive:
        for member in archive.members():
            folder = member.name.rpartition("/")[0]
            if member.kind is not Kind.FILE:
                continue
            try:
                if member.name == "release.json":
                    manifest = loads(archive.read(member, _LONGEST_LIST))
                elif folder == layers.LISTING_FOLDER and member.name != _RUNTIME:
                    files.update(_hashes(archive.read(member, _LONGEST_LIST).decode()))
            except ValueError as error:
                raise unpacking.refused(path, member.name, str(error)) from None
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
    run_untyped(read)
