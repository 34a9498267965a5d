"""Applications: manifest and lockfile, runtime and toolchain, without any environment."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple, Type

from pants.engine.addresses import UnparsedAddressInputs
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Field, FieldSet

from slipway.bundle.targets import (
    AddonsField,
    BuildArgsField,
    BuildEnvField,
    BuildOutputsField,
    BuildScriptField,
    BuildSourcesField,
    DropForeignBinariesField,
    LifecycleScriptsField,
    NetworkField,
    NodeModulesField,
    RuntimeField,
    RuntimeSourcesField,
    ServerEnvField,
    StaticBaseUrlField,
    StaticDirField,
    TrialRuntimeField,
)
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.core.targets import as_in_field, entries_of, in_build_root
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.rules.install import InstallRequest
from slipway.npm.rules.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock
from slipway.npm.rules.manifest import Manifest, ManifestRequest
from slipway.npm.scripts import decisions as script_decisions
from slipway.npm.scripts.decisions import Rule
from slipway.npm.targets import InstallScriptsField, NpmLockField, PackageJsonField, ToolchainField
from slipway.runtime import node_process
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.rules.make import NamedRuntimes, RuntimeRequest, Runtimes, RuntimesNamed
from slipway.runtime.rules.node import Runtime
from slipway.runtime.rules.version_runtime import VersionRuntimeRequest
from slipway.step.rules.build_step import Tree
from slipway.subsystem import Slipway
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainNamed


@dataclass(frozen=True)
class NodeAppBundleFieldSet(FieldSet):
    required_fields: ClassVar[Tuple[Type[Field], ...]] = (
        PackageJsonField,
        NpmLockField,
        RuntimeSourcesField,
    )

    package_json: PackageJsonField
    lockfile: NpmLockField
    runtime: RuntimeField
    toolchain: ToolchainField
    install_scripts: InstallScriptsField
    addons: AddonsField
    network: NetworkField
    node_modules: NodeModulesField
    drop_foreign_binaries: DropForeignBinariesField
    build_sources: BuildSourcesField
    runtime_sources: RuntimeSourcesField
    build_script: BuildScriptField
    build_args: BuildArgsField
    build_outputs: BuildOutputsField
    server_env: ServerEnvField
    build_env: BuildEnvField
    lifecycle_scripts: LifecycleScriptsField
    static_dir: StaticDirField
    static_base_url: StaticBaseUrlField

    @property
    def folder(self) -> str:
        return os.path.dirname(self.package_json.file_path)

    @property
    def top(self) -> str:
        """The folder of the lockfile: paths in the release are relative to it."""
        return os.path.dirname(self.lockfile.path or "")

    @property
    def member(self) -> str:
        """The application's folder in the release; empty except for a member of npm workspaces."""
        path = os.path.relpath(self.folder or ".", self.top or ".")
        return "" if path == "." else path

    @property
    def outputs(self) -> Tuple[str, ...]:
        """The build outputs, as paths in the release."""
        return tuple(self.in_release(path) for path in self.build_outputs.value or ())

    @property
    def static(self) -> str:
        """The folder of the static files, as a path in the release; empty without any."""
        return self.in_release(self.static_dir.value) if self.static_dir.value else ""

    def in_release(self, path: str) -> str:
        """A path of a field as a path in the release."""
        return os.path.relpath(in_build_root(self.folder, path), self.top or ".")

    def in_field(self, path: str) -> str:
        """A path from the build root as the globs of this target name it."""
        return as_in_field(self.address.spec_path, path)

    @property
    def origin(self) -> str:
        return str(self.address)

    @property
    def has_network(self) -> bool:
        return self.network.value == "allow"

    def decisions(self) -> Tuple[Rule, ...]:
        field = self.install_scripts
        return script_decisions.parse(entries_of(field), f"{self.origin}, field {field.alias}")


@dataclass(frozen=True)
class AppRequest:
    """A request for the parts of an application that do not depend on the environment."""

    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class App:
    manifest: Manifest
    read: ReadNpmLock

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version


@dataclass(frozen=True)
class ToolchainOfApp:
    """The target that defines the ABI policy; it also compiles native packages, unless `is_default`."""

    field_set: ToolchainFieldSet
    is_default: bool = False


