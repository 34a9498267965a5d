"""A release that is also tried in the root of an old system."""

from __future__ import annotations

import json

import pytest

from tests.rules.workspace import Workspace, make_build

SMOKE = 'old_userland="//old:image", smoke_script="smoke", env_file="/etc/app/env"'
MANIFEST = json.dumps(
    {"name": "app", "version": "1.0.0", "scripts": {"build": "x", "smoke": "y", "serve": "z"}}
)


def test_the_finished_tarball_is_tried_by_that_system_s_own_programs(workspace: Workspace) -> None:
    workspace.write_image("old")
    workspace.write_app(
        "app",
        BUILD=make_build('build_env={"ZONE": "a b"}', SMOKE),
        **{"package.json": MANIFEST},
    )
    workspace.package("app:release")
    (step,) = [one for one in workspace.steps("slipway.release.programs.smoke") if one.argv]
    assert step.argv == (
        *("/usr/bin/env", "ZONE=a b", "/bin/sh", "/build/in/smoke.sh", "smoke", "old:image"),
    )
    assert len(step.trees) == 1
    assert {"app", "smoke.sh", "release/app-1.0.0-prod.tar.gz"} <= set(workspace.files(step.inputs))
    # The file with secrets is on hosts alone.
    assert "/etc/app/env" not in workspace.contents(step.inputs)["app"]


def test_an_old_userland_without_a_smoke_script_is_told(workspace: Workspace) -> None:
    workspace.write_image("old")
    workspace.write_app("app", BUILD=make_build(release='old_userland="//old:image"'))
    with pytest.raises(Exception, match="old_userland needs a smoke script") as caught:
        workspace.package("app:release")
    assert "in:    app:release, field old_userland" in str(caught.value)


def test_an_old_userland_must_be_an_image(workspace: Workspace) -> None:
    release = SMOKE.replace("//old:image", "//toolchains/node")
    workspace.write_app("app", BUILD=make_build(release=release), **{"package.json": MANIFEST})
    with pytest.raises(Exception, match="an old userland must be a node_toolchain"):
        workspace.package("app:release")
