"""Bundles: an application installed, built and packed into layers, for one environment."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Dict, Sequence, Tuple

from pants.engine.fs import (
    AddPrefix,
    Digest,
    PathGlobs,
    Paths,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.bundle import left_out_sources
from slipway.bundle.programs import build, pack_app
from slipway.bundle.rules import warnings
from slipway.bundle.rules.addons import AddonsOfApp
from slipway.bundle.rules.app import (
    App,
    AppRequest,
    NodeAppBundleFieldSet,
    ToolchainOfApp,
    runtimes_of,
)
from slipway.bundle.rules.checks import check_plain_paths, check_server_env
from slipway.bundle.rules.linked_folders import LinkedFolders, check_decisions
from slipway.bundle.rules.patches import UnpatchedPackages, production_packages
from slipway.bundle.rules.sources import SourcesRequest
from slipway.bundle.targets import RuntimeSourcesField
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.install_report import InstalledPackage, InstallReport
from slipway.npm.rules.app_files import AppFiles
from slipway.npm.rules.compile import InstalledPackages
from slipway.npm.rules.install import InstallRequest
from slipway.npm.rules.locks import resolve_name
from slipway.npm.rules.manifest import check_script
from slipway.npm.scripts import decisions
from slipway.npm.scripts.decisions import Decision
from slipway.runtime.rules.layer import Layer, take_layer
from slipway.runtime.rules.make import RuntimeLayerRequest
from slipway.runtime.rules.node import Runtime
from slipway.step.rules import outputs
from slipway.step.rules.build_step import FallibleStepResult, Step, StepResult
from slipway.subsystem import Slipway
from slipway.toolchain.rules.image import BaseRoot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildRequest:
    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class BuiltClient:
    """`digest` contains `built.tar`; empty without a build script.

    `undeclared` are the files that the script wrote outside of `build_outputs`.
    """

    digest: Digest
    undeclared: Tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleRequest:
    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class Bundle:
    """An application built for one environment.

    `layers` are the layers of the runtime, the packages and the application, in the order of a release.
    `report` is about the packages in the release: all that are installed, or none. `static_archive` contains the separate static archive. `own` lists the application's own
    files, and `undeclared` those that the build script wrote and the bundle leaves out.
    """

    app: App
    runtime: Runtime
    toolchain: ToolchainOfApp
    package_layers: Tuple[Layer, ...]
    report: InstallReport
    addons: AddonsOfApp
    has_network: bool
    layers: Tuple[Layer, ...]
    static: Layer
    static_archive: Digest
    own: pack_app.Report
    undeclared: Tuple[str, ...]
    server_env: str
    build_env: FrozenDict[str, str]

    @property
    def packages(self) -> Tuple[InstalledPackage, ...]:
        """The packages and addons in the form of a release.json."""
        linked = (
            InstalledPackage(
                linked.path,
                linked.addon.manifest.name,
                linked.addon.manifest.version,
                linked.addon.bytes,
                Decision.SOURCE.value,
            )
            for linked in self.addons.addons
        )
        return (*self.report.packages, *linked)


def _check_fields(
    field_set: NodeAppBundleFieldSet, app: App, linked: LinkedFolders, known_envs: Sequence[str]
) -> None:
    check_server_env(field_set.server_env, known_envs, field_set.address)
    where = f"{field_set.origin}, field"
    script = field_set.build_script.value
    if script:
        check_script(
            app.manifest,
            script,
            f"{where} build_script",
            otherwise='set build_script="" if there is nothing to build',
        )
    _check_lifecycle(field_set, app)
    decisions.check(field_set.decisions(), app.read.whole.packages, f"{where} install_scripts")
    check_decisions(linked, field_set.decisions(), f"{where} install_scripts")
    for opposite in decisions.contradictions(
        field_set.decisions(), app.read.lock.packages, app.read.loaded_manifests["package.json"]
    ):
        logger.warning(f"{where} install_scripts: {opposite}")
    check_plain_paths(field_set, field_set.build_outputs.value or (), f"{where} build_outputs")
    if field_set.static_dir.value:
        check_plain_paths(field_set, [field_set.static_dir.value], f"{where} static_dir")


def _check_lifecycle(field_set: NodeAppBundleFieldSet, app: App) -> None:
    listed = tuple(field_set.lifecycle_scripts.value or ())
    where = f"{field_set.origin}, field lifecycle_scripts"
    for name in listed:
        check_script(app.manifest, name, where)
    if listed and not field_set.build_script.value:
        raise SlipwayError(
            "lifecycle scripts run only before a build script, which the bundle does not set",
            where=where,
            found=f'lifecycle_scripts={list(listed)} with build_script=""',
            next="set build_script to the script that needs them, or remove lifecycle_scripts",
        )


async def _left_out(
    field_set: NodeAppBundleFieldSet, said: str, sources: Sequence[str]
) -> Tuple[str, ...]:
    """The files of the application that a failed script mentions and that are not in its sources."""
    top = field_set.top
    wanted = left_out_sources.mentioned(said, field_set.member)
    there = await Get(Paths, PathGlobs([os.path.join(top, one) for one in sorted(wanted)]))
    known = {os.path.join(top, one) for one in sources}
    return tuple(sorted(field_set.in_field(path) for path in there.files if path not in known))


def _advice(left_out: Sequence[str], field_set: NodeAppBundleFieldSet) -> str:
    """A further next step of a message; empty without files that were left out."""
    if not left_out:
        return ""
    shown = ", ".join(f'"{one}"' for one in left_out_sources.patterns(left_out))
    return (
        f"\n         the application contains {', '.join(left_out[: warnings.MOST_NAMED])}, which its build does "
        f"not see:\n         add {shown} to build_sources in {field_set.origin}"
    )


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
        Get(AppFiles, SourcesRequest(field_set, field_set.build_sources)),
    )
    inputs = await Get(Digest, AddPrefix(sources.digest, "sources"))
    result = await Get(
        FallibleStepResult,
        Step(
            build.PROGRAM(
                build.Arguments(
                    script=script,
                    script_arguments=tuple(
                        argument.replace("{server_env}", server_env)
                        for argument in field_set.build_args.value or ()
                    ),
                    lifecycle_scripts=tuple(field_set.lifecycle_scripts.value or ()),
                    server_env=server_env,
                    env=entries_of(field_set.build_env),
                    outputs=field_set.outputs,
                    executables=sources.executables,
                    production=_production(app),
                    member=field_set.member,
                )
            ),
            trees=(*base.trees, *runtimes_of(runtime)),
            outputs=build.OUTPUTS,
            description=f"Build {app.name} for {server_env}",
            origin=field_set.origin,
            inputs=inputs,
            large=FrozenDict({"installed": installed.everything}),
            network=field_set.has_network,
            words=FrozenDict(
                package_json=app.manifest.path, resolve=resolve_name(app.read.lock.path)
            ),
        ),
    )
    if result.exit_code != 0:
        left_out = await _left_out(field_set, result.said, sources.files)
        raise SlipwayError(f"{field_set.origin}: {result.said}{_advice(left_out, field_set)}")
    report = await outputs.read_report(result.digest, build.OUTPUTS.report)
    warnings.undeclared_files(report.undeclared, field_set)
    return BuiltClient(await outputs.take(result.digest, build.OUTPUTS.built), report.undeclared)


def _production(app: App) -> Dict[str, str]:
    """The packages of a release by path, as `name@version`; without linked folders."""
    return {
        package.path: f"{package.name}@{package.version}"
        for package in production_packages(app.read.lock)
    }


@rule(desc="Bundle application")
async def bundle_app(request: BundleRequest, slipway: Slipway) -> Bundle:
    field_set = request.field_set
    app, linked = await MultiGet(
        Get(App, AppRequest(field_set)), Get(LinkedFolders, AppRequest(field_set))
    )
    _check_fields(field_set, app, linked, slipway.server_envs)
    warnings.scripts_that_do_not_run(field_set, app)
    await Get(UnpatchedPackages, AppRequest(field_set))
    server = await Get(
        AppFiles, SourcesRequest(field_set, field_set.runtime_sources, is_production=True)
    )
    await warnings.converted_files(field_set, app)
    await warnings.secrets_in(field_set, server)
    _check_server_files(await Get(Paths, PathGlobs(field_set.runtime_sources.globs())), field_set)
    # Check all fields first: a mistake is reported before Slipway fetches or runs anything.
    toolchain = await Get(ToolchainOfApp, AppRequest(field_set))
    runtime = await Get(Runtime, AppRequest(field_set))
    _check_loadable(await Get(InstallRequest, AppRequest(field_set)), runtime, field_set)
    base = await Get(BaseRoot)
    built, installed, addons, runtime_layer, inputs = await MultiGet(
        Get(BuiltClient, BuildRequest(field_set)),
        Get(InstalledPackages, AppRequest(field_set)),
        Get(AddonsOfApp, AppRequest(field_set)),
        Get(Layer, RuntimeLayerRequest(runtime, field_set.origin)),
        Get(Digest, AddPrefix(server.digest, "server")),
    )
    server_env, left = field_set.server_env.value or "", pack_app.OUTPUTS
    result = await Get(
        StepResult,
        Step(
            pack_app.PROGRAM(
                pack_app.Arguments(
                    static_dir=field_set.static,
                    static_base_url=field_set.static_base_url.for_env(server_env),
                    executables=server.executables,
                    addons=tuple(linked.path for linked in addons.addons),
                )
            ),
            trees=base.trees,
            outputs=(*left.app, *left.static, left.archive, left.report),
            description=f"Pack {app.name} for {server_env}",
            origin=field_set.origin,
            inputs=inputs,
            large=FrozenDict(
                {
                    **({"built": built.digest} if built.digest != EMPTY_DIGEST else {}),
                    **{
                        f"addon-{index}": one.addon.folder
                        for index, one in enumerate(addons.addons)
                    },
                }
            ),
        ),
    )
    own = await take_layer(result.digest, pack_app.APP)
    released = (
        installed
        if field_set.node_modules.value == "production"
        else installed.only_for_the_build()
    )
    return Bundle(
        app,
        runtime,
        toolchain,
        released.layers,
        released.report,
        addons,
        field_set.has_network,
        (runtime_layer, *released.layers, own),
        await take_layer(result.digest, pack_app.STATIC),
        await outputs.take(result.digest, left.archive),
        await outputs.read_report(result.digest, left.report),
        built.undeclared,
        server_env,
        FrozenDict(field_set.build_env.value or {}),
    )


def _check_loadable(
    install: InstallRequest, runtime: Runtime, field_set: NodeAppBundleFieldSet
) -> None:
    """Refuses packages of the release whose install scripts build binaries for another runtime."""
    if runtime.build is None:
        return
    decided = install.decided()
    native = [
        f"{one.name}@{one.version}"
        for one in production_packages(install.read.lock)
        if decided.get(one.path) not in (None, Decision.SKIP)
    ]
    if native:
        raise SlipwayErrors(
            f"install scripts run under {runtime.build.label}, and {runtime.label} does not load what "
            "they build for packages of the release",
            native,
            where=f"{field_set.origin}, field install_scripts",
            next='decide "skip" for them if the application works without their binaries; otherwise '
            "use packages without native parts",
        )


def _check_server_files(matched: Paths, field_set: NodeAppBundleFieldSet) -> None:
    outputs = set(field_set.build_outputs.value or ()) - {field_set.static_dir.value}
    is_built = bool(field_set.build_script.value and outputs)
    is_default = field_set.runtime_sources.value == RuntimeSourcesField.default
    needs_files = not is_built or not (is_default or not field_set.runtime_sources.value)
    if needs_files and not set(matched.files) - {field_set.package_json.file_path}:
        raise SlipwayError(
            f'the field runtime_sources of "{field_set.origin}" matches no file',
            where=f"{field_set.origin}, field runtime_sources",
            found=", ".join(field_set.runtime_sources.value or ())
            or "no globs (the field is empty)",
            next='list the files that the application runs, such as runtime_sources=["service/**"]',
        )


def rules() -> Rules:
    return collect_rules()
