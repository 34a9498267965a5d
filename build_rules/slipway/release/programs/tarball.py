"""Concatenates the layers of a release, and writes its manifest inside and beside the tarball.

Slipway checks every layer (see `release_layers`). This program checks the application's own layers; an
earlier step checks all others, and `in/checked` has its results.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Tuple

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.archive.tar_reading import Kind
from slipway.elf import facts as elf_facts
from slipway.release.launcher import Launcher
from slipway.release.manifest import Manifest
from slipway.runtime import layer_outputs, release_layers
from slipway.runtime.release_layers import CheckedLayer, Scope
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram


@dataclass(frozen=True)
class Arguments:
    """`layers` has the names of the layers in the order of the release; `static_dir` may be empty."""

    stem: str
    layers: Tuple[str, ...]
    launcher: Launcher
    static_dir: str
    manifest: Manifest


class Outputs(NamedTuple):
    """The tarball, and the release.json beside it, which also describes the tarball."""

    tarball: Output
    manifest: Output


PROGRAM = StepProgram(__name__, Arguments)


def outputs_of(stem: str) -> Outputs:
    return Outputs(Output(f"{stem}.tar.gz"), Output(f"{stem}.release.json"))


def make(arguments: Arguments) -> None:
    stem, outputs = arguments.stem, outputs_of(arguments.stem)
    checked = _checked_layers(arguments)
    manifest = arguments.manifest.as_dict()
    manifest["layers"] = [
        {"name": name, "sha256": found.sha256, "size": found.size} for name, found in checked
    ]
    if os.path.exists("in/static.tar.gz"):
        manifest["static"] = {
            "file": f"{stem}.static.tar.gz",
            **_facts_of("in/static.tar.gz"),
        }
    last = [
        *_launcher(arguments.launcher),
        Entry(release_layers.MANIFEST, "file", content=_json(manifest)),
    ]
    release_layers.check_together([*checked, ("launcher", _as_layer(last))])
    sha256, size = layers.write_release(
        outputs.tarball.path,
        [_path(name) for name, _ in checked],
        last,
        {_path(name): found.sha256 for name, found in checked},
    )
    manifest["tarball"] = {"file": outputs.tarball, "sha256": sha256, "size": size}
    with open(outputs.manifest.path, "wb") as file:
        file.write(_json(manifest))


def _path(layer: str) -> str:
    return f"in/layers/{layer_outputs.outputs_of(layer).layer}"


def _checked_layers(arguments: Arguments) -> List[Tuple[str, CheckedLayer]]:
    own = {
        release_layers.APP: Scope(
            release_layers.APP,
            release_layers.APP,
            foreign=frozenset(
                package.path
                for package in arguments.manifest.packages
                if "node_modules" in package.path.split("/")
            ),
        ),
        release_layers.STATIC: Scope(
            release_layers.STATIC, release_layers.STATIC, arguments.static_dir
        ),
    }
    checked = []
    for name in arguments.layers:
        if name in own:
            facts = elf_facts.read(f"in/layers/{layer_outputs.outputs_of(name).facts}")
            found = release_layers.check_layer(_path(name), own[name], facts)
        else:
            found = release_layers.read_checked("in/checked", name)
        checked.append((name, found))
    return checked


def _as_layer(entries: List[Entry]) -> CheckedLayer:
    kinds = {one.name: Kind.FOLDER if one.kind == "folder" else Kind.FILE for one in entries}
    return CheckedLayer("", 0, kinds, {})


def _launcher(launcher: Launcher) -> List[Entry]:
    """`bin/app`, and the list of the files in the last gzip member."""
    with open("in/app.sh", encoding="utf-8") as file:
        content = launcher.fill(file.read()).encode()
    listing = layers.file_list({release_layers.LAUNCHER: hashlib.sha256(content).hexdigest()})
    return [
        Entry("bin", "folder"),
        Entry(release_layers.LAUNCHER, "file", executable=True, content=content),
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
    run(PROGRAM, make)
