"""Packs the coordinator's modules as one executable file, the same bytes each time."""

from __future__ import annotations

import os
import zipfile
from typing import List

_MAIN = """\
import sys

from slipway.deploy.cli import main

sys.exit(main(sys.argv[1:]))
"""
_DATE = (1985, 10, 26, 8, 15, 0)


def main() -> None:
    files = {"__main__.py": _MAIN.encode()}
    for folder, _, names in os.walk("in"):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, "in")] = file.read()
    for folder in {part for name in files for part in _folders(name)}:
        files.setdefault(f"{folder}/__init__.py", b"")
    os.makedirs("out", exist_ok=True)
    with open("out/deploy.pyz", "wb") as raw:
        raw.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(files.items()):
                info = zipfile.ZipInfo(name, _DATE)
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
    os.chmod("out/deploy.pyz", 0o755)


def _folders(path: str) -> List[str]:
    """The folders that a file is in, which are packages of modules."""
    folder = os.path.dirname(path)
    return [folder, *_folders(folder)] if folder else []


if __name__ == "__main__":
    main()
