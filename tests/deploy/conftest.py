"""Hosts as each test finds them: with nothing deployed. Deploys of koa-kkl share fixtures of e2e.

A module makes its hosts once, by a fixture `farm` or `made`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.deploy.fleet import Fleet
from tests.deploy.hosts import HostFarm
from tests.deploy.sites import Site
from tests.e2e.conftest import (  # noqa: F401
    caches,
    first,
    make_workspace,
    session_folder,
    tools,
)


@pytest.fixture
def fleet(farm: HostFarm, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(farm, tmp_path)
    yield made
    for host in farm.hosts:
        made.clean(host)


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Iterator[Site]:
    before = made.deployment
    made.releases = tmp_path
    yield made
    made.clean()
    made.deployment = before
