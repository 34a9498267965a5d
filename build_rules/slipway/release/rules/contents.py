"""The target of a release, its bundle and its layers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Optional, Tuple

from pants.core.goals.package import OutputPathField, PackageFieldSet
from pants.engine.addresses import Addresses
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import DependenciesRequest, WrappedTarget, WrappedTargetRequest

from slipway.bundle.rules.app import NodeAppBundleFieldSet
from slipway.bundle.rules.build import Bundle
from slipway.bundle.rules.checks import check_server_env
from slipway.bundle.targets import NodeAppBundle, RuntimeField, ServerEnvField, TrialRuntimeField
from slipway.core.errors import SlipwayError
from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.npm.targets import AbiWaiversField
from slipway.release.launcher import Launcher
from slipway.release.targets import (
    AllowNetworkField,
    BundleField,
    EnvFileField,
    OldUserlandField,
    RunScriptField,
    SmokeScriptField,
    StartProbeField,
    StaticField,
)
from slipway.runtime.rules.layer import Layer
from slipway.subsystem import Slipway

VERSION = "version:"


@dataclass(frozen=True)
class ReleaseTarballFieldSet(PackageFieldSet):
    required_fields = (BundleField, RunScriptField)

    bundle: BundleField
    server_env: ServerEnvField
    static: StaticField
    smoke_script: SmokeScriptField
    old_userland: OldUserlandField
    run_script: RunScriptField
    start_probe: StartProbeField
    env_file: EnvFileField
    abi_waivers: AbiWaiversField
    allow_network: AllowNetworkField
    output_path: OutputPathField


@dataclass(frozen=True)
class ReleaseRequest:
    """`runtime` is another Node to use in place of the bundle's.

    It is the address of a `node_runtime`, or VERSION and a version.
    """

    field_set: ReleaseTarballFieldSet
    runtime: Optional[str] = None


@dataclass(frozen=True)
class BundleOfRelease:
    """The bundle target of a release."""

    field_set: NodeAppBundleFieldSet


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
        version = request.runtime[len(VERSION) :]
        runtime = (
            TrialRuntimeField(version, bundle.address)
            if request.runtime.startswith(VERSION)
            else RuntimeField(request.runtime, bundle.address)
        )
        bundle = dataclasses.replace(bundle, runtime=runtime)
    return BundleOfRelease(bundle)


def layers_of(field_set: ReleaseTarballFieldSet, bundle: Bundle) -> Tuple[Layer, ...]:
    included = field_set.static.value == "include"
    return (*bundle.layers, bundle.static) if included else bundle.layers


def launcher_of(field_set: ReleaseTarballFieldSet, bundle: NodeAppBundleFieldSet) -> Launcher:
    """The values of `bin/app`; raises SlipwayError for a value that sh would misread."""
    launcher = Launcher(
        server_env=field_set.server_env.value or "",
        env_file=field_set.env_file.value or "",
        run_script=field_set.run_script.value or "",
        member=bundle.member,
    )
    for name, value in dataclasses.asdict(launcher).items():
        if "'" in value or "\n" in value:
            is_member = name == "member"
            raise SlipwayError(
                "the folder of the application contains a single quote or a line break"
                if is_member
                else f'the field "{name}" contains a single quote or a line break',
                where=f"{bundle.origin}, field package_json"
                if is_member
                else f"{field_set.address}, field {name}",
                found=repr(value),
                next="remove these characters",
            )
    return launcher


def rules() -> Rules:
    return collect_rules()
