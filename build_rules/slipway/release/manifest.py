"""The release.json of a release: its inputs, its layers, and its requirements on hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.abi.waivers import WaivedFile
from slipway.npm.install_report import InstalledPackage
from slipway.step import records

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class NodeFacts:
    """`tests` is the test result of a runtime that was built from source.

    `bin` is the program of a runtime other than Node.js, and `built_with` the version of the Node that
    built the application for a runtime without npm.
    """

    version: str
    npm: str
    definition_sha256: str
    tests: Optional[str] = None
    bin: Optional[str] = None
    built_with: Optional[str] = None


@dataclass(frozen=True)
class AbiFacts:
    """`highest` has the newest symbol version that hosts need, by namespace."""

    highest: Mapping[str, str]
    waived: Tuple[WaivedFile, ...]
    foreign_dropped: Tuple[str, ...]


@dataclass(frozen=True)
class PackageName:
    name: str
    version: str


@dataclass(frozen=True)
class Manifest:
    """The inputs of a release in its release.json.

    `network` is "allow" if its scripts had network access. `install_scripts_not_run` lists packages of the
    release whose install scripts did not run.
    """

    app: str
    version: str
    server_env: str
    node: NodeFacts
    lock_sha256: str
    abi: AbiFacts
    packages: Tuple[InstalledPackage, ...]
    install_scripts_not_run: Tuple[PackageName, ...]
    network: Optional[str] = None
    schema_version: int = SCHEMA_VERSION

    def as_dict(self) -> Dict[str, Any]:
        """The document with its keys in the order of the first release; the bytes must not change."""
        document: Dict[str, Any] = json.loads(records.as_json(self))
        return document
