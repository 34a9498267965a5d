"""Native addons of the workspace, compiled in the toolchain for one Node version at a time.

The cache key contains the addon's files, its dependencies, the runtime and the toolchain. A release
with the addon and `package` of the addon itself share the result.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pants.core.goals.package import OutputPathField, PackageFieldSet
from pants.engine.fs import AddPrefix, Digest
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.lockfiles import manifest as npm_manifest
from slipway.npm.lockfiles.lock import rewrite_lock
from slipway.npm.programs import addon as program
from slipway.npm.rules.app_files import AppFiles, AppFilesRequest
from slipway.npm.rules.compile import InstalledPackages
from slipway.npm.rules.install import InstallRequest
from slipway.npm.rules.locks import NpmLockRequest, ReadNpmLock
from slipway.npm.rules.manifest import Manifest, ManifestRequest, check_script
from slipway.npm.scripts import decisions as script_decisions
from slipway.npm.scripts import native_packages
from slipway.npm.targets import (
    AbiWaiversField,
    AddonRuntimesField,
    AddonSourcesField,
    InstallScriptsField,
    NpmLockField,
    PackageJsonField,
    TestScriptField,
    ToolchainField,
)
from slipway.runtime.rules.node import Runtime
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult
from slipway.toolchain.rules.image import (
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
    ToolchainNamed,
)


@dataclass(frozen=True)
class NodeAddonFieldSet(PackageFieldSet):
    required_fields = (PackageJsonField, AddonSourcesField)

    package_json: PackageJsonField
    lockfile: NpmLockField
    sources: AddonSourcesField
    install_scripts: InstallScriptsField
    runtimes: AddonRuntimesField
    toolchain: ToolchainField
    test_script: TestScriptField
    abi_waivers: AbiWaiversField
    output_path: OutputPathField

    @property
    def folder(self) -> str:
        return os.path.dirname(self.package_json.file_path)

    @property
    def origin(self) -> str:
        return str(self.address)


@dataclass(frozen=True)
class AddonRequest:
    field_set: NodeAddonFieldSet
    runtime: Runtime


@dataclass(frozen=True)
class Addon:
    """An addon, compiled for one Node version; `modules` is the number of its binary interface.

    `folder` contains `addon.tar`, the addon's folder as in a release; `binaries` contains
    `addon.tar.gz`, only the compiled files; `facts` contains `addon.elf.json`; `bytes` is the size of
    the folder.
    """

    manifest: Manifest
    toolchain: ToolchainFieldSet
    folder: Digest
    binaries: Digest
    facts: Digest
    modules: int
    bytes: int

    @property
    def label(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"


@rule
async def find_toolchain_of_addon(field_set: NodeAddonFieldSet) -> ToolchainFieldSet:
    if not field_set.toolchain.value:
        raise SlipwayError(
            f'the addon "{field_set.origin}" has no toolchain',
            where=f"{field_set.origin}, field toolchain",
            next='set toolchain="//toolchains/gcc48", or for all addons in the top BUILD file: '
            '__defaults__({node_addon: {"toolchain": "//toolchains/gcc48"}})',
        )
    named = ToolchainNamed(
        field_set.toolchain.to_unparsed_address_inputs(),
        "the toolchain of an addon",
        f"{field_set.origin}, field toolchain",
    )
    return await Get(ToolchainFieldSet, ToolchainNamed, named)


@rule(desc="Compile native addon")
async def compile_addon(request: AddonRequest) -> Addon:
    field_set, runtime, origin = request.field_set, request.runtime, request.field_set.origin
    manifest, toolchain, read, sources = await MultiGet(
        Get(Manifest, ManifestRequest(field_set.package_json.file_path, origin)),
        Get(ToolchainFieldSet, NodeAddonFieldSet, field_set),
        Get(
            ReadNpmLock,
            NpmLockRequest(field_set.lockfile.path or "", field_set.package_json.file_path, origin),
        ),
        Get(
            AppFiles,
            AppFilesRequest(
                field_set.folder, (*field_set.sources.globs(), field_set.package_json.file_path)
            ),
        ),
    )
    if read.lock.member:
        raise SlipwayError(
            f'the addon "{origin}" has no lockfile of its own',
            where=f"{origin}, field lockfile",
            found=read.lock.path,
            next=rewrite_lock(os.path.join(field_set.folder, "package-lock.json"))
            + "   # --workspaces=false in a member of workspaces",
        )
    test = field_set.test_script.value or ""
    if test:
        check_script(manifest, test, f"{origin}, field test_script")
    scripts = f"{origin}, field install_scripts"
    decisions = script_decisions.parse(entries_of(field_set.install_scripts), scripts)
    script_decisions.check(decisions, read.lock.packages, scripts)
    installed, image, inputs = await MultiGet(
        Get(
            InstalledPackages,
            InstallRequest(read, runtime, decisions, False, toolchain, origin),
        ),
        Get(ToolchainImage, ToolchainImageRequest(toolchain)),
        Get(Digest, AddPrefix(sources.digest, "sources")),
    )
    result = await Get(
        StepResult,
        Step(
            program.PROGRAM(
                program.Arguments(
                    name=manifest.name,
                    version=manifest.version,
                    node=runtime.version,
                    python=native_packages.gyp_python(npm_manifest.npm_major(runtime.npm_version)),
                    executables=sources.executables,
                    test_script=test,
                )
            ),
            trees=(*image.layers, runtime.tree),
            outputs=program.OUTPUTS,
            description=f"Compile {manifest.name}@{manifest.version} for Node.js {runtime.version}",
            origin=origin,
            inputs=inputs,
            large=FrozenDict({"installed": installed.everything}),
        ),
    )
    left = program.OUTPUTS
    report = await outputs.read_report(result.digest, left.report)
    return Addon(
        manifest,
        toolchain,
        await outputs.take(result.digest, left.folder),
        await outputs.take(result.digest, left.binaries),
        await outputs.take(result.digest, left.facts),
        report.modules,
        report.bytes,
    )


def rules() -> Rules:
    return collect_rules()
