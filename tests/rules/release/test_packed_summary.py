"""The end of `package`: right for a change, for a no-op, and for a daemon that remembers both."""

from __future__ import annotations

import json
from typing import List

from pants.core.goals.package import BuiltPackage

from slipway.runtime.rules.make import NodeRuntimeFieldSet
from tests.rules.workspace import Workspace, make_build

STATIC = make_build(bundle='server_env="prod"', release='server_env="prod", static="separate"')


def summary(workspace: Workspace, spec: str = "app:release") -> List[str]:
    """The lines below the last file of a new run."""
    workspace.runner.scheduler.new_run_id()
    *others, last = workspace.package(spec).artifacts
    assert [one.extra_log_lines for one in others] == [()] * len(others)
    assert str(last.relpath).endswith(".native.json")
    return list(last.extra_log_lines)


def differences(workspace: Workspace) -> List[str]:
    return [line.split()[-1] for line in summary(workspace)[1:-1]]


def test_a_release_ends_with_its_archives_and_how_to_try_it(workspace: Workspace) -> None:
    workspace.write_app("apps/shop", BUILD=STATIC)
    head, tarball, static, how = summary(workspace, "apps/shop:release")
    assert head.split() == ["file", "size", "difference"]
    assert tarball.split() == ["app-1.0.0-prod.tar.gz", *tarball.split()[1:3], "-"]
    assert static.split()[0] == "app-1.0.0-prod.static.tar.gz"
    assert how == "  try it: pants run //apps/shop:release"


def test_an_address_with_a_space_can_be_copied(workspace: Workspace) -> None:
    workspace.write_app("odd folder")
    assert (
        summary(workspace, "odd folder:release")[-1] == "  try it: pants run '//odd folder:release'"
    )


def test_parameters_are_part_of_the_address(workspace: Workspace) -> None:
    envs = 'server_env=parametrize("sit", "prod")'
    workspace.write_app("app", BUILD=make_build(envs, envs))
    how = summary(workspace, "app:release@server_env=sit")[-1]
    assert how == "  try it: pants run //app:release@server_env=sit"


def test_a_run_that_changes_nothing_tells_the_last_difference_again(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=STATIC)
    assert differences(workspace) == ["-", "-"]
    workspace.write({"app/service/app.js": "changed"})
    changed = differences(workspace)
    assert changed[0] not in ("-", "same")
    assert differences(workspace) == changed
    # The engine remembers this content, and what it was compared with when it was new.
    workspace.write({"app/service/app.js": ""})
    back = differences(workspace)
    assert back[0] not in ("-", "same")
    assert differences(workspace) == back


def test_a_new_daemon_goes_on_where_the_last_one_was(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=STATIC)
    differences(workspace)
    (record,) = workspace.folder.glob(".pants.d/slipway/sizes/*.json")
    other = json.loads(record.read_text())
    other["last"][".tar.gz"][0] = "of another content"
    record.write_text(json.dumps(other))
    assert summary(workspace)[1].endswith("  +0 B")
    assert summary(workspace)[2].endswith("  same")


def test_a_package_that_is_no_release_has_no_summary(workspace: Workspace) -> None:
    fields = NodeRuntimeFieldSet.create(workspace.target("toolchains/node:node"))
    package = workspace.request(BuiltPackage, fields)
    assert package.artifacts
    assert not any(one.extra_log_lines for one in package.artifacts)
