"""What the end-to-end tests share: a scratch folder, caches that are filled once, and their tiers.

pytest tests/e2e                   the quick tier
pytest tests/e2e -m "e2e or long"  all
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from tests.e2e import harness, shared
from tests.e2e.engine import Engine, running_engine
from tests.e2e.harness import Caches, Result, User, Workspace
from tests.unit.registry_stub import Registry


def pytest_collection_modifyitems(config: Any, items: List[Any]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in Path(str(item.fspath)).parents:
            continue
        if item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.e2e)
        elif "long" not in (config.option.markexpr or ""):
            item.add_marker(pytest.mark.skip(reason="long tier: run it with -m long"))
        if harness.npm_registry() is None:
            item.add_marker(pytest.mark.skip(reason="no npm registry is configured here"))


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    with harness.scratch_folder() as folder:
        # Clones of one session are equal, also while somebody edits the repository.
        harness.copy_repository(folder / "repository")
        harness.origin = folder / "repository"
        yield folder
        harness.origin = harness.REPOSITORY


@pytest.fixture(scope="session")
def tools(session_folder: Path) -> str:
    """A PATH that has what a Linux machine has, less node, npm and docker."""
    return str(harness.tools_folder(session_folder / "tools"))


@pytest.fixture
def scratch(session_folder: Path) -> Iterator[Path]:
    with harness.scratch_folder("test-") as folder:
        yield folder


@dataclass(frozen=True)
class First:
    """The first run of a session: a fresh clone, empty caches, and what came of it."""

    workspace: Workspace
    result: Result


@dataclass(frozen=True)
class OtherUser:
    user: User
    runner: Path


@pytest.fixture(scope="session")
def first(session_folder: Path) -> Iterator[First]:
    """koa-kkl's release, packaged as on a machine that never saw Slipway.

    No node, npm or docker, no Python that Pants could run on, and false tools that come first.
    The other tests of its session start from the caches that this run filled.
    """
    false = harness.false_tools(
        session_folder / "false-tools", ("python3", "tar", "gzip", "sed", "find")
    )
    hidden = (*harness.HIDDEN_TOOLS, "python3.7", "python3.8", "python3.9")
    bare = harness.tools_folder(session_folder / "bare-tools", hidden)
    root = session_folder / "clones" / "first" / "clone"
    with Workspace.make(root, Caches(session_folder / "caches"), f"{false}:{bare}") as workspace:
        yield First(workspace, workspace.pants("package", "//apps/koa-kkl:release").ok())


@pytest.fixture(scope="session")
def caches(request: Any, session_folder: Path, tools: str) -> Caches:
    """Filled caches that the tests of a session share: those of its first run, if it has one."""
    if any("first" in item.fixturenames for item in request.session.items):
        first: First = request.getfixturevalue("first")
        return first.workspace.caches
    return shared.filled_caches(session_folder / "caches", tools)


@pytest.fixture(scope="session")
def built(first: First) -> Workspace:
    """A clone in which koa-kkl's release has been packaged, for tests that change nothing in it."""
    return first.workspace


@pytest.fixture(scope="session")
def other_user(session_folder: Path) -> OtherUser:
    """A plain user, with a Pants of his own that his tests share."""
    if not harness.can_become_another_user():
        pytest.skip("only root can start the runner as another user")
    user, runner = harness.user("nobody"), session_folder / "runner of nobody"
    runner.mkdir()
    harness.own(runner, user)
    return OtherUser(user, runner)


@pytest.fixture(scope="session")
def engine(session_folder: Path) -> Iterator[Engine]:
    with running_engine(session_folder / "engine") as started:
        yield started


@pytest.fixture(scope="session")
def with_docker(session_folder: Path, tools: str) -> str:
    """A PATH with the docker client."""
    folder = session_folder / "docker-client"
    folder.mkdir()
    client = shutil.which("docker")
    if client is None:
        pytest.skip("no docker here: apt-get install docker.io")
    (folder / "docker").symlink_to(client)
    return f"{folder}:{tools}"


@pytest.fixture
def mirror() -> Iterator[Registry]:
    """A mirror of binaries that has nothing yet."""
    with Registry({}) as server:
        yield server


@pytest.fixture(scope="session")
def make_workspace(
    session_folder: Path, caches: Caches, tools: str
) -> Iterator[Callable[..., Workspace]]:
    """Makes clones by name, with any field of Workspace; ends all that their runs started."""
    made: List[Workspace] = []

    def make(name: str, **settings: Any) -> Workspace:
        root = session_folder / "clones" / f"{len(made)}-{name}" / "clone"
        workspace = Workspace.make(root, **{"caches": caches, "path": tools, **settings})
        made.append(workspace)
        return workspace

    yield make
    for workspace in made:
        workspace.close()


@pytest.fixture(scope="session")
def shared_clone(make_workspace: Callable[..., Workspace]) -> Workspace:
    """A clone with a daemon for several modules, each of which writes applications of its own."""
    return make_workspace("shared", daemon=True)


@pytest.fixture(scope="session")
def live_clone(make_workspace: Callable[..., Workspace]) -> Workspace:
    clone = make_workspace("live", daemon=True)
    clone.commit()
    return clone


@pytest.fixture
def live(live_clone: Workspace) -> Iterator[Workspace]:
    """A clone with a daemon, for tests that change a file or two: each finds it as committed."""
    live_clone.pants("package", "//apps/koa-kkl:release").ok()
    yield live_clone
    live_clone.git("reset", "--quiet", "--hard")
    live_clone.git("clean", "--quiet", "--force", "-d")
    live_clone.write_npmrc()
