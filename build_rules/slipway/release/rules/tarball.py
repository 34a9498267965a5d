"""Releases: concatenates layers to one tarball with its own Node, and writes its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import pkgutil
from dataclasses import dataclass
from typing import Iterable, Optional, Tuple

from pants.core.goals.package import OutputPathField, PackageFieldSet
from pants.engine.addresses import Addresses
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import DependenciesRequest, WrappedTarget, WrappedTargetRequest
from pants.util.frozendict import FrozenDict

from slipway.abi import waivers as abi_waivers
from slipway.abi.waivers import Verdict
from slipway.bundle.programs import pack_app
from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet
from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.bundle.rules.checks import check_server_env
from slipway.bundle.targets import NodeAppBundle, RuntimeField, ServerEnvField
from slipway.core import line_endings
from slipway.core.errors import SlipwayError
from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.programs import install
from slipway.npm.rules.manifest import check_script
from slipway.npm.scripts import native_packages
from slipway.npm.targets import AbiWaiversField
from slipway.release import native_report
from slipway.release.launcher import Launcher
from slipway.release.manifest import AbiFacts, Manifest, NodeFacts, PackageName
from slipway.release.programs import smoke, tarball
from slipway.release.rules.abi_gate import Audited, LayersAuditRequest
from slipway.release.rules.checked_layers import CheckedLayers, CheckedLayersRequest
from slipway.release.targets import (
    AllowNetworkField,
    BundleField,
    EnvFileField,
    OldUserlandField,
    RunScriptField,
    SmokeScriptField,
    StaticField,
)
from slipway.runtime import release_layers
from slipway.runtime.release_layers import Scope
from slipway.runtime.rules.layer import Layer, merge_facts, merge_layers
from slipway.step.interface import Call
from slipway.step.rules.build_step import Step, StepResult
from slipway.subsystem import Slipway
from slipway.toolchain.rules.image import (
    BaseRoot,
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
    ToolchainNamed,
)

# Only one application uses these layers, so the step that assembles the release checks them.
_CHECKED_HERE = (pack_app.APP, pack_app.STATIC)
_RUNTIME_OF_RELEASE = "/build/release/node_runtime"


@dataclass(frozen=True)
class ReleaseTarballFieldSet(PackageFieldSet):
    required_fields = (BundleField, RunScriptField)

    bundle: BundleField
    server_env: ServerEnvField
    static: StaticField
    smoke_script: SmokeScriptField
    old_userland: OldUserlandField
    run_script: RunScriptField
    env_file: EnvFileField
    abi_waivers: AbiWaiversField
    allow_network: AllowNetworkField
    output_path: OutputPathField


@dataclass(frozen=True)
class ReleaseRequest:
    """`runtime` is the address of another `node_runtime` to use in place of the bundle's."""

    field_set: ReleaseTarballFieldSet
    runtime: Optional[str] = None


@dataclass(frozen=True)
class BundleOfRelease:
    """The bundle target of a release."""

    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class Release:
    """The files of a release.

    `digest` contains `<stem>.tar.gz` and `<stem>.release.json`. `static` contains `static.tar.gz` if the
    static files are separate; otherwise it is empty. `native` contains `<stem>.native.json`, the list of
    binaries.
    """

    digest: Digest
    static: Digest
    native: Digest
    stem: str


@dataclass(frozen=True)
class ReleaseAuditRequest:
    """A request to audit a release; `toolchain` replaces the toolchain of the bundle."""

    field_set: ReleaseTarballFieldSet
    toolchain: Optional[ToolchainFieldSet] = None
    runtime: Optional[str] = None


@dataclass(frozen=True)
class SmokeRequest:
    field_set: ReleaseTarballFieldSet
    bundle: Bundle


@dataclass(frozen=True)
class UserlandSmokeRequest:
    """A request to smoke-test a finished tarball in its target's `old_userland`."""

    field_set: ReleaseTarballFieldSet
    bundle: Bundle
    release: Digest


