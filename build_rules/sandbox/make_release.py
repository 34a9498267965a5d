"""Concatenates the layers of a release and writes its manifest, inside and beside it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any, Dict, List

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import layers, placeholders
from build_rules.lib.layers import Entry
from build_rules.lib.step_program import run


def make(arguments: Dict[str, Any]) -> None:
    manifest: Dict[str, Any] = arguments["manifest"]
    stem = arguments["stem"]
    manifest["layers"] = [
        {"name": name, **_facts_of(f"in/layers/{name}.layer")} for name in arguments["layers"]
    ]
    if os.path.exists("in/static.tar.gz"):
        manifest["static"] = {
            "file": f"{stem}.static.tar.gz",
            **_facts_of("in/static.tar.gz"),
        }
    paths = [f"in/layers/{name}.layer" for name in arguments["layers"]]
    last = [
        *_launcher(arguments["launcher"]),
        Entry("release.json", "file", content=_json(manifest)),
    ]
    sha256, size = layers.write_release(f"out/{stem}.tar.gz", paths, last)
    manifest["tarball"] = {"file": f"{stem}.tar.gz", "sha256": sha256, "size": size}
    with open(f"out/{stem}.release.json", "wb") as file:
        file.write(_json(manifest))


def _launcher(values: Dict[str, str]) -> List[Entry]:
    """`bin/app`, and the file list of what the end member brings."""
    with open("in/app.sh", encoding="utf-8") as file:
        content = placeholders.fill(file.read(), values).encode()
    listing = layers.file_list({"bin/app": hashlib.sha256(content).hexdigest()})
    return [
        Entry("bin", "folder"),
        Entry("bin/app", "file", executable=True, content=content),
        Entry(layers.LISTING_FOLDER, "folder"),
        Entry(f"{layers.LISTING_FOLDER}/launcher.sha256", "file", content=listing),
    ]


def _facts_of(path: str) -> Dict[str, Any]:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hashed.update(block)
        return {"sha256": hashed.hexdigest(), "size": file.tell()}


def _json(value: Dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    run(make)
