"""Fixtures of the runner's tests: the real script, with small stand-ins for the packages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.runner.workbench import Bench, Packages, make_packages
from tests.tiers import long_except

SHELLS = ("dash", "busybox sh", "bash --posix")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return make_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def bench(tmp_path: Path, packages: Packages) -> Bench:
    """Nothing in the cache yet: the first run installs."""
    return Bench.make(tmp_path, packages)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, packages: Packages) -> Path:
    bench = Bench.make(tmp_path_factory.mktemp("installed"), packages)
    assert bench.run().ok
    return bench.folder


@pytest.fixture
def warm(tmp_path: Path, packages: Packages, installed: Path) -> Bench:
    """Another workspace with a filled cache: a run only has to write its stamp."""
    bench = Bench.make(tmp_path, packages)
    shutil.copytree(str(installed / "cache"), str(bench.cache), symlinks=True)
    return bench


@pytest.fixture(params=long_except(["dash", "busybox sh"], SHELLS))
def shell(request: Any) -> str:
    """The shells that /bin/sh may be."""
    name: str = request.param
    if shutil.which(name.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{name} is not installed")
    return name
