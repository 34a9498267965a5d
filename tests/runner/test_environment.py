"""Creating the environment: once, completely or not at all, from the user's index."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import random
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import pytest

from tests.runner.workbench import (
    Bench,
    Packages,
    kill_group,
    lock_of,
    make_wheel,
    wait_until,
)
from tests.tiers import long_except


def assert_whole_and_alone(bench: Bench) -> None:
    """A single working environment, and no files of another attempt."""
    assert bench.run("goal").ok
    assert bench.run("goal", STUB_SERVE="1").out == b"pants goal\n"
    assert len(bench.environments) == 1
    assert bench.unfinished == []


def assert_nothing_was_made(bench: Bench) -> None:
    assert bench.environments == []
    assert bench.unfinished == []
    assert list(bench.cache.glob("slipway/workspaces/**/.runner-stamp")) == []


def test_the_first_run_installs_and_says_so(bench: Bench) -> None:
    result = bench.run("goal")
    assert result.ok
    first, second = result.err.splitlines()
    assert first == "pants: installing Pants 2.17.1 (once) …"
    assert re.fullmatch(r"pants: installed in \d+ s", second)
    assert_whole_and_alone(bench)


def test_a_warm_run_starts_no_program_but_pants(warm: Bench, shell: str) -> None:
    name, *options = shell.split()
    shell = " ".join([shutil.which(name) or name, *options])
    assert warm.run(shell=shell).ok
    calls = warm.calls
    result = warm.run(shell=shell, PATH="/nowhere")
    assert result.ok
    assert result.err == ""
    assert warm.calls == calls


def test_another_workspace_uses_the_same_environment(warm: Bench) -> None:
    other = warm.folder / "other"
    other.mkdir()
    (other / "pants.toml").write_text("[GLOBAL]\n")
    for folder in (warm.workspace, other):
        result = warm.run(cwd=folder)
        assert result.ok
        assert result.err == ""
    assert len(warm.environments) == 1


def test_a_lock_that_was_only_touched_installs_nothing(warm: Bench) -> None:
    assert warm.run().ok
    future = time.time() + 2
    os.utime(str(warm.lock), (future, future))
    result = warm.run()
    assert result.ok
    assert result.err == ""
    assert len(warm.bootstrapped_by) == 2


@pytest.mark.long
def test_another_lock_makes_another_environment(warm: Bench, tmp_path: Path) -> None:
    assert warm.run().ok
    (old,) = warm.environments
    folder = tmp_path / "packages"
    shutil.copytree(str(warm.packages.folder), str(folder))
    make_wheel(folder, "more", "1.0", {"more.py": ""})
    time.sleep(1.1)
    warm.lock.write_text(lock_of(folder))
    result = warm.run(PIP_FIND_LINKS=str(folder))
    assert result.ok
    assert "installing" in result.err
    (new,) = (path for path in warm.environments if path != old)
    assert list(new.glob("lib/*/site-packages/more.py"))
    assert not list(new.glob("lib/*/site-packages/pip*"))


def test_nothing_names_the_folder_it_was_made_in(installed: Path) -> None:
    (environment,) = (installed / "cache/slipway/environments").iterdir()
    naming = [
        path
        for path in environment.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and b"/.new-" in path.read_bytes()
    ]
    assert naming == []
    # Not even a compiled module: the interpreter puts the name of now into a traceback.
    python = environment / "bin/python"
    code = "import pants.bin.pants_loader as m; print(m.main.__code__.co_filename)"
    done = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().startswith(str(environment))


def test_programs_that_would_be_broken_are_not_there(installed: Path) -> None:
    (environment,) = (installed / "cache/slipway/environments").iterdir()
    names = {path.name for path in (environment / "bin").iterdir()}
    assert {name for name in names if not name.startswith("python")} == {
        "native_client",
        "pants-server",
    }
    assert os.access(str(environment / "bin/native_client"), os.X_OK)


@pytest.mark.parametrize(
    "piece", long_except(["bin/python"], ["bin/python", "bin/native_client", "bin/pants-server"])
)
def test_an_environment_that_lost_a_piece_is_made_again(warm: Bench, piece: str) -> None:
    assert warm.run().ok
    (environment,) = warm.environments
    (environment / piece).unlink()
    result = warm.run()
    assert result.ok
    assert_whole_and_alone(warm)


def test_a_stamp_of_another_form_is_not_read(warm: Bench) -> None:
    assert warm.run().ok
    stamp = warm.cache / f"slipway/workspaces{warm.workspace}/.runner-stamp"
    for text in ("", "slipway runner 0\n" + stamp.read_text().split("\n", 1)[1], "\0\n" * 20):
        stamp.write_text(text)
        assert warm.run().ok
        assert stamp.read_text().startswith("slipway runner 1\n")


# Faults


def test_a_wrong_hash(bench: Bench) -> None:
    good = bench.lock.read_text()
    wheel = bench.packages.folder / "pex-2.1.137-py3-none-any.whl"
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    bench.lock.write_text(good.replace(right, "0" * 64))
    result = bench.run()
    assert result.status == 1
    assert result.out == b""
    assert "pants: the installation of Pants failed\n" in result.err
    assert f"  in:    {bench.cache}/slipway/install.log\n" in result.err
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in result.err
    assert right in result.err
    assert "  next:  pip config list " in result.err
    assert "Traceback" not in result.err
    assert right in (bench.cache / "slipway/install.log").read_text()
    assert_nothing_was_made(bench)
    bench.lock.write_text(good)
    assert_whole_and_alone(bench)


@pytest.mark.long
def test_a_package_that_the_index_lacks(bench: Bench, tmp_path: Path) -> None:
    result = bench.run(PIP_FIND_LINKS=str(tmp_path / "empty"))
    assert result.status == 1
    assert "No matching distribution found for" in result.err
    assert_nothing_was_made(bench)
    assert_whole_and_alone(bench)


@pytest.mark.long
def test_pants_that_does_not_start_here(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    shutil.copytree(str(bench.packages.folder), str(folder))
    engine = "pants/engine/internals/native_engine.py"
    files = {engine: "raise ImportError('version `GLIBC_9.9` not found')"}
    files["pants/bin/native_client"] = ""
    make_wheel(folder, "pantsbuild.pants", "2.17.1", files)
    bench.lock.write_text(lock_of(folder))
    result = bench.run(PIP_FIND_LINKS=str(folder))
    assert result.status == 1
    assert "GLIBC_9.9" in result.err
    assert_nothing_was_made(bench)


def test_two_at_once_install_once(bench: Bench) -> None:
    runs = [bench.start("goal") for _ in range(3)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    said = b"".join(err for _, err in outputs).decode()
    assert said.count("pants: installing Pants") == 1
    assert said.count("another run is installing Pants; waiting for it …") == 2
    for out, _ in outputs:
        assert out.startswith(b"argument\0goal\0")
    assert_whole_and_alone(bench)


# What is there at a moment of the installation.
MOMENTS: Dict[str, str] = {
    "the folder was made": "",
    "the tools arrive": "t*/requirements.txt",
    "the interpreter is there": "bin/python",
    "Pants arrives": "lib/*/site-packages/pants",
    "it is being compiled": "lib/*/site-packages/pants/__pycache__",
    "pex was packed": "pex",
    "it is nearly complete": "bin/native_client",
}


@pytest.mark.parametrize("moment", long_except(["Pants arrives"], MOMENTS))
def test_killed_in_the_middle(bench: Bench, moment: str) -> None:
    run, pattern = bench.start(), MOMENTS[moment]
    wait_until(lambda: any(found(path, pattern) for path in bench.unfinished))
    kill_group(run)
    assert [path for path in bench.environments if path not in bench.unfinished] == []
    assert_whole_and_alone(bench)


def found(folder: Path, pattern: str) -> bool:
    return not pattern or any(True for _ in folder.glob(pattern))


@pytest.mark.long
def test_killed_at_any_time(bench: Bench) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for _ in range(6):
        run = bench.start()
        time.sleep(chance.uniform(0, 3))
        kill_group(run)
        assert len(bench.unfinished) <= 1, f"seed {seed}"
    assert_whole_and_alone(bench)


@pytest.mark.long
def test_only_the_bootstrap_is_killed(bench: Bench) -> None:
    """Its pip lives on for a while: the next run waits for it instead of working beside it."""
    run = bench.start()
    wait_until(lambda: any(found(path, "bin/python") for path in bench.unfinished))
    (folder,) = bench.unfinished
    os.kill(int(folder.name[len(".new-") :]), 9)
    run.communicate(timeout=60)
    assert run.returncode == 137
    assert_whole_and_alone(bench)


@pytest.mark.long
def test_leftovers_of_dead_runs_are_removed(bench: Bench) -> None:
    leftover = bench.cache / "slipway/environments/.new-12345"
    (leftover / "closed").mkdir(parents=True)
    (leftover / "closed/file").write_text("")
    (leftover / "closed").chmod(0o500)
    assert_whole_and_alone(bench)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# Each fills up in another step.
@pytest.mark.parametrize("size", long_except(["1m"], ["4k", "64k", "1m", "2m"]))
def test_a_full_disk(bench: Bench, size: str) -> None:
    with small_disk(bench.cache, size):
        result = bench.run()
        assert result.status == 1
        assert result.out == b""
        assert "pants: the disk is full\n" in result.err
        assert f"  in:    {bench.cache}/slipway" in result.err
        assert "  found: No space left on device\n" in result.err
        assert "or export XDG_CACHE_HOME=<a folder on another disk>" in result.err
        assert "Traceback" not in result.err
        assert_nothing_was_made(bench)
        subprocess.run(["mount", "-o", "remount,size=200m", str(bench.cache)], check=True)
        assert_whole_and_alone(bench)


@pytest.mark.long
def test_a_cache_that_cannot_be_written(bench: Bench) -> None:
    bench.cache.write_text("in the way")
    result = bench.run()
    assert result.status == 1
    assert "pants: cannot use the runner's cache\n" in result.err
    assert (
        f"chown -R \"$(id -un)\" '{bench.cache}/slipway'   (or export XDG_CACHE_HOME" in result.err
    )
    assert "Traceback" not in result.err
    bench.cache.unlink()
    assert_whole_and_alone(bench)


@pytest.mark.parametrize("whose", ["the folder", "the stamp"])
def test_a_cache_of_another_user_runs_nothing(warm: Bench, shell: str, whose: str) -> None:
    """As root with a user's HOME, whose cache contains files of that user's choice."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    assert warm.run("goal").ok
    stamp = warm.cache / f"slipway/workspaces{warm.workspace}/.runner-stamp"
    place = stamp if whose == "the stamp" else warm.cache / "slipway"
    os.chown(place, 65534, 65534)
    result = warm.run("goal", shell=shell)
    assert result.status == 1
    assert result.out == b""
    assert result.err == (
        "pants: the runner's cache belongs to another user\n"
        f"  in:    {place}\n"
        "  next:  export XDG_CACHE_HOME=<your own folder>   (or, with sudo: sudo -H)\n"
    )


