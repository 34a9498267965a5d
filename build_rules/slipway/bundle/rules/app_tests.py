"""The goal `test` for applications: runs the test script of package.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

from pants.core.goals.test import TestFieldSet, TestRequest, TestResult, TestSubsystem
from pants.core.util_rules.partitions import Partition, PartitionerType, Partitions
from pants.engine.fs import AddPrefix, Digest
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Target, WrappedTarget, WrappedTargetRequest
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem
from pants.util.frozendict import FrozenDict

from slipway.bundle.programs import app_tests
from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet, runtimes_of
from slipway.bundle.rules.sources import SourcesRequest
from slipway.bundle.targets import TestScriptField, TestSourcesField
from slipway.core.rules.registration import Rules
from slipway.npm.rules.app_files import AppFiles
from slipway.npm.rules.compile import InstalledPackages
from slipway.npm.rules.locks import resolve_name
from slipway.npm.rules.manifest import Manifest, ManifestRequest, check_script
from slipway.npm.targets import NpmLockField, PackageJsonField
from slipway.runtime.rules.node import Runtime
from slipway.step.rules.build_step import FallibleStepResult, Step
from slipway.step.rules.tested import as_test_result
from slipway.toolchain.rules.image import BaseRoot

_PLACEHOLDER = "no test specified"  # what `npm init` writes


class NpmTests(Subsystem):
    options_scope = "npm-tests"
    name = "npm-tests"
    help = "Runs the test scripts of Node.js applications."

    skip = SkipOption("test")


@dataclass(frozen=True)
class NpmTestFieldSet(NodeAppBundleFieldSet, TestFieldSet):
    required_fields = (PackageJsonField, NpmLockField, TestScriptField)

    test_script: TestScriptField
    test_sources: TestSourcesField

    @classmethod
    def opt_out(cls, target: Target) -> bool:
        return not target[TestScriptField].value


class NpmTestRequest(TestRequest):
    tool_subsystem = NpmTests
    field_set_type = NpmTestFieldSet
    partitioner_type = PartitionerType.CUSTOM


@dataclass(frozen=True)
class _Description:
    """Pants shows it only for a batch of several targets."""

    description: Optional[str] = None


@dataclass(frozen=True)
class TestsRequest:
    """Requests to run the tests of an application."""

    field_set: NpmTestFieldSet


@dataclass(frozen=True)
class HasTests:
    answer: bool


@rule
async def look_for_tests(request: TestsRequest) -> HasTests:
    field_set = request.field_set
    wanted = ManifestRequest(field_set.package_json.file_path, field_set.origin)
    manifest = await Get(Manifest, ManifestRequest, wanted)
    script = field_set.test_script.value or ""
    is_default = script == TestScriptField.default
    if not is_default:
        where = f"{field_set.origin}, field test_script"
        check_script(manifest, script, where, otherwise='set test_script=""')
    line = manifest.scripts.get(script)
    return HasTests(line is not None and not (is_default and _PLACEHOLDER in line))


@rule
async def find_apps_with_tests(
    request: NpmTestRequest.PartitionRequest[NpmTestFieldSet],
) -> Partitions[NpmTestFieldSet, Any]:
    having = await MultiGet(Get(HasTests, TestsRequest(one)) for one in request.field_sets)
    return Partitions(
        Partition((field_set,), _Description())
        for field_set, has in zip(request.field_sets, having)
        if has.answer
    )


@dataclass(frozen=True)
class RunTests:
    result: FallibleStepResult


@rule(desc="Test application")
async def run_tests(request: TestsRequest, base: BaseRoot) -> RunTests:
    field_set = request.field_set
    wanted = AppRequest(field_set)
    app, runtime, installed, sources = await MultiGet(
        Get(App, AppRequest, wanted),
        Get(Runtime, AppRequest, wanted),
        Get(InstalledPackages, AppRequest, wanted),
        Get(AppFiles, SourcesRequest(field_set, field_set.test_sources)),
    )
    result = await Get(
        FallibleStepResult,
        Step(
            app_tests.PROGRAM(
                app_tests.Arguments(
                    field_set.test_script.value or "", sources.executables, field_set.member
                )
            ),
            trees=(*base.trees, *runtimes_of(runtime)),
            outputs=app_tests.OUTPUTS,
            description=f"Test {app.name}",
            origin=field_set.origin,
            inputs=await Get(Digest, AddPrefix(sources.digest, "sources")),
            large=FrozenDict({"installed": installed.everything}),
            words=FrozenDict(
                package_json=app.manifest.path, resolve=resolve_name(app.read.lock.path)
            ),
        ),
    )
    return RunTests(result)


@rule
async def test_app(
    batch: NpmTestRequest.Batch[NpmTestFieldSet, Any], goal: TestSubsystem
) -> TestResult:
    field_set = batch.single_element
    run = await Get(RunTests, TestsRequest(field_set))
    return as_test_result(run.result, field_set.address, goal)


@dataclass(frozen=True)
class TrialTestsRequest:
    """Requests the tests of a bundle, whose runtime may differ from its BUILD file's."""

    field_set: NodeAppBundleFieldSet


@dataclass(frozen=True)
class TrialTested:
    """`fault` says why the tests failed, and is empty if they passed; None without tests."""

    fault: Optional[str]


@rule
async def run_tests_of_trial(request: TrialTestsRequest) -> TrialTested:
    address = request.field_set.address
    wanted = WrappedTargetRequest(address, description_of_origin="a trial")
    wrapped = await Get(WrappedTarget, WrappedTargetRequest, wanted)
    if not NpmTestFieldSet.is_applicable(wrapped.target):
        return TrialTested(None)
    field_set = replace(NpmTestFieldSet.create(wrapped.target), runtime=request.field_set.runtime)
    having = await Get(HasTests, TestsRequest(field_set))
    if not having.answer:
        return TrialTested(None)
    run = await Get(RunTests, TestsRequest(field_set))
    return TrialTested(f"{address}: {run.result.said}" if run.result.exit_code else "")


def rules() -> Rules:
    return [*collect_rules(), *NpmTestRequest.rules()]
