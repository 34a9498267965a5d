"""The goal `run` for toolchain images: a shell or a command inside the image.

./pants run //toolchains/gcc48
./pants run //toolchains/gcc48 -- gcc --version
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pants.core.goals.run import RunFieldSet, RunInSandboxBehavior, RunRequest
from pants.engine.fs import AddPrefix, Digest, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import Program, ProgramRequest, command
from slipway.toolchain.programs import run
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainImage, ToolchainImageRequest
from slipway.toolchain.targets import ImageField, PackagesLockField


@dataclass(frozen=True)
class ToolchainRunFieldSet(ToolchainFieldSet, RunFieldSet):
    required_fields = (ImageField, PackagesLockField)
    run_in_sandbox_behavior = RunInSandboxBehavior.NOT_SUPPORTED


@rule(desc="Open toolchain image")
async def run_toolchain(field_set: ToolchainRunFieldSet, settings: HostSettings) -> RunRequest:
    image, program = await MultiGet(
        Get(ToolchainImage, ToolchainImageRequest(field_set)),
        Get(Program, ProgramRequest((run.__name__,))),
    )
    layers = await MultiGet(
        Get(Digest, AddPrefix(one.digest, f"layers/{number}"))
        for number, one in enumerate(image.layers)
    )
    return RunRequest(
        digest=await Get(Digest, MergeDigests([program.digest, *layers])),
        args=(
            *command(settings.python, run.__name__, "{chroot}"),
            os.path.join(settings.named_caches, "slipway_trees"),
            field_set.address.target_name,
            *(
                f"{{chroot}}/layers/{number}/{one.name}:{one.file.fingerprint}"
                for number, one in enumerate(image.layers)
            ),
            "--",
        ),
    )


def rules() -> Rules:
    return [*collect_rules(), *ToolchainRunFieldSet.rules()]
