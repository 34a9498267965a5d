"""Workspaces of rule tests are closed after each test, and the next test uses their engines."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from tests.rules.workspace import Workspace, shut_down


@pytest.fixture(scope="session")
def engines() -> Iterator[None]:
    yield
    shut_down()


@pytest.fixture
def make_workspace(engines: None) -> Iterator[Callable[..., Workspace]]:
    made: List[Workspace] = []

    def make(*options: str, **settings: Any) -> Workspace:
        made.append(Workspace(*options, **settings))
        return made[-1]

    yield make
    for workspace in made:
        workspace.close()


@pytest.fixture
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()
