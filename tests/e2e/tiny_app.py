"""An application of a few lines, for tests that need many: with packages that a stub serves.

    app = TinyApp(workspace, "apps/one", packages={"left": make_package("left")})
    app.write()
    workspace.pants("package", app.release).ok()

Every application is alike but for what a test changes, so that steps of the sound ones hit.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from slipway.npm.lockfiles import fetch_lock
from slipway.npm.lockfiles.fetch_lock import FetchEntry
from tests.e2e.harness import Workspace

VERSION = "1.0.0"
RUNTIME = "//toolchains/node:16.20.2"
Members = Tuple[Tuple[tarfile.TarInfo, bytes], ...]


def member(name: str, content: bytes = b"", **facts: Any) -> Tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def make_package(name: str, *members: Tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tarball as npm packs it, with an index.js and further members."""
    manifest = json.dumps({"name": name, "version": VERSION, "main": "index.js"}).encode()
    own = (member("package/package.json", manifest), member("package/index.js", b"exports.x = 1\n"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, content in (*own, *members):
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@dataclass
class TinyApp:
    """`bundle` and `release` are further fields, as a BUILD file has them."""

    workspace: Workspace
    folder: str
    packages: Mapping[str, bytes] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    bundle: str = ""
    release_fields: str = ""

    @property
    def path(self) -> Path:
        return self.workspace.root / self.folder

    @property
    def release(self) -> str:
        return f"//{self.folder}:release"

    @property
    def manifest(self) -> Dict[str, Any]:
        scripts = {
            "build": "mkdir -p dist && echo built >dist/a.js",
            "serve": "node service/app.js",
            **self.scripts,
        }
        return {
            "name": "tiny",
            "version": VERSION,
            "scripts": scripts,
            "dependencies": dict.fromkeys(self.packages, VERSION),
        }

    @property
    def lock(self) -> Dict[str, Any]:
        own = {key: self.manifest[key] for key in ("name", "version", "dependencies")}
        packages = {
            f"node_modules/{name}": {
                "version": VERSION,
                "resolved": f"https://registry.example/{name}/-/{name}-{VERSION}.tgz",
                "integrity": integrity(content),
            }
            for name, content in self.packages.items()
        }
        return {
            "name": "tiny",
            "version": VERSION,
            "lockfileVersion": 3,
            "requires": True,
            "packages": {"": own, **packages},
        }

    @property
    def fetch_lock(self) -> str:
        entries: List[FetchEntry] = [
            FetchEntry(
                name, VERSION, integrity(content), hashlib.sha256(content).hexdigest(), len(content)
            )
            for name, content in self.packages.items()
        ]
        return fetch_lock.render(
            entries, fetch_lock.renew_command(f"{self.folder}/package-lock.json")
        )

    @property
    def build_file(self) -> str:
        return (
            f'node_app_bundle(**dict(dict(name="bundle", runtime="{RUNTIME}"), {self.bundle}))\n'
            'release_tarball(**dict(dict(name="release", bundle=":bundle", start_probe="off"), '
            f"{self.release_fields}))\n"
        )

    def write(self) -> None:
        """Replaces the folder with a new application, so that nothing else is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.put("BUILD", self.build_file)
        self.put("package.json", json.dumps(self.manifest, indent=2))
        self.put("package-lock.json", json.dumps(self.lock, indent=2))
        self.put(fetch_lock.FILE_NAME, self.fetch_lock)
        self.put("service/app.js", "require('http')\n")

    def put(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
