"""Workspaces of rule tests are closed after each test: the next test uses the engine again."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from tests.rules.workspace import Workspace


@pytest.fixture
def make_workspace() -> Iterator[Callable[..., Workspace]]:
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
