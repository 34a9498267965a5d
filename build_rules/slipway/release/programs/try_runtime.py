"""Reads the lists in a release: its release.json, and the hash of every file outside the runtime.

Writes `contents.json`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple

from slipway.archive import layers, unpacking
from slipway.archive.tar_reading import Kind
from slipway.archive.unpacking import Form
from slipway.core.json_text import loads
from slipway.release.differences import Contents
from slipway.step.frame import run
from slipway.step.interface import ReportFile, StepProgram

_RUNTIME = f"{layers.LISTING_FOLDER}/runtime.sha256"
_LONGEST_LIST = 256 << 20


@dataclass(frozen=True)
class Arguments:
    """The name of the release's tarball."""

    file: str


class Outputs(NamedTuple):
    contents: ReportFile[Contents] = ReportFile("contents.json", Contents)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def read(arguments: Arguments) -> None:
    files: Dict[str, str] = {}
    manifest: Dict[str, Any] = {}
    path = os.path.join("in", arguments.file)
    with unpacking.opened(path, Form.TARBALL) as archive:
        for member in archive.members():
            folder = member.name.rpartition("/")[0]
            if member.kind is not Kind.FILE:
                continue
            try:
                if member.name == "release.json":
                    manifest = loads(archive.read(member, _LONGEST_LIST))
                elif folder == layers.LISTING_FOLDER and member.name != _RUNTIME:
                    files.update(
                        layers.read_file_list(archive.read(member, _LONGEST_LIST).decode())
                    )
            except ValueError as error:
                raise unpacking.refused(path, member.name, str(error)) from None
    OUTPUTS.contents.write(Contents(manifest, files))


if __name__ == "__main__":
    run(PROGRAM, read)
