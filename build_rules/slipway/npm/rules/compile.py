"""Runs the install scripts of packages, each in a separate build step.

The cache key of such a step contains the package, its dependencies, the runtime and the toolchain. A
change elsewhere in the lockfile does not compile the package again.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Dict, Iterable, Optional, Sequence, Tuple

from pants.engine.fs import Digest, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.isolation import network_words
from slipway.npm.install_report import InstallReport
from slipway.npm.lockfiles import manifest
from slipway.npm.lockfiles.fetch_lock import FetchLock, PinnedBinary
from slipway.npm.lockfiles.package import Package
from slipway.npm.programs import compile, install
from slipway.npm.rules.install import InstallRequest, UnpackedPackages
from slipway.npm.rules.locks import FetchLockRequest
from slipway.npm.rules.read_scripts import UndecidedScripts
from slipway.npm.scripts import decisions, native_packages
from slipway.npm.scripts.decisions import Decision
from slipway.npm.scripts.loopback import ASKED
from slipway.npm.scripts.mirrors import Asked
from slipway.runtime.rules.layer import Layer, take_layer
from slipway.step.interface import Output
from slipway.step.rules import outputs
from slipway.step.rules.build_step import FallibleStepResult, Step
from slipway.step.rules.locked_files import LockedFile, LockedFiles
from slipway.subsystem import InstallScripts
from slipway.toolchain.rules.image import ToolchainImage, ToolchainImageRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompileRequest:
    """A request to run the install script of one package.

    `closure` contains the package and its dependencies; `binaries` are its pinned binaries.
    """

    package: Package
    decision: Decision
    binaries: Tuple[PinnedBinary, ...]
    closure: Digest
    install: InstallRequest

    @property
    def label(self) -> str:
        return f"{self.package.name}@{self.package.version}"

    @property
    def layer(self) -> str:
        return native_packages.layer_name(self.package.path)

    @property
    def outputs(self) -> compile.Outputs:
        return compile.outputs_of(self.layer)


@dataclass(frozen=True)
class CompileStep:
    step: Step


@dataclass(frozen=True)
class AskRequest:
    """A request for the files that an install script downloads, if it has the `known` ones."""

    install: InstallRequest
    package: Package
    known: Tuple[PinnedBinary, ...]


@dataclass(frozen=True)
class AskedFiles:
    files: Tuple[Asked, ...]


@dataclass(frozen=True)
class ClosureRequest:
    """A request for the archive of one package among `closures`."""

    closures: Digest
    package: Package


@dataclass(frozen=True)
class CompiledPackage:
    """`compiled` contains the package's folder for the build script; `foreign` are the paths dropped from
    `layer`, and `bytes` is the size of the layer."""

    compiled: Digest
    layer: Layer
    bytes: int
    foreign: Tuple[str, ...]


@dataclass(frozen=True)
class CompileOutcome:
    """The compiled package, or the error message of its script."""

    compiled: Optional[CompiledPackage]
    fault: str = ""


@dataclass(frozen=True)
class InstalledPackages:
    """An application's packages, for its build script and for its releases.

    `everything` contains archives that together are the full tree; `layers` are the layers of a release.
    """

    everything: Digest
    layers: Tuple[Layer, ...]
    report: InstallReport

    def only_for_the_build(self) -> InstalledPackages:
        """The same packages, none of which is in a release."""
        return InstalledPackages(self.everything, (), self.report.without_packages())


def _asked(request: CompileRequest) -> Tuple[Output, ...]:
    return (ASKED,) if request.decision is Decision.PREBUILT else ()


def _variables(request: CompileRequest, mirrors: InstallScripts) -> Dict[str, Tuple[str, ...]]:
    own = mirrors.variables.get(request.package.name, ())
    prebuilt = request.decision is Decision.PREBUILT
    return {request.package.name: tuple(own)} if own and prebuilt else {}


def _locked(binary: PinnedBinary) -> LockedFile:
    source = {"kind": "binary", "name": binary.name, "variable": binary.variable}
    return LockedFile(
        f"binaries/{binary.sha256}",
        binary.sha256,
        binary.size,
        FrozenDict({**source, "file": binary.path}),
    )


async def _read_asked(request: CompileRequest, result: FallibleStepResult) -> Tuple[Asked, ...]:
    if request.decision is not Decision.PREBUILT:
        return ()
    # A failed step may have written no output.
    asked = await outputs.find_report(result.digest, ASKED)
    return () if asked is None else asked.files


def _not_pinned(request: CompileRequest, missing: Sequence[Asked]) -> SlipwayError:
    """The error for a script that requested a file that is not pinned, and was ended."""
    name, origin = request.package.name, request.install.origin
    return SlipwayErrors(
        f'"{request.label}" requests a binary that is not pinned',
        [f"{one.path}, from the mirror in {one.variable}" for one in missing],
        where=f"{origin}, field install_scripts",
        next=f"pin the binary:          ./pants install-scripts --pin={name} {origin}\n"
        f'or compile from source:  install_scripts={{"{name}": "source"}}',
    )


def _wants_to_download(request: CompileRequest, result: FallibleStepResult) -> SlipwayError:
    """The error for a script that tried to use the network.

    A script can ignore a failed download and succeed with incomplete files.
    """
    name, origin = request.package.name, request.install.origin
    ways = {
        Decision.SOURCE: f'compile from source:  install_scripts={{"{name}": "source"}}',
        Decision.PREBUILT: f"pin its binary:       ./pants install-scripts --pin={name} {origin}",
        Decision.SKIP: f'skip the script:      install_scripts={{"{name}": "skip"}}',
    }
    others = [way for decision, way in ways.items() if decision is not request.decision]
    # A script that cannot compile either says why; for the others, the download is the reason.
    failed = [result.said] if request.decision is Decision.SOURCE else []
    return SlipwayErrors(
        f'"{request.label}" tried to download files that are not declared',
        [*network_words.listed(result.network), *failed],
        where=f"{origin}, field install_scripts",
        next="\nor ".join(others),
    )


async def _find_fault(
    request: CompileRequest, result: FallibleStepResult
) -> Optional[SlipwayError]:
    missing = [one for one in await _read_asked(request, result) if not one.given]
    if missing:
        return _not_pinned(request, missing)
    # In this mode, a script that goes on without its download has compiled the package.
    is_compiled = request.decision is Decision.SOURCE and result.exit_code == 0
    if result.network.attempts and not is_compiled:
        return _wants_to_download(request, result)
    if result.exit_code != 0:
        return SlipwayError(f"{request.install.origin}: {result.said}")
    return None


@rule
async def find_closure(request: ClosureRequest) -> Digest:
    return await outputs.take(request.closures, install.closure_of(request.package.path))


@rule
async def find_compile_step(request: CompileRequest, mirrors: InstallScripts) -> CompileStep:
    package, runtime = request.package, request.install.runtime
    toolchain = request.install.toolchain
    if toolchain is None:
        raise SlipwayError(
            f'the install script of "{request.label}" needs a toolchain, and the bundle has no toolchain',
            where=f"{request.install.origin}, field toolchain",
            next='set toolchain="//toolchains/gcc48", or for all bundles in the top BUILD file: '
            '__defaults__({node_app_bundle: {"toolchain": "//toolchains/gcc48"}})',
        )
    if request.decision is Decision.SOURCE and not runtime.has_headers:
        raise SlipwayError(
            f'"{request.label}" cannot be compiled: {runtime.label} has no headers for native addons',
            where=f"{request.install.origin}, field install_scripts",
            found="`headers = false` in the definition of the runtime",
            next="use a runtime whose definition has headers",
        )
    image = await Get(ToolchainImage, ToolchainImageRequest(toolchain))
    major = manifest.npm_major(runtime.npm_version)
    return CompileStep(
        Step(
            compile.PROGRAM(
                compile.Arguments(
                    path=package.path,
                    layer=request.layer,
                    name=package.name,
                    version=str(package.version),
                    node=runtime.version,
                    python=native_packages.gyp_python(major),
                    from_source=request.decision is Decision.SOURCE,
                    takes_binary=request.decision is Decision.PREBUILT,
                    drop_foreign=request.install.drop_foreign,
                    variables=_variables(request, mirrors),
                    binaries={one.path: f"in/binaries/{one.sha256}" for one in request.binaries},
                )
            ),
            trees=(*image.layers, runtime.tree),
            outputs=(*request.outputs, *_asked(request)),
            description=f"Compile {request.label} for Node.js {runtime.version}",
            origin=request.install.origin,
            large=FrozenDict({"closure": request.closure}),
            locked=LockedFiles(
                tuple(_locked(one) for one in request.binaries),
                project=request.install.read.lock.folder,
            ),
            network=request.install.network,
            strict=True,
        )
    )


@rule
async def ask_for_files(request: AskRequest) -> AskedFiles:
    unpacked = await Get(UnpackedPackages, InstallRequest, request.install)
    (package,) = (one for one, _ in unpacked.native if one.path == request.package.path)
    compiling = CompileRequest(
        package,
        Decision.PREBUILT,
        request.known,
        await Get(Digest, ClosureRequest(unpacked.closures, package)),
        request.install,
    )
    step = await Get(CompileStep, CompileRequest, compiling)
    result = await Get(FallibleStepResult, Step, step.step)
    asked = await _read_asked(compiling, result)
    if result.exit_code != 0 and all(one.given for one in asked):
        raise SlipwayError(f"{request.install.origin}: {result.said}")
    return AskedFiles(asked)


def _tell(request: CompileRequest, result: FallibleStepResult) -> None:
    """Logs the script and its duration; for a cached result, the duration of the original run."""
    seconds = (result.metadata.total_elapsed_ms or 0) / 1000
    logger.info(
        f"{request.install.origin}: the install script of {request.label} "
        f"({request.decision.value}) took {seconds:.1f} s"
    )


@rule(desc="Run install scripts")
async def compile_package(request: CompileRequest) -> CompileOutcome:
    step = await Get(CompileStep, CompileRequest, request)
    result = await Get(FallibleStepResult, Step, step.step)
    fault = await _find_fault(request, result)
    if fault is not None:
        return CompileOutcome(None, str(fault))
    left = request.outputs
    compiled = await outputs.take(result.digest, left.compiled)
    layer = await take_layer(result.digest, request.layer)
    report = await outputs.read_report(result.digest, left.report)
    if report.elsewhere:
        logger.warning(
            f"{request.install.origin}: the install script of {request.label} also wrote "
            f"{', '.join(report.elsewhere[:10])}; Slipway keeps only files in the package's folder"
        )
    for attempt in network_words.listed(result.network):
        logger.warning(
            f"{request.install.origin}: {attempt}, which build steps cannot reach; the script went on "
            f"and compiled {request.label}"
        )
    _tell(request, result)
    made = CompiledPackage(compiled, layer, report.bytes, report.foreign)
    return CompileOutcome(made)


def _all_compiled(outcomes: Iterable[CompileOutcome], origin: str) -> Tuple[CompiledPackage, ...]:
    """All compiled packages; raises one error with every fault."""
    listed = tuple(outcomes)
    faults = [one.fault for one in listed if one.fault]
    if len(faults) == 1:
        raise SlipwayError(faults[0])
    if faults:
        raise SlipwayErrors(
            f"the install scripts of {len(faults)} packages failed",
            faults,
            where=f"{origin}, field install_scripts",
        )
    return tuple(one.compiled for one in listed if one.compiled)


@rule(desc="Install npm packages")
async def install_packages(request: InstallRequest) -> InstalledPackages:
    where = f"{request.origin}, field install_scripts"
    early = await Get(UndecidedScripts, InstallRequest, request)
    decisions.require_decisions(early.packages, where)
    unpacked, fetched = await MultiGet(
        Get(UnpackedPackages, InstallRequest, request),
        Get(FetchLock, FetchLockRequest(request.read.whole)),
    )
    decided = request.decided()
    report = unpacked.report
    decisions.require_decisions(
        [package for package in report.install_scripts if decided[package.path] is None], where
    )
    closures = await MultiGet(
        Get(Digest, ClosureRequest(unpacked.closures, package)) for package, _ in unpacked.native
    )
    outcomes = await MultiGet(
        Get(
            CompileOutcome,
            CompileRequest(
                package,
                decision,
                fetched.pinned(package.name, package.version)
                if decision is Decision.PREBUILT
                else (),
                closure,
                request,
            ),
        )
        for (package, decision), closure in zip(unpacked.native, closures)
    )
    compiled = _all_compiled(outcomes, request.origin)
    sizes = {package.path: one.bytes for (package, _), one in zip(unpacked.native, compiled)}
    ran = {package.path: decision.value for package, decision in unpacked.native}
    packages = tuple(
        dataclasses.replace(
            package,
            decision=ran.get(package.path),
            bytes=sizes.get(package.path, package.bytes),
        )
        for package in report.packages
    )
    carried = [
        one
        for (package, _), one in zip(unpacked.native, compiled)
        if package.path in unpacked.production
    ]
    everything = await Get(
        Digest, MergeDigests([unpacked.everything, *(one.compiled for one in compiled)])
    )
    foreign = (*report.foreign, *(path for one in carried for path in one.foreign))
    layers = (unpacked.layer, *(one.layer for one in carried))
    report = dataclasses.replace(report, packages=packages, foreign=foreign)
    return InstalledPackages(everything, layers, report)


def rules() -> Rules:
    return collect_rules()
