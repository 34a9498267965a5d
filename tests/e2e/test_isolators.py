"""The ways to isolate a step: the same bytes by each, the chosen one named, and refusals by name."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from slipway.isolation import build_users
from tests.e2e import harness
from tests.e2e.addon_app import write_app
from tests.e2e.conftest import OtherUser
from tests.e2e.engine import Engine, running_engine
from tests.e2e.harness import Caches, Result, Workspace
from tests.e2e.job_container import container, copied_root
from tests.e2e.tiny_app import TinyApp

NAMED = {
    "namespaces": "build steps are isolated with user namespaces",
    "docker": "build steps are isolated with a Docker engine",
    "chroot": "build steps are isolated with chroot and separate users",
    "inside": "build steps are isolated with the container of the job and separate users",
}
NO_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
)
SEED = 20261121
FOREVER = "300.7654321"


@pytest.fixture(scope="module")
def workspace(shared_clone: Workspace) -> Workspace:
    return shared_clone


def digests(workspace: Workspace, *names: str) -> Dict[str, str]:
    found = {}
    for name in names:
        for path in sorted(workspace.dist(name).iterdir()):
            if path.name != "build.log":  # tells the order of a parallel make
                found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def package(workspace: Workspace, isolator: str, *targets: str, **more: Any) -> Result:
    shutil.rmtree(workspace.dist(), ignore_errors=True)
    if more.get("before"):  # a daemon would not be where the command is
        more["env"] = {**more.get("env", {}), "PANTS_PANTSD": "false"}
    return workspace.pants(f"--slipway-isolator={isolator}", "package", *targets, **more)


@pytest.fixture(scope="module")
def tiny(workspace: Workspace) -> TinyApp:
    app = TinyApp(workspace, "apps/isolated")
    app.write()
    return app


@pytest.fixture(scope="module")
def expected(tiny: TinyApp, workspace: Workspace) -> Dict[str, str]:
    """What user namespaces make of the application."""
    # A daemon would name it once in its life.
    said = package(workspace, "namespaces", tiny.release, env={"PANTS_PANTSD": "false"}).ok()
    assert NAMED["namespaces"] in said.output
    return digests(workspace, "apps.isolated/release")


@pytest.fixture(scope="module")
def copied_base(workspace: Workspace, expected: Dict[str, str]) -> Iterator[Path]:
    """The base image as the files of a machine."""
    with harness.scratch_folder("image-") as folder:
        yield copied_root(workspace, "usr/bin/python3", folder)


@pytest.fixture
def in_base_image(copied_base: Path, session_folder: Path) -> Tuple[str, ...]:
    return container(copied_base, session_folder)


@pytest.mark.long
def test_a_job_in_a_container_of_the_image_is_isolated_by_that(
    workspace: Workspace, tiny: TinyApp, expected: Dict[str, str], in_base_image: Tuple[str, ...]
) -> None:
    said = package(
        workspace,
        "inside",
        tiny.release,
        env={"PANTS_LOCAL_CACHE": "false"},
        before=in_base_image,
    ).ok()
    assert NAMED["inside"] in said.output
    assert digests(workspace, "apps.isolated/release") == expected


@pytest.mark.long
def test_another_machine_than_the_image_is_told(workspace: Workspace, tiny: TinyApp) -> None:
    app = TinyApp(workspace, "apps/outside", scripts={"build": "mkdir dist; echo 5 >dist/1"})
    app.write()
    said = package(workspace, "inside", app.release).failed()
    assert "inside: this machine is not the image of the step: " in said.output
    assert "run in a container of the step's image" in said.output


@pytest.mark.parametrize("isolator", ["docker", pytest.param("chroot", marks=pytest.mark.long)])
def test_another_isolator_makes_the_same_bytes_and_is_named(
    workspace: Workspace,
    tiny: TinyApp,
    expected: Dict[str, str],
    isolator: str,
    engine: Engine,
    with_docker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workspace, "path", with_docker)
    said = package(
        workspace, isolator, tiny.release, env={**engine.env, "PANTS_LOCAL_CACHE": "false"}
    ).ok()
    assert NAMED[isolator] in said.output
    assert any(one.startswith("Build ") for one in said.counts.ran)
    assert digests(workspace, "apps.isolated/release") == expected
    assert engine.containers() == []
    assert leftovers(workspace) == []


@pytest.mark.long
def test_steps_that_run_as_two_users_of_the_machine_make_the_same_bytes(
    workspace: Workspace,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may call chroot")
    script = "mkdir dist; id -un >dist/user; id -gn >>dist/user; echo ~ >>dist/user"
    app = TinyApp(workspace, "apps/users", scripts={"build": script})
    app.write()
    made: List[Dict[str, str]] = []
    occupied: List[int] = []
    try:
        for _ in range(2):
            package(workspace, "chroot", app.release, env={"PANTS_LOCAL_CACHE": "false"}).ok()
            made.append(digests(workspace, "apps.users/release"))
            user = build_users.FIRST_ID
            occupied.append(subprocess.Popen(["sleep", FOREVER], user=user).pid)
    finally:
        for pid in occupied:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert made[0] == made[1]
    assert Path("/run/slipway-build-users", str(build_users.FIRST_ID + 2)).exists()


def test_a_cached_result_needs_no_engine(
    workspace: Workspace, tiny: TinyApp, expected: Dict[str, str]
) -> None:
    # Made by user namespaces, taken by a run that could only use an engine, which is not there.
    said = package(workspace, "docker", tiny.release).ok()
    assert said.counts.ran == []
    assert digests(workspace, "apps.isolated/release") == expected


@pytest.mark.long
def test_an_engine_is_taken_where_namespaces_are_refused(
    workspace: Workspace,
    engine: Engine,
    with_docker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = TinyApp(workspace, "apps/by-engine", scripts={"build": "mkdir dist; echo 1 >dist/1"})
    app.write()
    # As somebody does between two builds, or two steps: it is loaded again.
    for image in set(engine.images()):
        engine.docker("image", "rm", "--force", image)
    monkeypatch.setattr(workspace, "path", with_docker)
    said = package(workspace, "auto", app.release, env=engine.env, before=NO_NAMESPACES).ok()
    assert NAMED["docker"] in said.output


REFUSALS = {
    "no namespaces": (
        "namespaces",
        NO_NAMESPACES,
        ("namespaces: unshare of namespaces: No space left", "sysctl -w user.max_user_namespaces"),
    ),
    "no docker": (
        "docker",
        (),
        ("docker: no docker program on the PATH", "install and start a Docker engine"),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_isolator_is_told_by_name(workspace: Workspace, name: str) -> None:
    isolator, before, words = REFUSALS[name]
    app = TinyApp(workspace, "apps/refused", scripts={"build": f"mkdir dist; echo {name} >dist/1"})
    app.write()
    said = package(workspace, isolator, app.release, before=before).failed()
    assert f'the isolator "{isolator}" does not work on this machine' in said.output
    assert all(word in said.output for word in words), said.output
    assert "Traceback" not in said.output


def test_an_engine_that_is_stopped_or_forbidden_is_told(
    workspace: Workspace,
    engine: Engine,
    with_docker: str,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = TinyApp(workspace, "apps/stopped", scripts={"build": "mkdir dist; echo 2 >dist/1"})
    app.write()
    monkeypatch.setattr(workspace, "path", with_docker)
    gone = {"DOCKER_HOST": f"unix://{scratch}/gone.sock"}
    said = package(workspace, "docker", app.release, env=gone).failed()
    assert "Cannot connect to the Docker daemon" in said.output
    assert "install and start a Docker engine, and give this user access to it" in said.output
    assert "Traceback" not in said.output


@pytest.mark.long
def test_a_plain_user_without_any_isolator_is_told_all_of_them(
    other_user: OtherUser,
    engine: Engine,
    with_docker: str,
    scratch: Path,
) -> None:
    workspace = Workspace.make(
        scratch / "plain" / "clone",
        Caches(scratch / "caches", other_user.runner),
        with_docker,
        owner=other_user.user,
    )
    with workspace:
        said = package(
            workspace, "auto", "//toolchains/node:16.20.2", env=engine.env, before=NO_NAMESPACES
        ).failed()
    assert "no isolator for build steps works on this machine" in said.output
    assert "namespaces: unshare of namespaces" in said.output
    assert "docker: " in said.output
    assert "permission denied" in said.output
    assert "chroot: " in said.output
    assert "Traceback" not in said.output


# --- The long tier.


@pytest.mark.long
def test_a_full_disk_of_the_engine_is_told(
    workspace: Workspace, with_docker: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TinyApp(workspace, "apps/full", scripts={"build": "mkdir dist; echo 3 >dist/1"})
    app.write()
    monkeypatch.setattr(workspace, "path", with_docker)
    disk = scratch / "full"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(disk)], check=True)
    try:
        with running_engine(disk) as full:
            said = package(workspace, "docker", app.release, env=full.env).failed()
            assert full.containers() == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert "no space left on the disk of the Docker engine" in said.output
    assert "docker system prune" in said.output
    assert "Traceback" not in said.output


@pytest.mark.long
@pytest.mark.parametrize("isolator", ["docker", "chroot", "inside"])
def test_applications_addons_and_engines_are_the_same_by_each(
    workspace: Workspace,
    engine: Engine,
    with_docker: str,
    isolator: str,
    scratch: Path,
    session_folder: Path,
) -> None:
    targets = (*("//apps/koa-kkl:release", write_app(workspace, "node16"), "//examples/quickjs"),)
    places = ("apps.koa-kkl/release", "apps.node16/release", "examples.quickjs/quickjs")
    package(workspace, "namespaces", *targets).ok()
    expected = digests(workspace, *places)
    caches = workspace.caches.fresh(scratch / "caches")
    other = Workspace.make(scratch / "other" / "clone", caches, with_docker)
    before: Tuple[str, ...] = ()
    if isolator == "inside":  # the compiler's image, which has all of the base image too
        (scratch / "root").mkdir()
        root = copied_root(workspace, "usr/bin/gcc-10", scratch / "root")
        before = container(root, session_folder, scratch)
        # That machine has neither mirrors nor name servers.
        downloads = "slipway_downloads"
        shutil.copytree(workspace.caches.named / downloads, caches.named / downloads)
    with other:
        write_app(other, "node16")
        said = package(other, isolator, *targets, env=engine.env, timeout=1200, before=before).ok()
        assert NAMED[isolator] in said.output
        assert len(said.counts.ran) > 10
        assert digests(other, *places) == expected
        # The contract of the toolchain holds there too.
        tested = other.pants(
            f"--slipway-isolator={isolator}",
            *("test", "toolchains/gcc48::"),
            env=engine.env,
            before=before,
        ).ok()
        assert "toolchains/gcc48:gcc48 succeeded" in tested.output
        again = package(other, "namespaces", *targets).ok()
        assert again.counts.ran == []
        assert digests(other, *places) == expected


def leftovers(workspace: Workspace) -> List[str]:
    trees = workspace.caches.named / "slipway_trees"
    return [path.name for path in trees.glob("chroot-*")]


@pytest.mark.long
@pytest.mark.parametrize("isolator", ["namespaces", "docker", "chroot", "inside"])
def test_a_killed_pants_leaves_nothing_and_the_next_build_is_right(
    make_workspace: Callable[..., Workspace],
    engine: Engine,
    with_docker: str,
    isolator: str,
    in_base_image: Tuple[str, ...],
    copied_base: Path,
) -> None:
    workspace = make_workspace("killed", path=with_docker)
    before = in_base_image if isolator == "inside" else ()
    chance = random.Random(f"{SEED}-{isolator}")
    app = TinyApp(workspace, "apps/killed")
    app.scripts = {"build": f"sleep {FOREVER}; true"}
    app.write()
    own = [copied_base / "build", copied_base / "home" / "build"]
    caught = 0
    for number in range(20):
        moment = chance.uniform(0, 12)
        process = workspace.start(
            f"--slipway-isolator={isolator}",
            *("package", app.release),
            env=engine.env,
            before=before,
        )
        if number % 2:  # the others meet Pants' own start, the load of the image, the set-up
            harness.wait_until(lambda: bool(sleeping()), 120, "the step runs")
            moment /= 6
        time.sleep(moment)
        caught += bool(sleeping())
        # Pants alone: what it started has to find out by itself.
        process.kill()
        process.communicate()
        print(f"{isolator}: kill {number} after {moment:.2f} s, {caught} in the middle of the step")
        harness.wait_until(lambda: not sleeping(), 30, "processes of the step are gone")
        harness.wait_until(lambda: not engine.containers(), 30, "containers are gone")
        harness.wait_until(lambda: not leftovers(workspace), 30, "copies of roots are gone")
        harness.wait_until(lambda: not any(map(holds, own)), 30, "inside, folders are empty")
    assert caught >= 10
    app.scripts = {"build": "mkdir dist; echo right >dist/a.js"}
    app.write()
    package(workspace, isolator, app.release, env=engine.env, before=before).ok()
    made = digests(workspace, "apps.killed/release")
    again = {"PANTS_LOCAL_CACHE": "false"}
    package(workspace, "namespaces", app.release, env=again).ok()
    assert digests(workspace, "apps.killed/release") == made


def holds(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def sleeping() -> List[int]:
    """The processes of the step, inside of whatever isolates it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if FOREVER.encode() in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found
