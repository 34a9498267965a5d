"""Smoke-tests a release: runs a script of package.json in the unpacked files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pants.engine.fs import AddPrefix, CreateDigest, Digest, FileContent, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.release.programs import smoke
from slipway.release.rules.contents import (
    BundleOfRelease,
    ReleaseRequest,
    ReleaseTarballFieldSet,
    launcher_of,
)
from slipway.release.rules.laid_out import (
    LaidOutRelease,
    launcher_for,
    launcher_text,
    program_text,
)
from slipway.step.interface import Call
from slipway.step.rules.build_step import FallibleStepResult, Step, StepResult
from slipway.toolchain.rules.image import (
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
    ToolchainNamed,
)


@dataclass(frozen=True)
class UserlandSmokeRequest:
    """A request to smoke-test a finished tarball in its target's `old_userland`."""

    field_set: ReleaseTarballFieldSet
    bundle: Bundle
    release: Digest


@dataclass(frozen=True)
class SmokeTested:
    """`fault` says why the smoke script failed; empty if it succeeded, or if there is none."""

    fault: str = ""


@rule(desc="Smoke-test release")
async def smoke_test(request: ReleaseRequest) -> SmokeTested:
    script = request.field_set.smoke_script.value
    if not script:
        return SmokeTested()
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle, laid_out = await MultiGet(
        Get(Bundle, BundleRequest(found.field_set)), Get(LaidOutRelease, ReleaseRequest, request)
    )
    result = await Get(
        FallibleStepResult,
        Step(
            smoke.PROGRAM(smoke.Arguments(script, bundle.build_env, laid_out.launcher)),
            trees=laid_out.trees,
            outputs=smoke.OUTPUTS,
            description=f"Smoke-test {bundle.app.name} for {bundle.server_env}",
            origin=str(request.field_set.address),
            inputs=laid_out.inputs,
        ),
    )
    failed = result.exit_code != 0
    return SmokeTested(f"{request.field_set.address}: {result.said}" if failed else "")


@rule(desc="Smoke-test release in an old userland")
async def smoke_test_in_userland(request: UserlandSmokeRequest) -> SmokeTested:
    field_set, bundle = request.field_set, request.bundle
    found = await Get(BundleOfRelease, ReleaseRequest(field_set))
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
    launcher = dataclasses.replace(
        launcher_for(bundle, launcher_of(field_set, found.field_set)), env_file=""
    )
    tarball, programs = await MultiGet(
        Get(Digest, AddPrefix(request.release, "release")),
        Get(
            Digest,
            CreateDigest(
                [
                    FileContent(
                        "app",
                        launcher.fill(launcher_text(bundle)).encode(),
                        is_executable=True,
                    ),
                    FileContent("smoke.sh", program_text("smoke_userland.sh").encode()),
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


def rules() -> Rules:
    return collect_rules()
