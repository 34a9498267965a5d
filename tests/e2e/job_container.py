"""A job of CI that runs in a container of a build image: this machine with an image's files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Tuple

import pytest

from tests.e2e import harness
from tests.e2e import shared as shared_caches
from tests.e2e.harness import Caches, Workspace


def container(root: Path, *shared: Path, uid: int = 0) -> Tuple[str, ...]:
    """Starts a command, as user `uid`, on a machine whose files are those of an image, as CI does.

    It has this machine's devices and processes, the folders `shared`, and another Pants than the tests:
    their Python is not in the image.
    """
    installed = shared_caches.container_runner()
    _install(installed)
    mounts = [f"mount --bind {root} {root}"]
    for path in (Path("/proc"), Path("/dev"), installed, *shared):
        mounts.append(f"mkdir -p {root}{path} && mount --rbind {path} {root}{path}")
    become = f"--userspec={uid}:{uid} --groups=" if uid else ""
    ours = shared_caches.runner()
    settle = f'[ "${{XDG_CACHE_HOME-}}" != {ours} ] || export XDG_CACHE_HOME={installed}'
    enter = f'exec chroot {become} {root} sh -c \'{settle}; unset SLIPWAY_PYTHON; cd "$0" && exec "$@"\' "$PWD" "$@"'
    script = " && ".join([*mounts, enter])
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh")


def _install(runner: Path) -> None:
    """A container has neither an index nor this machine's Python: the runner makes its own before."""
    with harness.scratch_folder("job-") as scratch:
        caches = Caches(scratch / "caches", runner)
        path = str(harness.tools_folder(scratch / "tools"))
        with Workspace.make(scratch / "clone", caches, path) as workspace:
            workspace.pants("--version").ok()


def copied_root(workspace: Workspace, program: str, folder: Path) -> Path:
    """A copy of the smallest unpacked image that has this program."""
    if os.geteuid() != 0:
        pytest.skip("only root can change its root")
    root = min(
        (
            tree
            for tree in (workspace.caches.named / "slipway_trees").iterdir()
            if (tree / program).exists()
        ),
        key=lambda tree: len(list((tree / "usr" / "bin").iterdir())),
    )
    subprocess.run(["cp", "--archive", f"{root}/.", str(folder)], check=True)
    return folder