def test_a_cache_that_everybody_may_write_to_is_not_filled(bench: Bench) -> None:
    (bench.cache / "slipway").mkdir(parents=True)
    (bench.cache / "slipway").chmod(0o777)
    result = bench.run("goal")
    assert result.status == 1
    assert "pants: every user of this machine may write to the runner's cache\n" in result.err
    assert f"next:  chmod o-w '{bench.cache}/slipway'" in result.err
    assert_nothing_was_made(bench)
    (bench.cache / "slipway").chmod(0o700)
    assert_whole_and_alone(bench)


def test_interrupted_by_the_user(bench: Bench) -> None:
    run = bench.start()
    wait_until(lambda: any(found(path, "bin/python") for path in bench.unfinished))
    os.killpg(run.pid, 2)
    _, err = run.communicate(timeout=60)
    assert run.returncode not in (0, None)
    assert b"Traceback" not in err
    assert_nothing_was_made(bench)
    assert_whole_and_alone(bench)


# The user's own index


class Index(http.server.BaseHTTPRequestHandler):
    """A package index with basic authentication that notes what it was asked for."""

    folder: Path
    asked: List[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        name = self.path.rstrip("/").rsplit("/", 1)[-1]
        if self.path.endswith(".whl"):
            body, kind = (self.folder / name).read_bytes(), "application/octet-stream"
        else:
            links = "".join(
                f'<a href="/files/{wheel.name}">{wheel.name}</a>'
                for wheel in self.folder.glob("*.whl")
                if wheel.name.split("-")[0].replace(".", "-") == name
            )
            body, kind = links.encode(), "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(packages: Packages) -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Handler", (Index,), {"folder": packages.folder, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


PLACES: Dict[str, Optional[Callable[[Bench], Path]]] = {
    "environment": None,
    "user's file": lambda bench: bench.home / ".config/pip/pip.conf",
    "user's old file": lambda bench: bench.home / ".pip/pip.conf",
    "named file": lambda bench: bench.folder / "named.conf",
}


@pytest.mark.parametrize("place", long_except(["named file"], PLACES))
def test_the_index_is_that_of_the_users_pip(
    bench: Bench, index: http.server.ThreadingHTTPServer, place: str
) -> None:
    address = f"http://user:secret-word@127.0.0.1:{index.server_port}/simple"
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"):
        del bench.environ[name]
    file_of = PLACES[place]
    if file_of is None:
        bench.environ["PIP_INDEX_URL"] = address
    else:
        file = file_of(bench)
        file.parent.mkdir(parents=True, exist_ok=True)
        # What an installation by hand may want is not for an environment.
        file.write_text(
            f"[global]\nindex-url = {address}\n[install]\nuser = true\nno-binary = :all:\n"
            "target = /nowhere\n"
        )
        if place == "named file":
            bench.environ["PIP_CONFIG_FILE"] = str(file)
    result = bench.run()
    assert result.ok
    assert_whole_and_alone(bench)
    asked = index.RequestHandlerClass.asked  # type: ignore[attr-defined]
    assert {path for path in asked if path.endswith(".whl")} == {
        f"/files/{wheel.name}" for wheel in bench.packages.folder.glob("*.whl")
    }
    # The password is in no file of the cache and in no output.
    assert "secret-word" not in result.err
    for path in (bench.cache / "slipway").rglob("*"):
        if path.is_file():
            assert b"secret-word" not in path.read_bytes(), path


def test_a_pip_configuration_that_cannot_be_read(bench: Bench) -> None:
    file = bench.folder / "pip.conf"
    file.write_text("no section\n")
    result = bench.run(PIP_CONFIG_FILE=str(file))
    assert result.status == 1
    assert str(file) in result.err
    assert "Traceback" not in result.err.splitlines()[0]
    assert_nothing_was_made(bench)
