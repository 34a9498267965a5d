"""The release.json of a release: what it is made of, and what a host has to know of it."""

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
    """`tests` is what became of the tests of a runtime that was built from source."""

    version: str
    npm: str
    definition_sha256: str
    tests: Optional[str] = None


@dataclass(frozen=True)
class AbiFacts:
    """`highest` are the newest versions that hosts need, by namespace."""

    highest: Mapping[str, str]
    waived: Tuple[WaivedFile, ...]
    foreign_dropped: Tuple[str, ...]


@dataclass(frozen=True)
class PackageName:
    name: str
    version: str


@dataclass(frozen=True)
class Manifest:
    """What a release.json says of the inputs of a release.

    `network` is "allow" where its scripts had the network; `install_scripts_not_run` are those of
    packages that it has.
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
        """With keys in their order, as hosts have known them since the first release."""
        document: Dict[str, Any] = json.loads(records.as_json(self))
        return document
