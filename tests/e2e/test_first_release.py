"""The user's story: a fresh clone, one command, a release that starts on a host without Node."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from tests.e2e import archives, harness, shared
from tests.e2e.app_client import Operator, answers, free_port, get
from tests.e2e.conftest import First
from tests.e2e.harness import Workspace
from tests.tiers import long_except

OPENING = ("package.json", "service", "node_modules", "node_runtime", "bin", "release.json")
NAME = "koa-kkl-1.4.0-prod"


def test_fresh_clone_with_false_tools_on_its_path(first: First) -> None:
    """See the fixture: empty caches, one line of configuration, no node, and a false python3."""
    built = first.workspace
    assert built.path.split(":")[0].endswith("false-tools")
    assert len((built.home / ".npmrc").read_text().splitlines()) == 1
    assert f"Wrote dist/apps.koa-kkl/release/{NAME}.tar.gz" in first.result.output
    assert sorted(path.name for path in built.dist("apps.koa-kkl", "release").iterdir()) == [
        f"{NAME}.native.json",
        f"{NAME}.release.json",
        f"{NAME}.static.tar.gz",
        f"{NAME}.tar.gz",
    ]
    print("sha256", archives.sha256(built.release()), f"{first.result.seconds:.0f} s")


def test_its_bytes_are_those_that_other_tools_and_another_python_made(
    first: First, tools: str
) -> None:
    """Root's, with this machine's tools and Python: see `shared`. `test_identical_bytes` goes on."""
    made = {
        file.name: archives.sha256(file)
        for file in first.workspace.dist("apps.koa-kkl", "release").iterdir()
    }
    assert made == shared.release_digests(tools)


def test_each_step_shows_once(first: First) -> None:
    """From empty caches: a step with locked files is looked up, fetched for, and run."""
    said = [line.split("] ", 1)[-1] for line in first.result.output.splitlines()]
    for word in ("Starting: ", "Completed: "):
        shown = [line for line in said if line.startswith(word)]
        assert len(shown) > 10
        assert sorted(set(shown)) == sorted(shown)


def test_a_run_ends_with_sizes_and_how_to_try_it(first: First) -> None:
    lines = [line.strip() for line in first.result.stderr.rstrip().splitlines()]
    (wrote, *rows, how) = lines[-5:]
    assert wrote.endswith(f"Wrote dist/apps.koa-kkl/release/{NAME}.native.json")
    assert [row.split()[0] for row in rows] == ["file", f"{NAME}.tar.gz", f"{NAME}.static.tar.gz"]
    assert how == "try it: ./pants run //apps/koa-kkl:release"


@pytest.fixture(scope="module")
def unpacked(built: Workspace, session_folder: Path, tools: str) -> Operator:
    """The release, unpacked as another user under another path, and never started."""
    user = harness.user("nobody") if harness.can_become_another_user() else None
    release = session_folder / "unpacked" / "another place"
    release.mkdir(parents=True)
    harness.own(release, user)
    subprocess.run(
        ["tar", "-xzf", str(built.release())],
        cwd=release,
        env={"PATH": tools},
        check=True,
        timeout=120,
        preexec_fn=harness.start_as(user, 0o022),
    )
    return Operator(release, session_folder, free_port(), tools, user)


@pytest.fixture
def operator(unpacked: Operator, scratch: Path) -> Iterator[Operator]:
    """A copy of it, to be started, with a folder for logs."""
    release, logs = scratch / "opt" / "another place", scratch / "logs"
    for folder in (release.parent, logs):
        folder.mkdir()
    harness.own(logs, unpacked.user)
    subprocess.run(["cp", "--archive", str(unpacked.release), str(release)], check=True)
    made = dataclasses.replace(unpacked, release=release, logs=logs)
    yield made
    made.app("stop")


def test_release_starts_answers_logs_and_stops_without_node(operator: Operator) -> None:
    if operator.user is None:
        pytest.skip("only root can unpack a release as another user")
    assert shutil.which("node", path=operator.path) is None
    assert set(OPENING) < set(os.listdir(operator.release))

    started = operator.app("start")
    assert started.returncode == 0, started.stdout
    assert operator.app("health").returncode == 0
    status, page = get(operator.port, "/")
    assert status == 200
    assert "https://static.example.com/dist/" in page
    status, answer = get(operator.port, "/api/courses")
    assert status == 200
    assert json.loads(answer)["courses"]
    logs = list(operator.logs.glob("node_info_*.log"))
    assert len(logs) == 1
    harness.wait_until(lambda: "/api/courses" in logs[0].read_text(), 10, "the request is logged")

    stopped = operator.app("stop")
    assert stopped.returncode == 0, stopped.stdout
    assert not answers(operator.port)
    assert operator.app("health").returncode == 1
    assert processes_of(operator.release) == []


def processes_of(release: Path) -> List[str]:
    """The commands of processes whose program is in a release."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").startswith(str(release)):
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
    return found