@dataclass(frozen=True)
class SmokeTested:
    """The smoke script succeeded, or the release has no smoke script."""


@rule
async def find_bundle(request: ReleaseRequest, slipway: Slipway) -> BundleOfRelease:
    field_set = request.field_set
    origin = f"{field_set.address}, field bundle"
    server_env = check_server_env(field_set.server_env, slipway.server_envs, field_set.address)
    addresses = await Get(Addresses, DependenciesRequest(field_set.bundle))
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(addresses[0], description_of_origin=origin)
    )
    bundle = take_as(
        NodeAppBundleFieldSet,
        NodeAppBundle.alias,
        wrapped.target,
        what="the bundle of a release",
        where=origin,
    )
    if bundle.server_env.value != server_env:
        raise SlipwayError(
            "the release and its bundle have different values of server_env",
            where=origin,
            found=f'release: "{server_env}", {addresses[0]}: "{bundle.server_env.value}"',
            next=f'set server_env=parametrize("{bundle.server_env.value}", "{server_env}") '
            f"in the bundle",
        )
    if bundle.has_network and not field_set.allow_network.value:
        raise SlipwayError(
            "the bundle of a release has network access during its build",
            where=f"{bundle.origin}, field network",
            found='network="allow": downloads are not locked, so a rebuild may differ',
            next='set network="deny" in the bundle and pin its downloads; or accept a release that is '
            f"not reproducible: allow_network=True in {field_set.address}",
        )
    if request.runtime:
        runtime = RuntimeField(request.runtime, bundle.address)
        bundle = dataclasses.replace(bundle, runtime=runtime)
    return BundleOfRelease(bundle)


async def _placed(layers: Iterable[Layer]) -> Digest:
    """The layers in the folder `layers`, where the programs of a release read them."""
    return await Get(Digest, AddPrefix(await merge_layers(layers), "layers"))


def _layers_of(field_set: ReleaseTarballFieldSet, bundle: Bundle) -> Tuple[Layer, ...]:
    included = field_set.static.value == "include"
    return (*bundle.layers, bundle.static) if included else bundle.layers


@rule
async def audit_release(request: ReleaseAuditRequest) -> Audited:
    found = await Get(BundleOfRelease, ReleaseRequest(request.field_set, request.runtime))
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    layers = _layers_of(request.field_set, bundle)
    return await Get(
        Audited,
        LayersAuditRequest(
            str(request.field_set.address),
            request.toolchain or bundle.toolchain,
            await merge_facts(layers),
            tuple(layer.name for layer in layers),
            FrozenDict({one.path: f"{one.name}@{one.version}" for one in bundle.packages}),
        ),
    )


@rule
async def pass_abi_gate(request: ReleaseRequest) -> Verdict:
    field_set = request.field_set
    audited = await Get(Audited, ReleaseAuditRequest(field_set, runtime=request.runtime))
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    return abi_waivers.judge(
        audited.files,
        entries_of(field_set.abi_waivers),
        str(field_set.address),
        {package.name for package in bundle.installed.report.install_scripts},
    )


@rule(desc="Smoke-test release")
async def smoke_test(request: SmokeRequest, base: BaseRoot) -> SmokeTested:
    field_set, bundle = request.field_set, request.bundle
    script = field_set.smoke_script.value
    if not script:
        return SmokeTested()
    # Without the runtime: the step has it as a tree.
    _, *others = _layers_of(field_set, bundle)
    layers, launcher = await _placed(others), await Get(Digest, CreateDigest, _app_sh())
    runtime = dataclasses.replace(bundle.runtime.tree, target=_RUNTIME_OF_RELEASE)
    await Get(
        StepResult,
        Step(
            smoke.PROGRAM(
                smoke.Arguments(
                    script=script,
                    env=bundle.build_env,
                    # No environment file: it exists only on hosts and contains secrets.
                    launcher=dataclasses.replace(_launcher(field_set), env_file=""),
                )
            ),
            trees=(*base.trees, runtime),
            outputs=smoke.OUTPUTS,
            description=f"Smoke-test {bundle.app.name} for {bundle.server_env}",
            origin=str(field_set.address),
            inputs=await Get(Digest, MergeDigests([layers, launcher])),
        ),
    )
    return SmokeTested()


