"""The test script of an application, as a test of Pants."""

from __future__ import annotations

import json
from typing import Any, List

import pytest
from pants.core.goals.test import TestResult
from pants.core.util_rules.partitions import Partitions

from slipway.bundle.programs import app_tests
from slipway.bundle.rules.app_tests import NpmTestFieldSet, NpmTestRequest
from tests.rules.workspace import Workspace, make_build


def write(workspace: Workspace, bundle: str = "", **scripts: str) -> NpmTestFieldSet:
    manifest = {"name": "app", "version": "1.0.0", "scripts": {"build": "x", **scripts}}
    workspace.write_app("app", BUILD=make_build(bundle), **{"package.json": json.dumps(manifest)})
    workspace.write(
        {"app/test/a.js": "", "app/dist/old.js": "", "app/libs/b/node_modules/c.js": ""}
    )
    return NpmTestFieldSet.create(workspace.target("app:bundle"))


def chosen(workspace: Workspace, field_set: NpmTestFieldSet) -> List[Any]:
    partitions = workspace.request(Partitions, NpmTestRequest.PartitionRequest((field_set,)))
    return [element for one in partitions for element in one.elements]


def test_the_script_sees_all_files_of_the_application_and_no_outputs(workspace: Workspace) -> None:
    field_set = write(workspace, test="mocha")
    assert chosen(workspace, field_set) == [field_set]
    result = workspace.request(TestResult, NpmTestRequest.Batch("", (field_set,), None))
    assert result.exit_code == 0
    (step,) = workspace.steps(app_tests.__name__)
    assert app_tests.PROGRAM.read(step.call.arguments).script == "test"
    assert {"sources/test/a.js", "sources/package.json", "sources/service/app.js"} <= set(
        workspace.files(step.inputs)
    )
    assert not [one for one in workspace.files(step.inputs) if "dist" in one or "c.js" in one]
    assert "installed" in step.large


def test_sources_that_are_named(workspace: Workspace) -> None:
    field_set = write(workspace, 'test_sources=["test/**"]', test="mocha")
    workspace.request(TestResult, NpmTestRequest.Batch("", (field_set,), None))
    (step,) = workspace.steps(app_tests.__name__)
    assert workspace.files(step.inputs) == ("sources/package.json", "sources/test/a.js")


@pytest.mark.parametrize(
    "scripts",
    [
        pytest.param({}, id="no script"),
        pytest.param({"test": 'echo "Error: no test specified" && exit 1'}, id="npm's placeholder"),
    ],
)
def test_an_application_without_tests_has_none(workspace: Workspace, scripts: Any) -> None:
    assert chosen(workspace, write(workspace, **scripts)) == []


def test_a_script_that_is_named_must_exist(workspace: Workspace) -> None:
    field_set = write(workspace, 'test_script="unit"', test="mocha")
    with pytest.raises(Exception, match='no script "unit"') as caught:
        chosen(workspace, field_set)
    assert "in:    app:bundle, field test_script" in str(caught.value)


def test_the_tests_of_an_application_can_be_left_out(workspace: Workspace) -> None:
    write(workspace, 'test_script=""', test="mocha")
    assert not NpmTestFieldSet.is_applicable(workspace.target("app:bundle"))
