"""A build that has the network: allowed by both targets, never cached, told in release.json."""

from __future__ import annotations

import json
from typing import Callable

import pytest
from pants.engine.process import ProcessCacheScope

from slipway.step.interface import Call
from slipway.step.rules.build_step import Step, StepResult
from tests.rules.workspace import Workspace, make_build

ALLOWED = 'network="allow"'


def test_a_release_has_to_agree(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build(ALLOWED))
    with pytest.raises(Exception, match="has network access during its build") as caught:
        workspace.package("app:release")
    assert "app:bundle, field network" in str(caught.value)
    assert "allow_network=True in app:release" in str(caught.value)
    assert not workspace.steps()


def test_the_build_script_has_it_and_the_manifest_says_so(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build(ALLOWED, "allow_network=True"))
    workspace.package("app:release")
    assert [step.call.program for step in workspace.steps() if step.network] == [
        "slipway.bundle.programs.build"
    ]
    (made,) = workspace.steps("slipway.release.programs.tarball")
    assert json.loads(made.call.arguments)["manifest"]["network"] == "allow"


def test_without_it_the_manifest_says_nothing(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build("", "allow_network=True"))
    workspace.package("app:release")
    assert not any(step.network for step in workspace.steps())
    (made,) = workspace.steps("slipway.release.programs.tarball")
    assert "network" not in json.loads(made.call.arguments)["manifest"]


@pytest.mark.parametrize("network", [False, True])
def test_such_a_step_is_never_cached(
    make_workspace: Callable[..., Workspace], network: bool
) -> None:
    step = Step(
        Call("slipway.release.programs.smoke"),
        (),
        ("smoke.ok",),
        "a step",
        "//a:b",
        network=network,
    )
    workspace = make_workspace(processes=True)
    workspace.request(StepResult, step)
    (process,) = workspace.processes()
    scope = ProcessCacheScope.PER_SESSION if network else ProcessCacheScope.SUCCESSFUL
    assert process.cache_scope is scope