def test_npm_scripts_work_with_the_releases_node_on_path(operator: Operator) -> None:
    """Document 2's own way to start: `npm run start`."""
    runtime = operator.release / "node_runtime" / "bin"
    environment = {**operator.environment(), "PATH": f"{runtime}:{operator.path}"}
    for script, lives in (("start", True), ("stop", False)):
        done = subprocess.run(
            ["npm", "run", script],
            cwd=operator.release,
            env={**environment, "HOME": str(operator.logs)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=harness.start_as(operator.user, 0o022),
        )
        assert done.returncode == 0, done.stdout
        assert answers(operator.port) is lives


def test_file_lists_hold(unpacked: Operator) -> None:
    lists = archives.check_lists(unpacked.release)
    assert lists == ["app.sha256", "dependencies.sha256", "launcher.sha256", "runtime.sha256"]
    named = {
        line[66:].rstrip("\n")
        for name in lists
        for line in (unpacked.release / ".release" / name).read_text().splitlines(True)
    }
    there = {path for path, what in archives.listing(unpacked.release).items() if len(what) > 64}
    # A file that describes the release, or a list itself, cannot be in a list inside the release.
    assert there - named == {"release.json", *(f".release/{name}" for name in lists)}
    assert named <= there


# --- The archive.


def _tars(release: Path) -> Dict[str, Optional[List[str]]]:
    """Commands that extract standard input's name, given last, into the current folder."""
    node_tar = release / "node_runtime" / "lib" / "node_modules" / "npm" / "node_modules" / "tar"
    script = f"require({json.dumps(str(node_tar))}).x({{file: process.argv[1], sync: true}})"
    python = "import sys, tarfile; tarfile.open(sys.argv[1], 'r:gz').extractall('.')"
    bsdtar, busybox = shutil.which("bsdtar"), shutil.which("busybox")
    return {
        "GNU tar": ["tar", "-xzf"],
        "bsdtar": [bsdtar, "-xzf"] if bsdtar else None,
        "busybox tar": [busybox, "tar", "-xzf"] if busybox else None,
        "node-tar": [str(release / "node_runtime" / "bin" / "node"), "-e", script],
        "Python r:gz": [sys.executable, "-c", python],
    }


@pytest.mark.parametrize(
    "tool",
    long_except(["busybox tar"], ["bsdtar", "busybox tar", "node-tar", "Python r:gz"]),
)
def test_every_tar_extracts_the_same(
    tool: str, built: Workspace, unpacked: Operator, scratch: Path
) -> None:
    command = _tars(unpacked.release)[tool]
    if command is None:
        pytest.skip(f"this machine has no {tool}")
    found = archives.extract([*command, str(built.release())], scratch / "extracted")
    assert found == archives.listing(unpacked.release)


def test_archive_has_no_folder_on_top_and_ends_with_its_manifest(built: Workspace) -> None:
    with tarfile.open(built.release(), "r:gz") as tar:
        names = tar.getnames()
    assert names[-1] == "release.json"
    tops = {name.split("/")[0] for name in names}
    assert tops == {*OPENING, ".release"}


def test_streaming_python_reads_the_first_layer_only(built: Workspace) -> None:
    """Documented: Python's `r|gz` ends with the first gzip member, without a word."""
    with tarfile.open(built.release(), "r|gz") as tar:
        tops = {member.name.split("/")[0] for member in tar}
    assert tops == {"node_runtime", ".release"}


def test_manifests_tell_what_the_release_is(built: Workspace) -> None:
    with tarfile.open(built.release(), "r:gz") as tar:
        file = tar.extractfile("release.json")
        assert file is not None
        inner = json.load(file)
    outer = json.loads(built.dist("apps.koa-kkl", "release", f"{NAME}.release.json").read_text())
    assert (inner["schema_version"], inner["app"], inner["version"]) == (1, "koa-kkl", "1.4.0")
    assert inner["server_env"] == "prod"
    assert inner["node"]["version"] == "16.20.2"
    assert [one["name"] for one in inner["layers"]] == ["runtime", "dependencies", "app"]
    assert {"@koa/router", "koa"} < {package["name"] for package in inner["packages"]}
    assert {name: outer[name] for name in inner} == inner
    assert outer["tarball"] == {
        "file": f"{NAME}.tar.gz",
        "sha256": archives.sha256(built.release()),
        "size": built.release().stat().st_size,
    }


def test_manifests_follow_their_schema(built: Workspace) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    path = harness.REPOSITORY / "build_rules" / "slipway" / "release" / "release-schema.json"
    validator = jsonschema.Draft7Validator(json.loads(path.read_text()))
    validator.check_schema(validator.schema)
    outer = json.loads(built.dist("apps.koa-kkl", "release", f"{NAME}.release.json").read_text())
    inner = {name: value for name, value in outer.items() if name != "tarball"}
    for manifest in (outer, inner):
        assert [error.message for error in validator.iter_errors(manifest)] == []
    assert list(validator.iter_errors({**outer, "lock_sha256": "none"}))


# --- The other commands.


@pytest.mark.long
def test_package_of_a_runtime(live: Workspace) -> None:
    live.pants("package", "//toolchains/node:16.20.2").ok()
    with tarfile.open(live.dist("toolchains.node", "16.20.2", "nodejs.tar.gz")) as tar:
        tops = {name.split("/")[0] for name in tar.getnames()}
    assert tops - {".release"} == {"bin", "include", "lib", "share"}


def test_run_of_a_runtime_passes_arguments_on(live: Workspace) -> None:
    result = live.pants("run", "//toolchains/node:16.20.2", "--", "-v").ok()
    assert result.stdout.strip() == "v16.20.2"


@pytest.mark.parametrize(
    "terminal",
    [pytest.param(False, marks=pytest.mark.long, id="group"), pytest.param(True, id="terminal")],
)
def test_run_of_a_release_ends_with_ctrl_c(terminal: bool, live: Workspace, scratch: Path) -> None:
    port, temporary = free_port(), scratch / "tmp"
    temporary.mkdir()
    env = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "TMPDIR": str(temporary),
        # What a user's own Node left in the environment, and would break this one.
        "NODE_OPTIONS": "--require=/nowhere/to/be/found.js",
        "NODE_PATH": "/nowhere",
        "npm_config_mark": "of-the-user",
        # What this run starts, and not the daemon, is ended below.
        harness.MARK: f"{live.mark}-run",
    }
    master, slave = pty.openpty()
    try:
        # `setsid -c` makes this terminal the run's controlling terminal: Ctrl-C reaches the run as a
        # user's Ctrl-C does.
        process = live.start(
            *("run", "//apps/koa-kkl:release"),
            env=env,
            before=("setsid", "-cw") if terminal else (),
            stdio=slave if terminal else None,
        )
        harness.wait_until(lambda: answers(port), 120, "the application answers")
        assert get(port, "/api/courses")[0] == 200
        node = next(pid for pid in _nodes(temporary))
        seen = Path(f"/proc/{node}/environ").read_bytes().decode()
        for name in ("NODE_OPTIONS", "NODE_PATH", "npm_config_mark"):
            assert f"{name}=" not in seen
        logs = list(temporary.rglob("node_info_*.log"))
        assert len(logs) == 1
        asked = time.monotonic()
        if terminal:
            os.write(master, b"\x03")
        else:
            os.killpg(process.pid, signal.SIGINT)
        harness.wait_until(lambda: not answers(port), 3, "the application stops")
        harness.wait_until(lambda: not list(temporary.glob("slipway-run-*")), 3, "no folder left")
        print(f"stopped after {time.monotonic() - asked:.1f} s")
        process.wait(timeout=30)
    finally:
        harness.end(harness.marked_processes(f"{live.mark}-run"))
        os.close(master)
        os.close(slave)
    assert _nodes(temporary) == []


