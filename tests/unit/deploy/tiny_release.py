"""Releases of a few files, for tests of deploys: a service that sleeps, and is well as told.

    release = write_release(folder, "1.0.0", files={"service/a.js": "1"})

Its Node is a copy of `program`, so that what runs from a release can be told by its program, and the
service a command of it; `bin/app` is a script of its own. `health` is what `bin/app health` does,
`start` what runs before the service starts. `name` is the name of a runtime other than Node.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Mapping

from slipway.archive import layers
from slipway.archive.layers import Entry

APP = """\
#!/bin/sh
top=$(cd -- "${{0%/*}}/.." && pwd -P)
node=$top/node_runtime/bin/{name}
case $1 in
start) {start}; {service} & ;;
stop) {stop} ;;
health) {health} ;;
esac
"""
RUNS = 'ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q " -> $node"'
STOPS = (
    "for pid in $(ls -l /proc/[0-9]*/exe 2>/dev/null | "
    'sed -n "s|.* /proc/\\([0-9]*\\)/exe -> $node.*|\\1|p"); do kill $pid; done'
)


def write_release(
    folder: Path,
    version: str,
    *,
    files: Mapping[str, str] = {},
    start: str = ":",
    stop: str = STOPS,
    health: str = RUNS,
    service: str = '"$node" 1000',
    program: str = "/bin/sleep",
    name: str = "node",
    server_env: str = "prod",
    app_layer: str = "app",
    static: Mapping[str, str] = {},
    facts: Mapping[str, Any] = {},
) -> Path:
    """Writes a release as `package` does, and gives the path of its release.json."""
    folder.mkdir(parents=True, exist_ok=True)
    node = folder / "node"
    shutil.copy(os.path.realpath(program), node)
    app = APP.format(name=name, start=start, stop=stop, health=health, service=service)
    parts = {
        "runtime": [Entry(f"node_runtime/bin/{name}", "file", True, str(node))],
        app_layer: [
            Entry("package.json", "file", content=json.dumps({"version": version}).encode()),
            *(Entry(name, "file", content=text.encode()) for name, text in files.items()),
            Entry("service/link", "link", target="../package.json"),
        ],
        "launcher": [Entry("bin/app", "file", True, content=app.encode())],
    }
    for layer, entries in parts.items():
        layers.write_layer(str(folder / f"{layer}.layer"), layer, entries)
    manifest: Dict[str, Any] = {"app": "tiny", "version": version, "server_env": server_env}
    manifest.update({"layers": [], **facts})
    tarball = folder / f"tiny-{version}-{server_env}.tar.gz"
    last = [Entry("release.json", "file", content=json.dumps(manifest).encode())]
    digest, size = layers.write_release(
        str(tarball), [str(folder / f"{name}.layer") for name in parts], last
    )
    outer: Dict[str, Any] = {
        **manifest,
        "tarball": {"file": tarball.name, "sha256": digest, "size": size},
    }
    if static:
        archive = folder / "static.tar.gz"
        made = layers.write_whole(
            str(archive),
            [Entry(name, "file", content=text.encode()) for name, text in static.items()],
        )
        outer["static"] = {"file": archive.name, "sha256": made.sha256, "size": made.size}
    path = folder / f"tiny-{version}-{server_env}.release.json"
    path.write_text(json.dumps(outer))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def running_from(folder: Path) -> list[int]:
    """Processes whose program lies below a folder."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/exe").startswith(f"{folder}/"):
                found.append(int(name))
        except OSError:
            continue
    return found
