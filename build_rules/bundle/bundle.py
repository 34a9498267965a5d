"""Bundles: an application installed, built and packed into layers, for one environment."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import (
    AddPrefix,
    Digest,
    DigestContents,
    DigestSubset,
    MergeDigests,
    PathGlobs,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import FieldSet, WrappedTarget, WrappedTargetRequest
from pants.util.frozendict import FrozenDict

from build_rules.bundle.checks import check_plain_paths, check_script, check_server_env
from build_rules.bundle.sources import AppFiles, AppFilesRequest
from build_rules.lib import script_decisions
from build_rules.lib.errors import SlipwayError
from build_rules.lib.fetch_lock import FetchLock
from build_rules.lib.json_text import load_object
from build_rules.lib.npm_package import text_map
from build_rules.lib.script_decisions import Rule
from build_rules.npm.compile import InstalledPackages
from build_rules.npm.install import InstallRequest
from build_rules.npm.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock, resolve_name
from build_rules.runtime.make import (
    NodeRuntimeFieldSet,
    RuntimeLayer,
    RuntimeLayerRequest,
    RuntimeRequest,
)
from build_rules.runtime.runtime import Runtime
from build_rules.subsystem import Slipway
from build_rules.target_types import (
    BuildArgsField,
    BuildEnvField,
    BuildOutputsField,
    BuildScriptField,
    ClientSourcesField,
    DropForeignBinariesField,
    InstallScriptsField,
    LifecycleScriptsField,
    NpmLockField,
    PackageJsonField,
    RuntimeField,
    ServerEnvField,
    ServerSourcesField,
    StaticBaseUrlField,
    StaticDirField,
    ToolchainField,
)
from build_rules.toolchain.image import BaseRoot, ToolchainFieldSet, ToolchainNamed
from build_rules.toolchain.step import Step, StepResult, as_arguments

logger = logging.getLogger(__name__)
_MOST_NAMED = 10


@dataclass(frozen=True)
class NodeAppBundleFieldSet(FieldSet):
    required_fields = (PackageJsonField, NpmLockField, ServerSourcesField)

    package_json: PackageJsonField
    lockfile: NpmLockField
    runtime: RuntimeField
    toolchain: ToolchainField
    install_scripts: InstallScriptsField
    drop_foreign_binaries: DropForeignBinariesField
    client_sources: ClientSourcesField
    server_sources: ServerSourcesField
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
    def origin(self) -> str:
        return str(self.address)

    def decisions(self) -> Tuple[Rule, ...]:
        field = self.install_scripts
        return script_decisions.parse(field.value or {}, f"{self.origin}, field {field.alias}")


@dataclass(frozen=True)
class AppRequest:
    """Asks for what an application is before any environment comes in."""

    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class App:
    """An application's manifest (its path, name, version and scripts) and lock."""

    package_json: str
    name: str
    version: str
    scripts: FrozenDict[str, str]
    read: ReadNpmLock