@rule(desc="Smoke-test release in an old userland")
async def smoke_test_in_userland(request: UserlandSmokeRequest) -> SmokeTested:
    field_set, bundle = request.field_set, request.bundle
    script, place = field_set.smoke_script.value, field_set.old_userland
    if not place.value:
        return SmokeTested()
    where = f"{field_set.address}, field old_userland"
    if not script:
        raise SlipwayError(
            "old_userland needs a smoke script, and the release has no smoke_script",
            where=where,
            next='set smoke_script="smoke", or remove the field old_userland',
        )
    named = ToolchainNamed(place.to_unparsed_address_inputs(), "an old userland", where)
    userland = await Get(ToolchainFieldSet, ToolchainNamed, named)
    image = await Get(ToolchainImage, ToolchainImageRequest(userland))
    launcher = dataclasses.replace(_launcher(field_set), env_file="")
    tarball, programs = await MultiGet(
        Get(Digest, AddPrefix(request.release, "release")),
        Get(
            Digest,
            CreateDigest(
                [
                    FileContent(
                        "app",
                        launcher.fill(_data("app.sh").decode()).encode(),
                        is_executable=True,
                    ),
                    FileContent("smoke.sh", _data("smoke_userland.sh")),
                ]
            ),
        ),
    )
    env = (f"{name}={value}" for name, value in sorted(bundle.build_env.items()))
    await Get(
        StepResult,
        Step(
            Call(smoke.__name__),
            trees=image.layers,
            outputs=(),
            description=f"Smoke-test {bundle.app.name} in {userland.address}",
            origin=str(field_set.address),
            inputs=await Get(Digest, MergeDigests([tarball, programs])),
            argv=(
                "/usr/bin/env",
                *env,
                "/bin/sh",
                "/build/in/smoke.sh",
                script,
                str(userland.address),
            ),
        ),
    )
    return SmokeTested()


@rule(desc="Make release")
async def make_release(request: ReleaseRequest) -> Release:
    field_set = request.field_set
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    app = await Get(App, AppRequest(found.field_set))
    script = field_set.smoke_script.value
    if script:
        where = f"{field_set.address}, field smoke_script"
        check_script(app.manifest, script, where)
    launcher_values = _launcher(field_set)
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    layers = _layers_of(field_set, bundle)
    origin = str(field_set.address)
    base = await Get(BaseRoot)
    runtime, *_ = layers
    verdict, *checked = await MultiGet(
        Get(Verdict, ReleaseRequest, request),
        # A separate step for the runtime, because releases of many applications share its layer.
        Get(
            CheckedLayers,
            CheckedLayersRequest(((runtime, Scope(runtime.name, release_layers.RUNTIME)),), origin),
        ),
        Get(CheckedLayers, CheckedLayersRequest(_scoped(bundle), origin)),
    )
    own = [layer for layer in layers if layer.name in _CHECKED_HERE]
    is_separate = field_set.static.value == "separate"
    placed, facts, launcher, all_checked = await MultiGet(
        Get(Digest, MergeDigests([layer.digest for layer in layers])),
        Get(Digest, MergeDigests([layer.facts for layer in own])),
        Get(Digest, CreateDigest, _app_sh()),
        Get(Digest, MergeDigests([one.digest for one in checked])),
    )
    static = bundle.static_archive if is_separate else EMPTY_DIGEST
    placed, facts, all_checked = await MultiGet(
        Get(Digest, AddPrefix(placed, "layers")),
        Get(Digest, AddPrefix(facts, "layers")),
        Get(Digest, AddPrefix(all_checked, "checked")),
    )
    stem = f"{file_name(bundle.app.name)}-{bundle.app.version}-{bundle.server_env}"
    step = Step(
        tarball.PROGRAM(
            tarball.Arguments(
                stem=stem,
                layers=tuple(layer.name for layer in layers),
                launcher=launcher_values,
                static_dir=found.field_set.static_dir.value or "",
                manifest=_manifest(bundle, verdict),
            )
        ),
        trees=base.trees,
        outputs=tarball.outputs_of(stem),
        description=f"Assemble {stem}.tar.gz",
        origin=str(field_set.address),
        inputs=await Get(Digest, MergeDigests([placed, facts, static, launcher, all_checked])),
    )
    audited = await Get(Audited, ReleaseAuditRequest(field_set, runtime=request.runtime))
    text = native_report.render(
        audited.files,
        bundle.packages,
        bundle.installed.report.install_scripts,
        str(bundle.toolchain.address),
    )
    result, _, native = await MultiGet(
        Get(StepResult, Step, step),
        Get(SmokeTested, SmokeRequest(field_set, bundle)),
        Get(Digest, CreateDigest([FileContent(f"{stem}.native.json", text.encode())])),
    )
    await Get(SmokeTested, UserlandSmokeRequest(field_set, bundle, result.digest))
    return Release(result.digest, static, native, stem)


