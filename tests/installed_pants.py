"""The Pants that runs these tests, for runners that tests start: to install another takes half a minute."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

# A CPython that Pants can live in: the one of the tests, not their virtual environment's link.
PYTHON = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def chosen_python() -> Optional[str]:
    """What SLIPWAY_PYTHON may name; None if a runner made this Python, which has no ensurepip."""
    return PYTHON if importlib.util.find_spec("ensurepip") else None


def copy_to(cache: Path) -> None:
    """Copies the newest environment of this Python from the user's runner to a runner's cache.

    An environment is named after its lock and its Python. If the copy is of another lock, the runner
    installs Pants as it does without a copy.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = [
        path
        for path in (home / "slipway" / "environments").glob("[!.]*")
        if os.path.realpath(path / "bin" / "python") == PYTHON
    ]
    for newest in sorted(found, key=lambda path: path.stat().st_mtime)[-1:]:
        target = cache / "slipway" / "environments" / newest.name
        new = target.with_name(f".new-{os.getpid()}")
        (cache / "slipway").mkdir(mode=0o700, parents=True, exist_ok=True)
        target.parent.mkdir(exist_ok=True)
        # The lock of the runner, which removes what is unfinished while it holds it.
        with (cache / "slipway" / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                subprocess.run(["cp", "--archive", str(newest), str(new)], check=True)
                new.rename(target)
