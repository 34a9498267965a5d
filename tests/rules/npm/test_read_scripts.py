"""A missing decision on an install script that the lock lists costs no install."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from slipway.npm.programs import install, read_scripts
from tests.rules import workspace as stand_ins
from tests.rules.workspace import (
    INTEGRITY,
    SHA256,
    Workspace,
    make_build,
    make_fetch_lock,
    make_lock,
)

BCRYPT = {"version": "5.1.1", "integrity": INTEGRITY, "hasInstallScript": True}
LINE = f"bcrypt 5.1.1 {INTEGRITY} {SHA256} 1"


def write(workspace: Workspace, fields: str = "", **entry: Any) -> None:
    packages: Dict[str, Dict[str, Any]] = {"node_modules/bcrypt": {**BCRYPT, **entry}}
    workspace.write_app(
        "app",
        BUILD=make_build(fields),
        **{
            "package-lock.json": make_lock(packages),
            "npm-fetch.lock": make_fetch_lock("app", LINE),
        },
    )


def test_it_is_told_before_the_install(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = {
        "path": "node_modules/bcrypt",
        "name": "bcrypt",
        "version": "5.1.1",
        "scripts": {"install": "node-gyp rebuild"},
        "production": True,
        "variables": [],
    }
    monkeypatch.setitem(stand_ins._REPORTS, "scripts.json", {"packages": [scripted]})
    write(workspace)
    with pytest.raises(Exception, match="no entry in install_scripts") as caught:
        workspace.package("app:release")
    assert 'bcrypt@5.1.1, install: "node-gyp rebuild"' in str(caught.value)
    (step,) = workspace.steps(read_scripts.__name__)
    (packed,) = read_scripts.PROGRAM.read(step.call.arguments).packages
    assert (packed.path, packed.name, packed.production) == ("node_modules/bcrypt", "bcrypt", True)
    assert packed.tarball.integrities == (INTEGRITY,)
    assert len(step.locked.files) == 1
    assert not workspace.steps(install.__name__)


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        pytest.param('install_scripts={"bcrypt": "skip"}', {}, id="a decision"),
        pytest.param("", {"hasInstallScript": False}, id="no script"),
        pytest.param("", {"optional": True, "os": ["darwin"]}, id="for another system"),
    ],
)
def test_no_tarball_is_read_without_need(
    workspace: Workspace, fields: str, entry: Dict[str, Any]
) -> None:
    write(workspace, fields, **entry)
    workspace.package("app:release")
    assert not workspace.steps(read_scripts.__name__)
