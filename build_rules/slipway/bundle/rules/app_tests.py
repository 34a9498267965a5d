"""The goal `test` for applications: runs the test script of package.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional

from pants.core.goals.test import TestFieldSet, TestRequest, TestResult, TestSubsystem
from pants.core.util_rules.partitions import Partition, PartitionerType, Partitions
from pants.engine.fs import AddPrefix, Digest
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Target
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem
from pants.util.frozendict import FrozenDict

from slipway.bundle.programs import app_tests
from slipway.bundle.rules.app import App, AppRequest, NodeAppBundleFieldSet
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


@rule
async def find_apps_with_tests(
    request: NpmTestRequest.PartitionRequest[NpmTestFieldSet],
) -> Partitions[NpmTestFieldSet, Any]:
    manifests = await MultiGet(
        Get(Manifest, ManifestRequest(one.package_json.file_path, one.origin))
        for one in request.field_sets
    )
    found: List[Partition[NpmTestFieldSet, Any]] = []
    for field_set, manifest in zip(request.field_sets, manifests):
        script = field_set.test_script.value or ""
        is_default = script == TestScriptField.default
        line = manifest.scripts.get(script)
        if not is_default:
            where = f"{field_set.origin}, field test_script"
            check_script(manifest, script, where, otherwise='set test_script=""')
        if line is not None and not (is_default and _PLACEHOLDER in line):
            found.append(Partition((field_set,), _Description()))
    return Partitions(found)


@rule(desc="Test application")
async def test_app(
    batch: NpmTestRequest.Batch[NpmTestFieldSet, Any], goal: TestSubsystem, base: BaseRoot
) -> TestResult:
    field_set = batch.single_element
    request = AppRequest(field_set)
    app, runtime, installed, sources = await MultiGet(
        Get(App, AppRequest, request),
        Get(Runtime, AppRequest, request),
        Get(InstalledPackages, AppRequest, request),
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
            trees=(*base.trees, runtime.tree),
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
    return as_test_result(result, field_set.address, goal)


def rules() -> Rules:
    return [*collect_rules(), *NpmTestRequest.rules()]
