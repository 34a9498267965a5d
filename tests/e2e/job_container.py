"""A job of CI that runs in a container of a build image: this machine with an image's files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Tuple

import pytest

from tests.e2e import shared as shared_caches
from tests.e2e.harness import Workspace


def container(root: Path, *shared: Path, uid: int = 0) -> Tuple[str, ...]:
    """Starts a command, as user `uid`, on a machine whose files are those of an image, as CI does.

    It has this machine's devices and processes, the Pants of all tests, and the folders `shared`.
    """
    installed = shared_caches.runner()
    mounts = [f"mount --bind {root} {root}"]
    for path in (Path("/proc"), Path("/dev"), installed, *shared):
        mounts.append(f"mkdir -p {root}{path} && mount --rbind {path} {root}{path}")
    become = f"--userspec={uid}:{uid} --groups=" if uid else ""
    enter = f'exec chroot {become} {root} sh -c \'cd "$0" && exec "$@"\' "$PWD" "$@"'
    script = " && ".join([*mounts, enter])
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh")


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
