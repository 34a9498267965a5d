"""One Pants and one set of filled caches for all sessions of tests, in the cache of their user.

To install Pants, to assemble the images and to package koa-kkl takes over a minute of computing.
The first session that needs them makes them, the others wait for it and copy. The run that fills the
caches also writes its results to a remote cache, from which others read. Tests of what happens with
empty caches use the fixture `first` instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator

from tests import installed_pants
from tests.e2e import archives, cache_server, harness
from tests.e2e.cache_server import CacheServer
from tests.e2e.counts import Counts
from tests.e2e.harness import Caches, Workspace

RELEASE, FIRST_RUN, COUNTS, SERVER = "release", "first-run.txt", "counts.jsonl", "cache-server"
COMMAND = ("package", "//apps/koa-kkl:release")
# What the results in the caches depend on; a change of any of it makes them again.
_SOURCES = (
    *("pants", "pants.toml", "pants.ci.toml", "3rdparty", "build_rules", "toolchains"),
    "apps/koa-kkl",
)
# Raise it when the shared folder gets another content.
_FORM = b"2"


def _top() -> Path:
    top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway-tests"
    top.mkdir(parents=True, exist_ok=True)
    return top


def runner() -> Path:
    """The folder in which the runner keeps Pants, an environment for each lock.

    The runner itself lets one of many runs install it, and removes what belongs to no workspace.
    """
    folder = _top() / "runner"
    folder.mkdir(exist_ok=True)
    return folder


def container_runner() -> Path:
    """The same for runs in containers, which have another Python than this machine."""
    folder = _top() / "runner-of-containers"
    folder.mkdir(exist_ok=True)
    return folder


def _caches(folder: Path) -> Caches:
    """Empty caches with the shared Pants, which is that of these tests if their user has one."""
    installed_pants.copy_to(runner())
    return Caches(folder, runner(), python=installed_pants.chosen_python()).make()


def _key() -> str:
    digest = hashlib.sha256(_FORM)
    for name in sorted(harness.repository_files()):
        if any(name == source or name.startswith(f"{source}/") for source in _SOURCES):
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.sha256((harness.origin / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _filled(path: str) -> Iterator[Path]:
    """The shared folder, made if nobody has yet, while nobody removes it."""
    top = _top()
    with (top / "lock").open("w") as lock:
        filled = top / "caches" / _key()
        # Many may read at once. Linux releases a lock before it takes it in another mode, so tests of
        # other sources can remove the folder in between.
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not filled.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                _fill(filled, path)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield filled


def filled_caches(folder: Path, path: str) -> Caches:
    """Caches at `folder` with all that a release of koa-kkl takes; `path` is the PATH of its run."""
    with _filled(path) as filled:
        caches = _caches(folder)
        for part in (caches.store, caches.named):
            subprocess.run(["cp", "-a", f"{filled / part.name}/.", str(part)], check=True)
    return caches


@dataclass(frozen=True)
class Written:
    """The run that filled the shared caches: its release, and what it wrote to a remote cache."""

    release: Path
    counts: Counts
    server: Path


def written(folder: Path, path: str) -> Written:
    """A copy of it at `folder`; without a server's program, the server's folder is not there."""
    folder.mkdir()
    with _filled(path) as filled:
        for name in (RELEASE, COUNTS, SERVER):
            if (filled / name).exists():
                subprocess.run(["cp", "-a", str(filled / name), str(folder)], check=True)
    return Written(folder / RELEASE, Counts.read(folder / COUNTS), folder / SERVER)


def release_digests(path: str) -> Dict[str, str]:
    """The SHA-256 of each file of the release that the shared caches were filled by."""
    with _filled(path) as filled:
        return {file.name: archives.sha256(file) for file in (filled / RELEASE).iterdir()}


def first_run(path: str) -> str:
    """The output of the run that filled the shared caches, from empty ones."""
    with _filled(path) as filled:
        return (filled / FIRST_RUN).read_text(encoding="utf-8")


@contextlib.contextmanager
def _remote_cache(folder: Path) -> Iterator[Dict[str, str]]:
    """Settings of a run that also writes its results to a remote cache, for the tests of that."""
    if cache_server.program() is None:
        yield {}
    else:
        with CacheServer(folder) as server:
            yield server.settings


def _fill(filled: Path, path: str) -> None:
    harness.remove(filled.parent)  # of earlier sources
    new = filled.with_name(".new")
    with harness.scratch_folder("filled-") as scratch, Workspace.make(
        scratch / "clone", _caches(new), path
    ) as workspace:
        with _remote_cache(new / SERVER) as settings:
            result = workspace.pants(*COMMAND, env=settings).ok()
        shutil.copy(workspace.counts_file, new / COUNTS)
        (new / FIRST_RUN).write_text(result.output, encoding="utf-8")
        shutil.copytree(workspace.dist("apps.koa-kkl", "release"), new / RELEASE)
    new.rename(filled)