@dataclass(frozen=True)
class DefinitionOfApp:
    """The definition of an application's Node; None for a version that `try-runtime` tries."""

    definition: Optional[NodeDefinition]


def _named_runtime(field_set: NodeAppBundleFieldSet) -> RuntimesNamed:
    field = field_set.runtime
    if not field.value:
        raise SlipwayError(
            f'the bundle "{field_set.origin}" has no runtime',
            where=f"{field_set.origin}, field runtime",
            next='set runtime="//toolchains/node:16.20.2", or for all bundles in the top BUILD file: '
            '__defaults__({node_app_bundle: {"runtime": "//toolchains/node:16.20.2"}})',
        )
    return RuntimesNamed(
        field.to_unparsed_address_inputs(),
        "the runtime of a bundle",
        f"{field_set.origin}, field runtime",
    )


@rule
async def find_definition_of_app(request: AppRequest) -> DefinitionOfApp:
    if isinstance(request.field_set.runtime, TrialRuntimeField):
        return DefinitionOfApp(None)
    found = await Get(NamedRuntimes, RuntimesNamed, _named_runtime(request.field_set))
    return DefinitionOfApp(await Get(NodeDefinition, RuntimeRequest(found.field_sets[0])))


@rule
async def find_runtime(request: AppRequest) -> Runtime:
    field = request.field_set.runtime
    if isinstance(field, TrialRuntimeField):
        return await Get(Runtime, VersionRuntimeRequest(field.version, request.field_set.address))
    found = await Get(Runtimes, RuntimesNamed, _named_runtime(request.field_set))
    runtime = found.runtimes[0]
    if not runtime.builder.npm_version:
        named = await Get(NamedRuntimes, RuntimesNamed, _named_runtime(request.field_set))
        address = named.field_sets[0].address
        raise SlipwayError(
            f"{runtime.label} has no npm that could install the packages of an application",
            where=f"{request.field_set.origin}, field runtime",
            found=f"{address}, a runtime without npm and without build_runtime",
            next=f'set build_runtime="//toolchains/node:16.20.2" in {address}',
        )
    return runtime


def runtimes_of(runtime: Runtime) -> Tuple[Tree, ...]:
    """The trees of the runtimes for a script of an application: of the builder, and of a runtime without npm."""
    if runtime.build is None:
        return (runtime.tree,)
    released = dataclasses.replace(runtime.tree, target=node_process.RELEASED)
    return runtime.build.tree, released


@rule
async def find_toolchain(request: AppRequest, slipway: Slipway) -> ToolchainOfApp:
    field_set = request.field_set
    inputs, origin = (
        field_set.toolchain.to_unparsed_address_inputs(),
        f"{field_set.origin}, field toolchain",
    )
    is_default = not field_set.toolchain.value
    if is_default:
        origin = "the option `[slipway] default_policy`"
        inputs = UnparsedAddressInputs(
            [slipway.default_policy], owning_address=None, description_of_origin=origin
        )
    named = ToolchainNamed(inputs, "the toolchain of a bundle", origin)
    return ToolchainOfApp(await Get(ToolchainFieldSet, ToolchainNamed, named), is_default)


@rule
async def find_install(request: AppRequest) -> InstallRequest:
    field_set = request.field_set
    app, runtime, toolchain = await MultiGet(
        Get(App, AppRequest, request),
        Get(Runtime, AppRequest, request),
        Get(ToolchainOfApp, AppRequest, request),
    )
    return InstallRequest(
        app.read,
        runtime.builder,
        field_set.decisions(),
        field_set.drop_foreign_binaries.value,
        None if toolchain.is_default else toolchain.field_set,
        field_set.origin,
        field_set.has_network,
    )


@rule
async def read_app(request: AppRequest) -> App:
    field_set = request.field_set
    path = field_set.package_json.file_path
    manifest = await Get(Manifest, ManifestRequest(path, field_set.origin))
    read = await Get(
        ReadNpmLock,
        NpmLockRequest(field_set.lockfile.path or "", path, field_set.origin),
    )
    # Only the install needs the fetch lock; reading it here reports an outdated one before any download.
    await Get(FetchLock, FetchLockRequest(read.whole))
    return App(manifest, read)


def rules() -> Rules:
    return collect_rules()
