"""Real Debian packages for tests, fetched as users' builds fetch them: by the lock, by hash.

A machine on which no mirror can be reached fails these tests; it does not skip them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Optional, Sequence

from slipway.debian.apt_config import read_apt_config
from slipway.debian.lock import DebianLock, read_lock
from slipway.debian.mirrors import DebianMirrors
from slipway.fetch.download import Content, ContentCache
from slipway.fetch.jobs import Job, run_jobs
from tests.places import REPOSITORY

BASE = REPOSITORY / "toolchains" / "base"
# The option `[slipway] debian_mirror`, as Pants reads it from the environment.
MIRROR_VARIABLE = "PANTS_SLIPWAY_DEBIAN_MIRROR"


def base_lock() -> DebianLock:
    path = BASE / "packages.lock"
    return read_lock(path.read_text(), str(path))


def fetch_packages(
    folder: Path, names: Optional[Sequence[str]] = None, lock: Optional[DebianLock] = None
) -> Dict[str, Path]:
    """Packages of `lock`, or else of the base image, as `<sha256>.deb` in `folder`, by name; all
    without `names`."""
    mirrors = DebianMirrors(read_apt_config(os.environ, os.environ.get(MIRROR_VARIABLE)))
    cache = ContentCache(str(folder / "cache"))
    jobs, paths = [], {}
    for package in (lock or base_lock()).packages:
        if names is None or package.name in names:
            content = Content(sha256=package.sha256, size=package.size)
            paths[package.name] = folder / f"{package.sha256}.deb"
            jobs.append(
                Job(
                    package.name,
                    package.size,
                    lambda package=package, content=content: mirrors.fetch(  # type: ignore[misc]
                        package.name, package.filename, content, cache
                    ),
                )
            )
    for stored, path in zip(run_jobs(jobs), paths.values()):
        assert cache.copy_to(Content(sha256=stored.sha256), str(path))
    return paths
