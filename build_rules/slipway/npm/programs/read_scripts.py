"""Reads the install scripts of packages from their tarballs, without an install."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Tuple

from slipway.archive import package_tarball
from slipway.core.json_text import load_object
from slipway.npm.install_report import ScriptedPackage
from slipway.npm.programs.install import Tarball, check_integrity
from slipway.npm.scripts import mirrors, native_packages
from slipway.step.frame import run
from slipway.step.interface import ReportFile, StepProgram


@dataclass(frozen=True)
class Packed:
    """A package of the lockfile at `path`; `production` says whether a release contains it."""

    path: str
    name: str
    version: str
    production: bool
    tarball: Tarball


@dataclass(frozen=True)
class Arguments:
    packages: Tuple[Packed, ...]


@dataclass(frozen=True)
class Report:
    """Those of the packages that have install scripts."""

    packages: Tuple[ScriptedPackage, ...]


class Outputs(NamedTuple):
    report: ReportFile[Report] = ReportFile("scripts.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def read(arguments: Arguments) -> None:
    found = (_read(one) for one in arguments.packages)
    OUTPUTS.report.write(Report(tuple(one for one in found if one.scripts)))


def _read(packed: Packed) -> ScriptedPackage:
    tarball = packed.tarball
    check_integrity(tarball)
    files = package_tarball.read(tarball.path, tarball.package, ("package.json", "binding.gyp"))
    text = files.get("package.json", b"{}").decode("utf-8", "replace")
    manifest = load_object(text, f"{tarball.package}: package.json", next=package_tarball.NEXT)
    return ScriptedPackage(
        path=packed.path,
        name=packed.name,
        version=packed.version,
        scripts=native_packages.install_scripts(manifest, "binding.gyp" in files),
        production=packed.production,
        variables=mirrors.variables(packed.name, manifest, {}),
    )


if __name__ == "__main__":
    run(PROGRAM, read)
