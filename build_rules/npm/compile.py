"""Runs the install scripts of the packages that a bundle names, each in a step of its own.

The key of such a step holds the package, what it depends on, the runtime and the toolchain: an edit
of the lock elsewhere compiles nothing again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Tuple

from pants.engine.fs import (
    Digest,
    DigestContents,
    DigestSubset,
    MergeDigests,
    PathGlobs,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from build_rules.lib import native_packages, network_words, npm_manifest
from build_rules.lib.errors import SlipwayError, SlipwayErrors
from build_rules.lib.npm_package import Package
from build_rules.lib.script_decisions import Decision
from build_rules.npm.install import InstallRequest, UnpackedPackages
from build_rules.toolchain.image import ToolchainImage, ToolchainImageRequest
from build_rules.toolchain.step import FallibleStepResult, Step, as_arguments

logger = logging.getLogger(__name__)
# node-gyp of npm 5 and older knows Python 2 alone.
_FIRST_WITH_PYTHON_3 = 6


@dataclass(frozen=True)
class CompileRequest:
    """Asks for one package of an install; `closure` holds it with what it depends on."""

    package: Package
    decision: Decision
    closure: Digest
    install: InstallRequest


@dataclass(frozen=True)
class CompiledPackage:
    """`compiled` holds `<name>.tar`, `layer` the layer and its ELF facts; `foreign` the paths dropped
    from it; `bytes` are those of the layer."""

    compiled: Digest
    layer: Digest
    name: str
    bytes: int
    foreign: Tuple[str, ...]


@dataclass(frozen=True)
class InstalledPackages:
    """An application's packages, as its build script and its releases need them.

    `everything` holds archives that make the full tree together. `layers` holds those of a release,
    in the order of `names`, each with its ELF facts; `report` is JSON.
    """

    everything: Digest
    layers: Digest
    names: Tuple[str, ...]
    report: str


def _require_no_download(request: CompileRequest, label: str, result: FallibleStepResult) -> None:
    """A script that swallows the failure of its download leaves something, but not what it wants."""
    if not result.network.attempts:
        return
    name = request.package.name
    raise SlipwayErrors(
        f'"{label}" wants to download what is not declared',
        network_words.listed(result.network),
        where=f"{request.install.origin}, field install_scripts",
        next=f'compile it from source:  install_scripts={{"{name}": "source"}}\n'
        f"or pin its binary:       ./pants node-mirrors --add={name} {request.install.origin}\n"
        f'or do without:           install_scripts={{"{name}": "refuse"}}',
    )


@rule(desc="Run install scripts")
async def compile_package(request: CompileRequest) -> CompiledPackage:
    package, runtime = request.package, request.install.runtime
    image = await Get(ToolchainImage, ToolchainImageRequest(request.install.toolchain))
    layer = native_packages.layer_name(package.path)
    label = f"{package.name}@{package.version}"
    parts = (f"{layer}.layer", f"{layer}.elf.json")
    major = npm_manifest.npm_major(runtime.npm_version)
    result = await Get(
        FallibleStepResult,
        Step(
            program="compile_package",
            trees=(*image.layers, runtime.tree),
            outputs=(f"{layer}.tar", *parts, "compile.json"),
            description=f"Compile {label} for Node.js {runtime.version}",
            origin=request.install.origin,
            arguments=as_arguments(
                {
                    "path": package.path,
                    "layer": layer,
                    "name": package.name,
                    "version": package.version,
                    "python": "python3" if major >= _FIRST_WITH_PYTHON_3 else "python2.7",
                    "drop_foreign": request.install.drop_foreign,
                    "decision": request.decision.value,
                }
            ),
            large=FrozenDict({"closure": request.closure}),
            strict=True,
        ),
    )
    _require_no_download(request, label, result)
    if result.exit_code != 0:
        raise SlipwayError(f"{request.install.origin}: {result.said}")
    compiled, carried, report = await MultiGet(
        Get(Digest, DigestSubset(result.digest, PathGlobs([f"{layer}.tar"]))),
        Get(Digest, DigestSubset(result.digest, PathGlobs(parts))),
        Get(DigestContents, DigestSubset(result.digest, PathGlobs(["compile.json"]))),
    )
    said = json.loads(report[0].content)
    if said["elsewhere"]:
        logger.warning(
            f"{request.install.origin}: the install script of {label} also wrote "
            f"{', '.join(said['elsewhere'][:10])}; only its own folder is kept"
        )
    return CompiledPackage(compiled, carried, layer, said["bytes"], tuple(said["foreign"]))


@rule(desc="Install npm packages")
async def install_packages(request: InstallRequest) -> InstalledPackages:
    unpacked = await Get(UnpackedPackages, InstallRequest, request)
    closures = await MultiGet(
        Get(
            Digest,
            DigestSubset(
                unpacked.closures, PathGlobs([f"{native_packages.layer_name(package.path)}.tar"])
            ),
        )
        for package, _ in unpacked.native
    )
    compiled = await MultiGet(
        Get(CompiledPackage, CompileRequest(package, decision, closure, request))
        for (package, decision), closure in zip(unpacked.native, closures)
    )
    report = json.loads(unpacked.report)
    sizes = {package.path: one.bytes for (package, _), one in zip(unpacked.native, compiled)}
    for entry in report["packages"]:
        entry["bytes"] = sizes.get(entry["path"], entry["bytes"])
    carried = [
        one
        for (package, _), one in zip(unpacked.native, compiled)
        if package.path in unpacked.production
    ]
    everything, layers = await MultiGet(
        Get(Digest, MergeDigests([unpacked.everything, *(one.compiled for one in compiled)])),
        Get(Digest, MergeDigests([unpacked.layer, *(one.layer for one in carried)])),
    )
    report["foreign"].extend(path for one in carried for path in one.foreign)
    names = ("dependencies", *(one.name for one in carried))
    return InstalledPackages(everything, layers, names, json.dumps(report, sort_keys=True))


def rules():
    return collect_rules()
