"""A release under another Node than its bundle's own."""

from __future__ import annotations

import json

import pytest

from slipway.release.rules.contents import ReleaseRequest, ReleaseTarballFieldSet
from slipway.release.rules.try_runtime import ReleaseContents
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
    assert json.loads(made.call.arguments)["version"] == "14.21.3"
    (release,) = workspace.steps("slipway.release.programs.tarball")
    assert json.loads(release.call.arguments)["manifest"]["node"]["version"] == "14.21.3"
    assert workspace.steps("slipway.release.programs.try_runtime")


def test_what_is_no_runtime_is_told(workspace: Workspace) -> None:
    workspace.write_app("app")
    with pytest.raises(Exception, match="the runtime of a bundle must be a node_runtime"):
        read(workspace, "//toolchains/gcc48")
