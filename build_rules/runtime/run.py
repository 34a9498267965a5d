"""`run` of a runtime: that Node, on a machine that may have none."""

from __future__ import annotations

from dataclasses import dataclass

from pants.core.goals.run import RunFieldSet, RunInSandboxBehavior, RunRequest
from pants.engine.fs import CreateDigest, Digest, FileContent, MergeDigests
from pants.engine.rules import Get, collect_rules, rule

from build_rules.runtime.make import NodeRuntimeFieldSet, Runtime, RuntimeRequest
from build_rules.target_types import NodeVersionField
from build_rules.toolchain.host_settings import HostSettings

# Unpacks beside itself and becomes node: no shell and no tar of the machine take part.
_PROGRAM = """\
import os, sys, tarfile
here = os.path.dirname(os.path.abspath(__file__))
with tarfile.open(os.path.join(here, "runtime.tar"), "r:") as tar:
    tar.extractall(os.path.join(here, "runtime"))
node = os.path.join(here, "runtime", "bin", "node")
os.execv(node, [node, *sys.argv[1:]])
"""


@dataclass(frozen=True)
class RuntimeRunFieldSet(NodeRuntimeFieldSet, RunFieldSet):
    required_fields = (NodeVersionField,)
    run_in_sandbox_behavior = RunInSandboxBehavior.NOT_SUPPORTED


@rule(desc="Run Node")
async def run_runtime(field_set: RuntimeRunFieldSet, settings: HostSettings) -> RunRequest:
    runtime = await Get(Runtime, RuntimeRequest(field_set))
    program = await Get(Digest, CreateDigest([FileContent("run_node.py", _PROGRAM.encode())]))
    return RunRequest(
        digest=await Get(Digest, MergeDigests([program, runtime.tree.digest])),
        args=(settings.python, "-I", "-S", "-B", "{chroot}/run_node.py"),
    )


def rules():
    return [*collect_rules(), *RuntimeRunFieldSet.rules()]
