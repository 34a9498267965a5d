"""`run` of a release: in the foreground, unpacked to a temporary folder, with its own Node."""

from __future__ import annotations

from dataclasses import dataclass

from pants.core.goals.run import RunFieldSet, RunInSandboxBehavior, RunRequest
from pants.engine.fs import Digest, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.release.programs import run
from slipway.release.rules.contents import ReleaseRequest, ReleaseTarballFieldSet
from slipway.release.rules.tarball import Release
from slipway.release.targets import BundleField, RunScriptField
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import Program, ProgramRequest, command


@dataclass(frozen=True)
class ReleaseRunFieldSet(ReleaseTarballFieldSet, RunFieldSet):
    required_fields = (BundleField, RunScriptField)
    run_in_sandbox_behavior = RunInSandboxBehavior.NOT_SUPPORTED


@rule(desc="Run release")
async def run_release(field_set: ReleaseRunFieldSet, settings: HostSettings) -> RunRequest:
    release, program = await MultiGet(
        Get(Release, ReleaseRequest(field_set)), Get(Program, ProgramRequest((run.__name__,)))
    )
    return RunRequest(
        digest=await Get(Digest, MergeDigests([program.digest, release.digest])),
        args=(
            *command(settings.python, run.__name__, "{chroot}"),
            f"{{chroot}}/{release.stem}.tar.gz",
        ),
    )


def rules() -> Rules:
    return [*collect_rules(), *ReleaseRunFieldSet.rules()]