def _nodes(temporary: Path) -> List[int]:
    """Processes of the Node of a release that was unpacked there."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            program = os.readlink(f"/proc/{pid}/exe")
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if program.startswith(str(temporary)) and b"npm-cli.js" not in command:
                found.append(int(pid))
    return found


@pytest.mark.long
def test_export_gives_the_loop_of_a_developer(
    live: Workspace, built: Workspace, scratch: Path
) -> None:
    live.pants("export", "--resolve=npm:apps/koa-kkl").ok()
    exported = live.dist("export", "node", "apps.koa-kkl")
    node, app = exported / "node_runtime" / "bin" / "node", live.root / "apps" / "koa-kkl"
    (app / "node_modules").symlink_to(exported / "node_modules")
    subprocess.run([node, "build/build.js", "prod"], cwd=app, check=True, timeout=300)
    port = free_port()
    settings = {"DEBUG": "true", "PORT": str(port), "HOST": "127.0.0.1", "LOG_DIR": str(scratch)}
    process = subprocess.Popen(
        [
            "env",
            *(f"{name}={value}" for name, value in settings.items()),
            node,
            "service/bin/serve.js",
        ],
        cwd=app,
        env={"PATH": live.path},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        harness.wait_until(lambda: answers(port), 30, "the application answers")
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    # Files that the developer's loop left in the folder are not an input of a release.
    live.pants("package", "//apps/koa-kkl:release").ok()
    assert archives.first_difference(built.release(), live.release()) == ""


def test_locks_that_are_fresh_stay_as_they_are(live: Workspace) -> None:
    before = _locks(live)
    assert any(name.startswith("toolchains/base/") for name in before)
    result = live.pants("generate-lockfiles").ok()
    assert _locks(live) == before
    assert "toolchain:base" not in result.output


def _locks(clone: Workspace) -> Dict[str, str]:
    return {
        str(path.relative_to(clone.root)): f"{archives.sha256(path)} {path.stat().st_mtime_ns}"
        if path.name == "packages.lock"
        else archives.sha256(path)
        for path in clone.root.rglob("*.lock")
        if "dist" not in path.parts
    }


def test_lint_passes(live: Workspace) -> None:
    live.pants("lint", "::").ok()


@pytest.mark.long
def test_tailored_application_packages_as_it_stands(
    live: Workspace,
) -> None:
    (live.root / "apps" / "koa-kkl" / "BUILD").unlink()
    live.pants("tailor", "apps/koa-kkl::").ok()
    live.pants("package", "apps/koa-kkl:release").ok()
    assert live.release().name == f"{NAME}.tar.gz"


def test_changed_since_sees_client_server_and_lock(
    live: Workspace,
) -> None:
    changes = {
        "src/pages/home/index.js": lambda text: text + "\n",
        "service/routes/api.js": lambda text: text + "\n",
        "package-lock.json": lambda text: text + "\n",
        "npm-fetch.lock": lambda text: text + "\n",
    }
    listing = ("--changed-since=HEAD", "--changed-dependents=transitive", "list")
    assert live.pants(*listing).ok().stdout.split() == []
    for path, change in changes.items():
        live.edit(f"apps/koa-kkl/{path}", change)
        listed = live.pants(*listing).ok().stdout.split()
        assert "apps/koa-kkl:release" in listed, path
        live.git("checkout", "--quiet", ".")


def test_what_is_built_from_source_can_be_left_out_of_all(live: Workspace) -> None:
    said = live.pants("--tag=-source_build", "list", "::").ok()
    listed = said.stdout.split()
    assert "apps/koa-kkl:release" in listed
    assert not {"examples/quickjs:quickjs", "toolchains/node:6.3.0-source"} & set(listed)


@pytest.mark.long
def test_package_of_everything_has_no_two_outputs_in_one_place(
    live: Workspace,
) -> None:
    live.pants("--tag=-source_build", "package", "::").ok()
    made = sorted(str(path.relative_to(live.dist())) for path in live.dist().rglob("*.tar.gz"))
    assert len([path for path in made if path.startswith("apps.koa-kkl/releases")]) == 8
    assert "examples.hello-node6/release/hello-node6-0.3.0-prod.tar.gz" in made
