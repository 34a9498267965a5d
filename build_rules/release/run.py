"""`run` of a release: unpacked to a scratch folder, in the foreground, with its own Node."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass

from pants.core.goals.run import RunFieldSet, RunInSandboxBehavior, RunRequest
from pants.engine.fs import CreateDigest, Digest, FileContent, MergeDigests
from pants.engine.rules import Get, collect_rules, rule

from build_rules.release.release import Release, ReleaseRequest, ReleaseTarballFieldSet
from build_rules.target_types import BundleField, RunScriptField
from build_rules.toolchain.host_settings import HostSettings

_PROGRAM = "run_release.py"


@dataclass(frozen=True)
class ReleaseRunFieldSet(ReleaseTarballFieldSet, RunFieldSet):
    required_fields = (BundleField, RunScriptField)
    run_in_sandbox_behavior = RunInSandboxBehavior.NOT_SUPPORTED


@rule(desc="Run release")
async def run_release(field_set: ReleaseRunFieldSet, settings: HostSettings) -> RunRequest:
    release = await Get(Release, ReleaseRequest(field_set))
    source = pkgutil.get_data("build_rules.release", _PROGRAM)
    assert source is not None
    program = await Get(Digest, CreateDigest([FileContent(_PROGRAM, source)]))
    return RunRequest(
        digest=await Get(Digest, MergeDigests([program, release.digest])),
        args=(
            *(settings.python, "-I", "-S", "-B"),
            *(f"{{chroot}}/{_PROGRAM}", f"{{chroot}}/{release.stem}.tar.gz"),
        ),
    )


def rules():
    return [*collect_rules(), *ReleaseRunFieldSet.rules()]
