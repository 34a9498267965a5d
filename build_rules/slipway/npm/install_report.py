"""What an install reports: its packages, their install scripts, and what a release takes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple


@dataclass(frozen=True)
class InstalledPackage:
    """A package of a release, as release.json lists it.

    `bytes` are those of its files, nested packages apart.  `decision` is what was decided on its
    install script, where that ran.
    """

    path: str
    name: str
    version: str
    bytes: int
    decision: Optional[str] = None


@dataclass(frozen=True)
class ScriptedPackage:
    """A package with install scripts, by event.

    `production` is whether a release has it; `variables` steer what its scripts fetch.
    """

    path: str
    name: str
    version: str
    scripts: Mapping[str, str]
    production: bool
    variables: Tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class InstallReport:
    """`packages` are those of a release, and `file_bytes` and `files` count what they have there.

    `foreign` are paths that were dropped from a release; `native` maps the paths of packages whose
    scripts are to run, as far as they were installed, to their versions.
    """

    file_bytes: int
    files: int
    foreign: Tuple[str, ...]
    packages: Tuple[InstalledPackage, ...]
    install_scripts: Tuple[ScriptedPackage, ...]
    native: Mapping[str, str]
