"""An application as a developer has it after `npm ci`, in the working folder of a step."""

from __future__ import annotations

import json
import os
from typing import List, Sequence

from slipway.archive import layers, unpacking
from slipway.isolation.jail_protocol import Subject
from slipway.npm.lockfiles.package import text_map

APP = "app"


def lay_out(executables: Sequence[str]) -> List[str]:
    """Copies `in/sources` and unpacks the packages in `in/installed`, whose archives it returns."""
    layers.lay_out(layers.walk("in/sources", executables=executables), APP)
    archives = [os.path.join("in/installed", name) for name in sorted(os.listdir("in/installed"))]
    for archive in archives:
        unpacking.unpack(archive, APP)
    return archives


def subject(member: str) -> Subject:
    """The application by its package.json among the inputs, which no script can change.

    `member` is its folder in npm workspaces.
    """
    with open(os.path.join("in/sources", member, "package.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    name, version = str(manifest.get("name", "")), str(manifest.get("version", ""))
    return Subject(name, version, text_map(manifest.get("scripts")))
