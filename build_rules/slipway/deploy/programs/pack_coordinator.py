"""Packs the coordinator's modules into one executable file, with the same bytes each time."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from typing import Dict, List

from slipway.step.interface import ARGUMENTS, OUT, Output, StepProgram

_DATE = (1985, 10, 26, 8, 15, 0)
_IN = "in"


@dataclass(frozen=True)
class Arguments:
    """`main` is the path of the program that the file starts, among the modules."""

    main: str


PROGRAM = StepProgram(__name__, Arguments)
PACKED = Output("deploy.pyz")


def pack(arguments: Arguments) -> None:
    files: Dict[str, bytes] = {}
    for folder, _, names in os.walk(_IN):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, _IN)] = file.read()
    files["__main__.py"] = files[arguments.main]
    for folder in {part for name in files for part in _folders(name)}:
        files.setdefault(f"{folder}/__init__.py", b"")
    os.makedirs(OUT, exist_ok=True)
    with open(PACKED.path, "wb") as raw:
        raw.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(files.items()):
                info = zipfile.ZipInfo(name, _DATE)
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
    os.chmod(PACKED.path, 0o755)


def _folders(path: str) -> List[str]:
    """The folders above a file, which become Python packages."""
    folder = os.path.dirname(path)
    return [folder, *_folders(folder)] if folder else []


if __name__ == "__main__":
    pack(PROGRAM.read_file(ARGUMENTS))
