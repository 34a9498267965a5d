"""A runtime from its source release, for real: QuickJS from Debian's archive."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Callable

import pytest

from tests.e2e.harness import Workspace

TARGET = "//examples/quickjs"
FOLDER = "examples.quickjs/quickjs"


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("source", daemon=True)


@pytest.mark.long
def test_an_engine_is_built_from_source_for_old_hosts_and_answers(
    workspace: Workspace, scratch: Path
) -> None:
    said = workspace.pants("package", TARGET).ok()
    assert "Build examples/quickjs/quickjs.toml from source" in said.counts.ran
    archive = workspace.dist(FOLDER, "nodejs.tar.gz")
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(scratch)
    answer = subprocess.run(
        [str(scratch / "bin" / "qjs"), "--eval", "console.log([1, 2, 3].map(x => x ** 2))"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert answer.stdout == "1,4,9\n"
    audited = workspace.pants("abi-audit", "--format=json", f"--file={archive}").ok()
    (files,) = json.loads(audited.stdout).values()
    assert {one["path"] for one in files} == {"bin/qjs", "bin/qjsc"}
    assert {one["verdict"] for one in files} == {"fits"}
    log = workspace.dist(FOLDER, "build.log").read_text()
    assert log.startswith("+ make ")

    assert workspace.pants("package", TARGET).ok().counts.ran == []


@pytest.mark.long
def test_an_application_on_another_engine_is_built_started_and_stopped(
    workspace: Workspace, scratch: Path
) -> None:
    said = workspace.pants("package", "//examples/quickjs-app:release").ok()
    assert "Smoke-test quickjs-app for prod" in said.counts.ran
    assert "Start quickjs-app for prod" in said.counts.ran
    archive = workspace.dist("examples.quickjs-app/release", "quickjs-app-1.0.0-prod.tar.gz")
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(scratch / "release")

    def app(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(scratch / "release" / "bin" / "app"), *arguments],
            env={"PATH": "/usr/bin:/bin", "HOME": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert not list((scratch / "release" / "node_runtime").rglob("node*"))
    assert app("health").returncode == 1
    assert app("start").returncode == 0
    try:
        deadline = time.monotonic() + 10
        while app("health").returncode and time.monotonic() < deadline:
            time.sleep(0.1)
        assert app("health").returncode == 0
        log = (scratch / "release" / "worker.log").read_text()
        assert log == "working under QuickJS for prod\n"
    finally:
        assert app("stop").returncode == 0


@pytest.mark.long
@pytest.mark.long
def test_a_failing_build_keeps_its_log_and_says_where(workspace: Workspace) -> None:
    definition = workspace.root / "examples" / "quickjs" / "quickjs.toml"
    sound = definition.read_text()
    definition.write_text(sound.replace('"qjs", "libquickjs.a"', '"everything"'))
    try:
        said = workspace.pants("package", TARGET).failed()
    finally:
        definition.write_text(sound)
    assert "make failed with exit status 2" in said.output
    assert "No rule to make target 'everything'" in said.output
    (line,) = [line for line in said.output.splitlines() if line.startswith("  log:   ")]
    assert "everything" in Path(line.split()[1]).read_text()
    assert "Traceback" not in said.output
