"""The report of an install: the packages of a release, and the packages with install scripts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple


@dataclass(frozen=True)
class InstalledPackage:
    """A package of a release, in the form of a release.json.

    `bytes` is the size of its files without nested packages. `decision` is the decision on its install
    script, if the script ran.
    """

    path: str
    name: str
    version: str
    bytes: int
    decision: Optional[str] = None


@dataclass(frozen=True)
class ScriptedPackage:
    """A package with install scripts, which are keyed by event.

    `production` says whether a release contains the package; `variables` name the mirrors of its scripts.
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
    """The report; `packages` are in the release, with `files` files of `file_bytes` bytes.

    `foreign` are the paths dropped from the release. `native` maps the paths of installed packages whose
    scripts will run to their versions. `bins` are the names in `node_modules/.bin` of the release, and
    `bins_left_out` those that only devDependencies have there. `absent` are the paths of the lockfile
    that npm did not install. `unlinked` are the commands without a link in .bin, by path and name, and
    their files.
    """

    file_bytes: int
    files: int
    foreign: Tuple[str, ...]
    packages: Tuple[InstalledPackage, ...]
    install_scripts: Tuple[ScriptedPackage, ...]
    native: Mapping[str, str]
    bins: Tuple[str, ...]
    bins_left_out: Tuple[str, ...]
    absent: Tuple[str, ...]
    unlinked: Mapping[str, Mapping[str, str]]

    def without_packages(self) -> InstallReport:
        """The report on a release that contains none of the packages."""
        return dataclasses.replace(
            self,
            file_bytes=0,
            files=0,
            foreign=(),
            packages=(),
            install_scripts=(),
            bins=(),
            bins_left_out=(*self.bins, *self.bins_left_out),
        )
