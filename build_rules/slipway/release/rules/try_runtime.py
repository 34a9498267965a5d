"""The goal `try-runtime`: builds and smoke-tests a release with another Node, and compares.

./pants try-runtime --runtime=//toolchains/node:16.20.2 //apps/koa-kkl:release
"""

from __future__ import annotations

from dataclasses import dataclass

from pants.engine.console import Console
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule, rule
from pants.engine.target import Targets
from pants.option.option_types import StrOption
from pants.util.strutil import softwrap

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.release.differences import Contents, render
from slipway.release.programs import tarball
from slipway.release.programs import try_runtime as reader
from slipway.release.rules.contents import ReleaseRequest, ReleaseTarballFieldSet
from slipway.release.rules.tarball import Release
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult
from slipway.toolchain.rules.image import BaseRoot


class TryRuntimeSubsystem(LineOriented, GoalSubsystem):
    name = "try-runtime"
    help = "Builds and smoke-tests releases with another Node version, and prints the differences."

    runtime = StrOption(
        default=None,
        help=softwrap(
            """
            The address of the `node_runtime` to try.

            Example: `./pants try-runtime --runtime=//toolchains/node:16.20.2 //apps/koa-kkl:release`.
            """
        ),
    )


class TryRuntime(Goal):
    subsystem_cls = TryRuntimeSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@dataclass(frozen=True)
class ReleaseContents:
    """The lists in a release."""

    contents: Contents


@rule
async def read_release(request: ReleaseRequest, base: BaseRoot) -> ReleaseContents:
    release = await Get(Release, ReleaseRequest, request)
    result = await Get(
        StepResult,
        Step(
            reader.PROGRAM(reader.Arguments(tarball.outputs_of(release.stem).tarball)),
            trees=base.trees,
            outputs=reader.OUTPUTS,
            description=f"Read {release.stem}",
            origin=str(request.field_set.address),
            inputs=release.digest,
        ),
    )
    contents = await outputs.read_report(result.digest, reader.OUTPUTS.contents)
    return ReleaseContents(contents)


@goal_rule
async def try_runtime(console: Console, goal: TryRuntimeSubsystem, targets: Targets) -> TryRuntime:
    chosen = [one for one in targets if ReleaseTarballFieldSet.is_applicable(one)]
    if not goal.runtime or not chosen:
        raise SlipwayError(
            "./pants try-runtime needs --runtime and a release_tarball",
            found="no option --runtime" if chosen else "no release_tarball among the targets",
            next="./pants try-runtime --runtime=//toolchains/node:16.20.2 //apps/koa-kkl:release",
        )
    field_sets = [ReleaseTarballFieldSet.create(one) for one in chosen]
    before = await MultiGet(Get(ReleaseContents, ReleaseRequest(one)) for one in field_sets)
    after = await MultiGet(
        Get(ReleaseContents, ReleaseRequest(one, goal.runtime)) for one in field_sets
    )
    with goal.line_oriented(console) as print_line:
        for field_set, one, other in zip(field_sets, before, after):
            smoke = "and passed its smoke script " if field_set.smoke_script.value else ""
            print_line(f"{field_set.address} was built {smoke}with both Node versions")
            print_line(render(one.contents, other.contents))
    return TryRuntime(exit_code=0)


def rules() -> Rules:
    return collect_rules()
