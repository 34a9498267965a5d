"""The goal `try-runtime`: builds and smoke-tests a release with another Node, and compares.

./pants try-runtime --to=22 //apps/koa-kkl:release
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from pants.engine.console import Console
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule, rule
from pants.engine.target import Targets
from pants.option.option_types import StrOption
from pants.util.strutil import softwrap

from slipway.abi.waivers import Verdict
from slipway.bundle.rules.app import AppRequest, ToolchainOfApp
from slipway.bundle.rules.app_tests import TrialTested, TrialTestsRequest
from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.npm.rules.install import InstallRequest, UnpackedPackages
from slipway.release import trial
from slipway.release.differences import Contents
from slipway.release.programs import tarball
from slipway.release.programs import try_runtime as reader
from slipway.release.rules.contents import (
    VERSION,
    BundleOfRelease,
    ReleaseRequest,
    ReleaseTarballFieldSet,
)
from slipway.release.rules.smoke import SmokeTested
from slipway.release.rules.start import Started
from slipway.release.rules.tarball import Release
from slipway.release.trial import Stage, Trial
from slipway.runtime.rules.node import Runtime
from slipway.runtime.rules.version_runtime import TrialVersion, VersionRequest
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
    to = StrOption(
        default=None,
        help=softwrap(
            """
            The version to try, or a range. Of the defined versions, Slipway takes the newest for the
            toolchain of the release, or else the newest. It takes a version without a definition from
            your npm registry, and writes no file.

            Example: `./pants try-runtime --to=22 //apps/koa-kkl:release`.
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


@dataclass(frozen=True)
class TrialRequest:
    """A release and the Node to try, as in ReleaseRequest; without one, the Node of its bundle."""

    field_set: ReleaseTarballFieldSet
    runtime: Optional[str]


@rule
async def try_release(request: TrialRequest) -> Trial:
    release = ReleaseRequest(request.field_set, request.runtime)
    found = await Get(BundleOfRelease, ReleaseRequest, release)
    runtime = await Get(Runtime, AppRequest(found.field_set))
    done: List[Stage] = []
    try:
        install = await Get(InstallRequest, AppRequest(found.field_set))
        await Get(UnpackedPackages, InstallRequest, install)
        done.append(Stage(trial.INSTALL, trial.PASSED))
        await Get(Bundle, BundleRequest(found.field_set))
        done.append(Stage(trial.BUILD, trial.PASSED))
        tested = await Get(TrialTested, TrialTestsRequest(found.field_set))
        done.append(_of_fault(trial.TESTS, tested.fault or "", tested.fault is not None))
        started, smoked = await MultiGet(
            Get(Started, ReleaseRequest, release), Get(SmokeTested, ReleaseRequest, release)
        )
        done.append(_of_fault(trial.PROBE, started.fault, bool(request.field_set.run_script.value)))
        has_smoke = bool(request.field_set.smoke_script.value)
        done.append(_of_fault(trial.SMOKE, smoked.fault, has_smoke))
        await Get(Verdict, ReleaseRequest, release)
        done.append(Stage(trial.GATE, trial.PASSED))
        if any(one.fault for one in done):
            return Trial(runtime.version, tuple(done), None)
        contents = await Get(ReleaseContents, ReleaseRequest, release)
    except SlipwayError as error:
        name = next(one for one in trial.STAGES if one not in {stage.name for stage in done})
        failed = Stage(name, trial.FAILED, str(error))
        return Trial(runtime.version, (*done, failed), None)
    return Trial(runtime.version, tuple(done), contents.contents)


def _of_fault(name: str, fault: str, exists: bool) -> Stage:
    return Stage(name, trial.FAILED if fault else trial.PASSED if exists else trial.NONE, fault)


@dataclass(frozen=True)
class _Chosen:
    """A release, and the Node to try: an address, or VERSION and a version."""

    field_set: ReleaseTarballFieldSet
    to: str


@dataclass(frozen=True)
class _ChosenRuntime:
    runtime: str


@rule
async def choose_runtime(chosen: _Chosen) -> _ChosenRuntime:
    found = await Get(BundleOfRelease, ReleaseRequest(chosen.field_set))
    toolchain = await Get(ToolchainOfApp, AppRequest(found.field_set))
    version = await Get(TrialVersion, VersionRequest(chosen.to, toolchain.field_set.address))
    return _ChosenRuntime(f"{VERSION}{version.version}")


@goal_rule
async def try_runtime(console: Console, goal: TryRuntimeSubsystem, targets: Targets) -> TryRuntime:
    chosen = [one for one in targets if ReleaseTarballFieldSet.is_applicable(one)]
    if bool(goal.runtime) == bool(goal.to) or not chosen:
        raise SlipwayError(
            "./pants try-runtime needs --to or --runtime, and a release_tarball",
            found="both options, or neither" if chosen else "no release_tarball among the targets",
            next="./pants try-runtime --to=22 //apps/koa-kkl:release",
        )
    field_sets = [ReleaseTarballFieldSet.create(one) for one in chosen]
    runtimes = [goal.runtime or "" for _ in field_sets]
    if goal.to:
        found = await MultiGet(Get(_ChosenRuntime, _Chosen(one, goal.to)) for one in field_sets)
        runtimes = [one.runtime for one in found]
    before = await MultiGet(Get(Trial, TrialRequest(one, None)) for one in field_sets)
    after = await MultiGet(
        Get(Trial, TrialRequest(one, runtime)) for one, runtime in zip(field_sets, runtimes)
    )
    with goal.line_oriented(console) as print_line:
        for field_set, one, other in zip(field_sets, before, after):
            print_line(str(field_set.address))
            print_line(trial.render(one, other))
    return TryRuntime(exit_code=1 if any(one.faults for one in after) else 0)


def rules() -> Rules:
    return collect_rules()
