"""The script that updates Node on a schedule, against a local Git repository with a stand-in for `./pants`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY

FOLDER = REPOSITORY / "examples" / "update-node"
ADDS = "printf 'version = \"22.23.3\"\\n' > toolchains/node/22.23.3.toml"


class Clone:
    """A clone of a bare repository, whose `./pants` runs a line of shell."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.path = folder / "origin.git", folder / "clone"
        self.git("init", "-q", "--bare", "-b", "main", str(self.origin), cwd=folder)
        self.git(
            "-C", str(self.origin), "config", "receive.advertisePushOptions", "true", cwd=folder
        )
        self.git("clone", "-q", str(self.origin), str(self.path), cwd=folder)
        (self.path / "toolchains" / "node").mkdir(parents=True)
        (self.path / "toolchains" / "node" / "BUILD").touch()
        self.pants("true")
        self.git("checkout", "-q", "-B", "main")
        self.git("add", "-A")
        self.git("-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "Start")
        self.git("push", "-q", "origin", "main")

    def git(self, *arguments: str, cwd: Path = Path()) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd if cwd != Path() else self.path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def pants(self, line: str) -> None:
        program = self.path / "pants"
        program.write_text(f'#!/bin/sh\n[ "$*" = "node-definitions --update" ] || exit 2\n{line}\n')
        program.chmod(0o755)

    def update(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(FOLDER / "update-node.sh")],
            cwd=self.path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_without_a_new_release_nothing_is_pushed(clone: Clone) -> None:
    done = clone.update()
    assert (done.returncode, done.stdout) == (0, "nothing to update\n"), done.stderr
    assert clone.git("ls-remote", "--heads", "origin").count("refs/heads/") == 1


def test_a_new_release_is_pushed_to_a_branch_of_its_own(clone: Clone) -> None:
    clone.pants(ADDS)
    done = clone.update()
    assert (done.returncode, done.stdout) == (0, "update-node\n"), done.stderr
    assert clone.git("log", "-1", "--format=%s", "origin/update-node") == "Add Node 22.23.3"
    files = clone.git("diff", "--name-only", "origin/main", "origin/update-node")
    assert files == "toolchains/node/22.23.3.toml"
    assert clone.git("rev-parse", "--abbrev-ref", "HEAD") == "main"


def test_an_update_that_nobody_merged_is_replaced(clone: Clone) -> None:
    clone.pants(ADDS)
    clone.update()
    clone.pants(ADDS.replace("22.23.3", "22.23.4"))
    assert clone.update().returncode == 0
    clone.git("fetch", "-q", "origin")
    assert clone.git("log", "-1", "--format=%s", "origin/update-node") == "Add Node 22.23.4"


def test_in_gitlab_the_push_asks_for_a_merge_request(clone: Clone, tmp_path: Path) -> None:
    hook = clone.origin / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\nenv | grep GIT_PUSH_OPTION_ > {tmp_path}/options\n")
    hook.chmod(0o755)
    clone.pants(ADDS)
    done = clone.update(GITLAB_CI="true")
    assert done.returncode == 0, done.stderr
    options = (tmp_path / "options").read_text()
    assert "=merge_request.create\n" in options
    assert "=merge_request.title=Add Node 22.23.3\n" in options
    assert "=merge_request.target=main\n" in options


def test_a_failed_update_pushes_nothing(clone: Clone) -> None:
    clone.pants(f"{ADDS}; echo 'the registry has other bytes' >&2; exit 1")
    done = clone.update()
    assert done.returncode == 1
    assert "other bytes" in done.stderr
    assert clone.git("ls-remote", "--heads", "origin").count("refs/heads/") == 1


def test_renovate_finds_the_versions_of_runtimes() -> None:
    preset = json.loads((FOLDER / "renovate.json").read_text())
    (pattern,) = preset["customManagers"][0]["matchStrings"]
    build = (REPOSITORY / "toolchains" / "node" / "BUILD").read_text()
    # JavaScript writes a named group without the P.
    found = re.findall(pattern.replace("(?<", "(?P<"), build)
    assert {"16.20.2", "22.23.3"} <= set(found)
    (command,) = preset["packageRules"][0]["postUpgradeTasks"]["commands"]
    assert command == "./pants node-definitions --add={{{newVersion}}}"