@dataclass(frozen=True)
class ToolchainOfApp:
    """The target that compiles an application's native packages, and says what its hosts have."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class BuildRequest:
    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class BuiltClient:
    """`digest` holds `built.tar`, or nothing where there is no build script."""

    digest: Digest


@dataclass(frozen=True)
class BundleRequest:
    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class Bundle:
    """`layers` holds the layers runtime, those of the installed packages, app and static as
    `<name>.layer`, each with its ELF facts, and the static files alone as `static.tar.gz`."""

    app: App
    runtime: Runtime
    toolchain: ToolchainFieldSet
    installed: InstalledPackages
    layers: Digest
    server_env: str
    build_env: FrozenDict[str, str]


@rule
async def find_runtime(request: AppRequest) -> Runtime:
    field = request.field_set.runtime
    origin = f"the field `runtime` of {request.field_set.origin}"
    if not field.value:
        raise SlipwayError(
            f'the bundle "{request.field_set.origin}" has no runtime',
            where=f"{request.field_set.origin}, field runtime",
            next='runtime="//toolchains/node:16.20.2" there, or for all in the top BUILD file: '
            '__defaults__({node_app_bundle: {"runtime": "//toolchains/node:16.20.2"}})',
        )
    addresses = await Get(Addresses, UnparsedAddressInputs, field.to_unparsed_address_inputs())
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(addresses[0], description_of_origin=origin)
    )
    if not NodeRuntimeFieldSet.is_applicable(wrapped.target):
        raise SlipwayError(
            "the runtime of a bundle must be a node_runtime",
            where=f"{request.field_set.origin}, field runtime",
            found=f"{addresses[0]}, a {wrapped.target.alias}",
            next="name a node_runtime target there",
        )
    return await Get(Runtime, RuntimeRequest(NodeRuntimeFieldSet.create(wrapped.target)))


@rule
async def find_toolchain(request: AppRequest) -> ToolchainOfApp:
    field_set = request.field_set
    if not field_set.toolchain.value:
        raise SlipwayError(
            f'the bundle "{field_set.origin}" has no toolchain',
            where=f"{field_set.origin}, field toolchain",
            next='toolchain="//toolchains/gcc48" there, or for all in the top BUILD file: '
            '__defaults__({node_app_bundle: {"toolchain": "//toolchains/gcc48"}})',
        )
    named = ToolchainNamed(
        field_set.toolchain.to_unparsed_address_inputs(),
        "the toolchain of a bundle",
        f"{field_set.origin}, field toolchain",
    )
    return ToolchainOfApp(await Get(ToolchainFieldSet, ToolchainNamed, named))


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
        runtime,
        field_set.decisions(),
        field_set.drop_foreign_binaries.value,
        toolchain.field_set,
        field_set.origin,
    )


@rule
async def read_app(request: AppRequest) -> App:
    field_set = request.field_set
    manifest_path = field_set.package_json.file_path
    contents = await Get(DigestContents, PathGlobs([manifest_path]))
    if not contents:
        raise SlipwayError(
            f'the manifest "{manifest_path}" is not there',
            where=f"{field_set.origin}, field package_json",
            next=f"write {manifest_path}, or correct the field",
        )
    text = contents[0].content.decode("utf-8", "replace")
    manifest = load_object(text, manifest_path, next=f"correct {manifest_path}")
    for key in ("name", "version"):
        if not isinstance(manifest.get(key), str) or not manifest[key]:
            raise SlipwayError(
                f'"{manifest_path}" has no {key}, which names the release',
                where=manifest_path,
                found=repr(manifest.get(key)),
                next=f'add "{key}" to it',
            )
    read = await Get(
        ReadNpmLock,
        NpmLockRequest(field_set.lockfile.path or "", manifest_path, field_set.origin),
    )
    # The install reads it too; a stale one is told here, before anything is fetched.
    await Get(FetchLock, FetchLockRequest(read.lock))
    return App(
        manifest_path,
        manifest["name"],
        manifest["version"],
        FrozenDict(text_map(manifest.get("scripts"))),
        read,
    )


def _check_fields(field_set: NodeAppBundleFieldSet, app: App, known_envs: Sequence[str]) -> None:
    check_server_env(field_set.server_env, known_envs, field_set.address)
    where = f"{field_set.origin}, field"
    script = field_set.build_script.value
    if script:
        check_script(
            app.scripts,
            script,
            app.package_json,
            f"{where} build_script",
            otherwise='build_script="" if there is nothing to build',
        )
    for name in field_set.lifecycle_scripts.value or ():
        check_script(app.scripts, name, app.package_json, f"{where} lifecycle_scripts")
    script_decisions.check(
        field_set.decisions(), app.read.lock.packages, f"{where} install_scripts"
    )
    check_plain_paths(field_set.build_outputs.value or (), f"{where} build_outputs")
    if field_set.static_dir.value:
        check_plain_paths([field_set.static_dir.value], f"{where} static_dir")


@rule(desc="Build client")
async def build_client(request: BuildRequest, base: BaseRoot) -> BuiltClient:
    field_set = request.field_set
    script = field_set.build_script.value
    if not script:
        return BuiltClient(EMPTY_DIGEST)
    app, runtime = await MultiGet(
        Get(App, AppRequest(field_set)), Get(Runtime, AppRequest(field_set))
    )
    server_env = field_set.server_env.value or ""
    installed, sources = await MultiGet(
        Get(InstalledPackages, AppRequest(field_set)),
        Get(
            AppFiles,
            AppFilesRequest(
                field_set.folder,
                (*field_set.client_sources.globs(), *_manifest_paths(field_set, app)),
                excluded=field_set.build_outputs.value or (),
            ),
        ),
    )
    inputs = await Get(Digest, AddPrefix(sources.digest, "sources"))
    result = await Get(
        StepResult,
        Step(
            program="build_client",
            trees=(*base.trees, runtime.tree),
            outputs=("built.tar", "build.json"),
            description=f"Build {app.name} for {server_env}",
            origin=field_set.origin,
            arguments=as_arguments(
                {
                    "script": script,
                    "script_arguments": [
                        one.replace("{server_env}", server_env)
                        for one in field_set.build_args.value or ()
                    ],
                    "lifecycle_scripts": list(field_set.lifecycle_scripts.value or ()),
                    "server_env": server_env,
                    "env": dict(field_set.build_env.value or {}),
                    "outputs": list(field_set.build_outputs.value or ()),
                    "executables": sources.executables,
                }
            ),
            inputs=inputs,
            large=FrozenDict({"installed": installed.everything}),
            words=FrozenDict(
                package_json=app.package_json, resolve=resolve_name(app.read.lock.path)
            ),
        ),
    )
    built, report = await MultiGet(
        Get(Digest, DigestSubset(result.digest, PathGlobs(["built.tar"]))),
        Get(DigestContents, DigestSubset(result.digest, PathGlobs(["build.json"]))),
    )
    _report_undeclared(json.loads(report[0].content)["undeclared"], field_set)
    return BuiltClient(built)


def _manifest_paths(field_set: NodeAppBundleFieldSet, app: App) -> Tuple[str, ...]:
    """The package.json files of the application and of folders that are linked into it."""
    return tuple(os.path.join(field_set.folder, one) for one in app.read.lock.manifests)


def _report_undeclared(paths: List[str], field_set: NodeAppBundleFieldSet) -> None:
    if paths:
        shown = paths[:_MOST_NAMED]
        more = f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else ""
        logger.warning(
            f"{field_set.origin}: the build script also wrote {', '.join(shown)}{more}; "
            "what is not in the field build_outputs is not in the release"
        )


@rule(desc="Bundle application")
async def bundle_app(request: BundleRequest, slipway: Slipway) -> Bundle:
    field_set = request.field_set
    app = await Get(App, AppRequest(field_set))
    _check_fields(field_set, app, slipway.server_envs)
    server = await Get(
        AppFiles,
        AppFilesRequest(
            field_set.folder,
            (*field_set.server_sources.globs(), *_manifest_paths(field_set, app)),
            excluded=field_set.build_outputs.value or (),
        ),
    )
    _check_server_files(server.files, app, field_set)
    # Nothing is fetched or run before all that can be refused has been looked at.
    toolchain = await Get(ToolchainOfApp, AppRequest(field_set))
    runtime = await Get(Runtime, AppRequest(field_set))
    base = await Get(BaseRoot)
    built, installed, runtime_layer, inputs = await MultiGet(
        Get(BuiltClient, BuildRequest(field_set)),
        Get(InstalledPackages, AppRequest(field_set)),
        Get(RuntimeLayer, RuntimeLayerRequest(runtime, field_set.origin)),
        Get(Digest, AddPrefix(server.digest, "server")),
    )
    server_env = field_set.server_env.value or ""
    result = await Get(
        StepResult,
        Step(
            program="pack_app",
            trees=base.trees,
            outputs=(
                *("app.layer", "app.elf.json"),
                *("static.layer", "static.elf.json", "static.tar.gz"),
            ),
            description=f"Pack {app.name} for {server_env}",
            origin=field_set.origin,
            arguments=as_arguments(
                {
                    "static_dir": field_set.static_dir.value or "",
                    "static_base_url": field_set.static_base_url.for_env(server_env),
                    "executables": server.executables,
                }
            ),
            inputs=inputs,
            large=FrozenDict({"built": built.digest} if built.digest != EMPTY_DIGEST else {}),
        ),
    )
    layers = await Get(
        Digest, MergeDigests([runtime_layer.digest, installed.layers, result.digest])
    )
    env = FrozenDict(field_set.build_env.value or {})
    return Bundle(app, runtime, toolchain.field_set, installed, layers, server_env, env)


def _check_server_files(files: Tuple[str, ...], app: App, field_set: NodeAppBundleFieldSet) -> None:
    if not set(files) - set(app.read.lock.manifests):
        raise SlipwayError(
            f'the bundle "{field_set.origin}" has no server files',
            where=f"{field_set.origin}, field server_sources",
            found=f"no file matches {', '.join(field_set.server_sources.value or ()) or 'nothing'}",
            next='list what the server runs, such as server_sources=["service/**"]',
        )


def rules():
    return collect_rules()
