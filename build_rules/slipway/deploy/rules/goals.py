"""The goals `deploy`, `rollback` and `releases`: a release on its hosts.

./pants deploy //apps/koa-kkl:prod
./pants deploy --plan //apps/koa-kkl:prod
./pants rollback //apps/koa-kkl:prod
./pants releases //apps/koa-kkl:prod
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
    Workspace,
)
from pants.engine.goal import Goal, GoalSubsystem
from pants.engine.process import InteractiveProcess, InteractiveProcessResult
from pants.engine.rules import Effect, Get, MultiGet, collect_rules, goal_rule, rule
from pants.engine.target import Targets
from pants.option.option_types import BoolOption, StrOption
from pants.util.strutil import softwrap

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.deploy.programs import coordinator
from slipway.deploy.rules.coordinator import CoordinatorProgram, CoordinatorRequest
from slipway.deploy.rules.deployment import (
    DeploymentRequest,
    DescribedDeployment,
    NodeDeploymentFieldSet,
)
from slipway.release.rules.contents import ReleaseRequest
from slipway.release.rules.package import StaticNamed, StaticNamedRequest
from slipway.release.rules.tarball import Release
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.program import command

# The environment variables that ssh and the hooks on the user's machine need.
_PASSED_ON = (
    *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR"),
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_RUNTIME_DIR"),
)
_FORMAT = softwrap(
    """
    The output format: `table` for people or `json` for programs.

    Example: `--format=json`.
    """
)


class DeploySubsystem(GoalSubsystem):
    name = "deploy"
    help = "Ships a release to its hosts, switches to it, and rolls back the hosts where it is not healthy."

    plan = BoolOption(
        default=False,
        help=softwrap(
            """
            Shows what would happen on each host, and changes nothing.

            Example: `./pants deploy --plan //apps/koa-kkl:prod`.
            """
        ),
    )
    format = StrOption(default="table", help=_FORMAT)


class Deploy(Goal):
    subsystem_cls = DeploySubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


class RollbackSubsystem(GoalSubsystem):
    name = "rollback"
    help = "Switches hosts to the last release that was healthy on all of them, or to a named one."

    release = StrOption(
        default=None,
        help=softwrap(
            """
            The release to roll back to: its id on the hosts, its version, or its SHA-256. By default
            Slipway takes the last release that was healthy on all hosts.

            Example: `./pants rollback --release=1.3.9 //apps/koa-kkl:prod`.
            """
        ),
    )
    format = StrOption(default="table", help=_FORMAT)


class Rollback(Goal):
    subsystem_cls = RollbackSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


class ReleasesSubsystem(GoalSubsystem):
    name = "releases"
    help = "Lists the releases on the hosts of a deployment, and where hosts differ."

    format = StrOption(default="table", help=_FORMAT)


class Releases(Goal):
    subsystem_cls = ReleasesSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@dataclass(frozen=True)
class CoordinatorRun:
    """A request to run the coordinator; `arguments` follow the command."""

    field_set: NodeDeploymentFieldSet
    command: str
    arguments: Tuple[str, ...]


@rule
async def prepare_run(
    request: CoordinatorRun, settings: HostSettings, environment: CompleteEnvironmentVars
) -> InteractiveProcess:
    described, program_files = await MultiGet(
        Get(DescribedDeployment, DeploymentRequest(request.field_set)),
        Get(CoordinatorProgram, CoordinatorRequest()),
    )
    to = await Get(Digest, CreateDigest([FileContent("deployment.json", described.text.encode())]))
    digests, arguments = [program_files.digest, to], request.arguments
    if request.command == "deploy":
        release = await Get(Release, ReleaseRequest(described.release))
        named = await Get(StaticNamed, StaticNamedRequest(release))
        files = await Get(Digest, MergeDigests([release.digest, named.digest]))
        digests.append(await Get(Digest, AddPrefix(files, "release")))
        arguments = (f"{{chroot}}/release/{release.stem}.release.json", *arguments)
    program = command(settings.python, coordinator.__name__, "{chroot}")
    return InteractiveProcess(
        argv=(*program, request.command, *arguments, "--to={chroot}/deployment.json"),
        env=dict(environment.get_subset(_PASSED_ON)),
        input_digest=await Get(Digest, MergeDigests(digests)),
        run_in_workspace=True,
    )


def _only(targets: Targets, goal: str) -> NodeDeploymentFieldSet:
    chosen = [one for one in targets if NodeDeploymentFieldSet.is_applicable(one)]
    if len(chosen) != 1:
        raise SlipwayError(
            f"./pants {goal} takes exactly one node_deployment",
            found=", ".join(str(one.address) for one in chosen) or "no node_deployment",
            next=f"./pants {goal} //apps/koa-kkl:prod",
        )
    return NodeDeploymentFieldSet.create(chosen[0])


def _format(value: str, goal: str) -> str:
    if value not in ("table", "json"):
        raise SlipwayError(
            f'"{value}" is not an output format', found=value, next=f"./pants {goal} --format=json"
        )
    return f"--format={value}"


def _arguments(*wanted: Optional[str]) -> Tuple[str, ...]:
    return tuple(one for one in wanted if one)


@goal_rule
async def deploy(goal: DeploySubsystem, targets: Targets, workspace: Workspace) -> Deploy:
    arguments = _arguments(_format(goal.format, "deploy"), "--plan" if goal.plan else None)
    run = CoordinatorRun(_only(targets, "deploy"), "deploy", arguments)
    process = await Get(InteractiveProcess, CoordinatorRun, run)
    result = await Effect(InteractiveProcessResult, InteractiveProcess, process)
    return Deploy(result.exit_code)


@goal_rule
async def rollback(goal: RollbackSubsystem, targets: Targets, workspace: Workspace) -> Rollback:
    named = f"--release={goal.release}" if goal.release else None
    arguments = _arguments(_format(goal.format, "rollback"), named)
    run = CoordinatorRun(_only(targets, "rollback"), "rollback", arguments)
    process = await Get(InteractiveProcess, CoordinatorRun, run)
    result = await Effect(InteractiveProcessResult, InteractiveProcess, process)
    return Rollback(result.exit_code)


@goal_rule
async def releases(goal: ReleasesSubsystem, targets: Targets, workspace: Workspace) -> Releases:
    run = CoordinatorRun(
        _only(targets, "releases"), "releases", (_format(goal.format, "releases"),)
    )
    process = await Get(InteractiveProcess, CoordinatorRun, run)
    result = await Effect(InteractiveProcessResult, InteractiveProcess, process)
    return Releases(result.exit_code)


def rules() -> Rules:
    return collect_rules()
