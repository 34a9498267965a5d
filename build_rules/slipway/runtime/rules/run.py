"""The goal `run` for Node runtimes: runs this Node.js, also on a machine without Node.js."""

from __future__ import annotations

from dataclasses import dataclass

from pants.core.goals.run import RunFieldSet, RunInSandboxBehavior, RunRequest
from pants.engine.fs import Digest, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.runtime.programs import run
from slipway.runtime.rules.make import NodeRuntimeFieldSet, RuntimeRequest
from slipway.runtime.rules.node import Runtime
from slipway.runtime.targets import NodeVersionField
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import Program, ProgramRequest, command


@dataclass(frozen=True)
class RuntimeRunFieldSet(NodeRuntimeFieldSet, RunFieldSet):
    required_fields = (NodeVersionField,)
    run_in_sandbox_behavior = RunInSandboxBehavior.NOT_SUPPORTED


@rule(desc="Run Node")
async def run_runtime(field_set: RuntimeRunFieldSet, settings: HostSettings) -> RunRequest:
    runtime, program = await MultiGet(
        Get(Runtime, RuntimeRequest(field_set)), Get(Program, ProgramRequest((run.__name__,)))
    )
    return RunRequest(
        digest=await Get(Digest, MergeDigests([program.digest, runtime.tree.digest])),
        args=(*command(settings.python, run.__name__, "{chroot}"), runtime.bin),
    )


def rules() -> Rules:
    return [*collect_rules(), *RuntimeRunFieldSet.rules()]
