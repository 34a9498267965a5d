"""A release under another Node than its bundle's own."""

from __future__ import annotations

import json

import pytest
from pants.engine.addresses import Address

from slipway.release import trial
from slipway.release.rules.contents import VERSION, ReleaseRequest, ReleaseTarballFieldSet
from slipway.release.rules.try_runtime import ReleaseContents, TrialRequest
from slipway.release.trial import Trial
from slipway.runtime.rules.version_runtime import TrialVersion, VersionRequest
from tests.rules.workspace import Workspace, make_definition

OTHER = "//toolchains/other"


def read(workspace: Workspace, runtime: str) -> ReleaseContents:
    field_set = ReleaseTarballFieldSet.create(workspace.target("app:release"))
    return workspace.request(ReleaseContents, ReleaseRequest(field_set, runtime))


def test_all_of_it_is_made_with_the_other_node(workspace: Workspace) -> None:
    workspace.write(
        {
            "toolchains/other/BUILD": 'node_runtime(name="other", version="14.21.3")\n',
            "toolchains/other/14.21.3.toml": make_definition("14.21.3"),
        }
    )
    workspace.write_app("app")
    read(workspace, OTHER)
    (made,) = workspace.steps("slipway.runtime.programs.make")
    assert json.loads(made.call.arguments)["says"] == "v14.21.3"
    (release,) = workspace.steps("slipway.release.programs.tarball")
    assert json.loads(release.call.arguments)["manifest"]["node"]["version"] == "14.21.3"
    assert workspace.steps("slipway.release.programs.try_runtime")


def test_what_is_no_runtime_is_told(workspace: Workspace) -> None:
    workspace.write_app("app")
    with pytest.raises(Exception, match="the runtime of a bundle must be a node_runtime"):
        read(workspace, "//toolchains/gcc48")


def attempt(workspace: Workspace, runtime: str) -> Trial:
    field_set = ReleaseTarballFieldSet.create(workspace.target("app:release"))
    return workspace.request(Trial, TrialRequest(field_set, runtime))


def test_a_version_needs_no_target(workspace: Workspace) -> None:
    workspace.write({"toolchains/node/14.21.3.toml": make_definition("14.21.3")})
    workspace.write_app("app")
    tried = attempt(workspace, f"{VERSION}14.21.3")
    assert (tried.node, tried.faults) == ("14.21.3", ())
    assert tried.result_of(trial.INSTALL) == tried.result_of(trial.PROBE) == trial.PASSED
    assert tried.result_of(trial.TESTS) == tried.result_of(trial.SMOKE) == trial.NONE
    (made,) = workspace.steps("slipway.runtime.programs.make")
    assert json.loads(made.call.arguments)["says"] == "v14.21.3"


def test_the_stage_that_fails_is_named_with_its_message(workspace: Workspace) -> None:
    workspace.write({"toolchains/node/14.21.3.toml": make_definition("14.21.3")})
    workspace.write_app("app", **{"npm-fetch.lock": None})
    tried = attempt(workspace, f"{VERSION}14.21.3")
    assert tried.result_of(trial.INSTALL) == trial.FAILED
    assert tried.result_of(trial.BUILD) == trial.NONE
    assert "has no fetch lock" in tried.faults[0]
    assert tried.contents is None


def chosen(workspace: Workspace, wanted: str) -> str:
    request = VersionRequest(wanted, Address("toolchains/gcc48", target_name="image"))
    return workspace.request(TrialVersion, request).version


def test_the_newest_version_for_the_toolchain_is_tried(workspace: Workspace) -> None:
    assert chosen(workspace, "22") == "22.23.3"  # no toolchain of this workspace takes a Node 22
    fitting = make_definition("22.1.0").replace("size = 1", 'size = 1\nneeds = ["GLIBC_2.17"]', 1)
    workspace.write({"toolchains/node/22.1.0.toml": fitting})
    workspace.write_image("toolchains/gcc48", 'abi_policy="abi.toml"')
    assert chosen(workspace, "22") == "22.1.0"
    assert chosen(workspace, "22.23.3") == "22.23.3"