def _scoped(bundle: Bundle) -> Tuple[Tuple[Layer, Scope], ...]:
    """The layers of the installed packages, with the allowed paths in each layer."""
    paths = {native_packages.layer_name(one.path): one.path for one in bundle.packages}
    return tuple(
        (
            layer,
            Scope(layer.name, release_layers.DEPENDENCIES)
            if layer.name == install.LAYER
            else Scope(layer.name, release_layers.PACKAGE, paths[layer.name]),
        )
        for layer in bundle.installed.layers
    )


def file_name(app: str) -> str:
    """`@scope/app` as a file name: `scope-app`."""
    return app.lstrip("@").replace("/", "-")


def _app_sh() -> CreateDigest:
    return CreateDigest([FileContent("app.sh", _data("app.sh"))])


def _data(name: str) -> bytes:
    content = pkgutil.get_data("slipway.release.programs", name)
    assert content is not None
    line_endings.require_lf(content.decode(), f"slipway:{name}")
    return content


def _launcher(field_set: ReleaseTarballFieldSet) -> Launcher:
    launcher = Launcher(
        server_env=field_set.server_env.value or "",
        env_file=field_set.env_file.value or "",
        run_script=field_set.run_script.value or "",
    )
    for name, value in dataclasses.asdict(launcher).items():
        if "'" in value or "\n" in value:
            raise SlipwayError(
                f'the field "{name}" contains a single quote or a line break',
                where=f"{field_set.address}, field {name}",
                found=repr(value),
                next="remove these characters",
            )
    return launcher


def _manifest(bundle: Bundle, verdict: Verdict) -> Manifest:
    app, runtime, lock = bundle.app, bundle.runtime, bundle.app.read.lock
    report = bundle.installed.report
    return Manifest(
        app=app.name,
        version=app.version,
        server_env=bundle.server_env,
        node=NodeFacts(
            runtime.version,
            runtime.npm_version,
            runtime.definition_sha256,
            runtime.tests or None,
        ),
        lock_sha256=hashlib.sha256(lock.text.encode()).hexdigest(),
        abi=AbiFacts(dict(verdict.highest), verdict.waived, report.foreign),
        packages=bundle.packages,
        install_scripts_not_run=tuple(
            PackageName(package.name, package.version)
            for package in report.install_scripts
            if package.production and package.path not in report.native
        ),
        network="allow" if bundle.has_network else None,
    )


def rules() -> Rules:
    return collect_rules()
