"""The arenas: each way to isolate a step, as each user that it works for.

with open_arena("inside as a plain user", surroundings) as arena:
    cells = Campaign(arena).run(ATTACKS)
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, List, Mapping, Sequence, Tuple

from tests.e2e import harness
from tests.e2e.attacks.arena import Arena, Package
from tests.e2e.engine import Engine
from tests.e2e.harness import Caches, User, Workspace
from tests.e2e.job_container import container, copied_root

ROOT, PLAIN = "root", "plain user"
ARENAS: Mapping[str, Tuple[str, str]] = {
    "namespaces as root": ("namespaces", ROOT),
    "namespaces as a plain user": ("namespaces", PLAIN),
    "docker": ("docker", ROOT),
    "chroot": ("chroot", ROOT),
    "inside as root": ("inside", ROOT),
    "inside as a plain user": ("inside", PLAIN),
}
STEP_USER = User("build", 1000, 1000)
_COMPILER = "usr/bin/gcc-10"


@dataclass
class Surroundings:
    """What arenas share: caches in which everything is that no attack changes, and tools.

    `engine` starts a Docker engine, or gives one that runs. Containers see `folder`, in which caches
    and tools must be.
    `groups` are those of a fence.
    """

    folder: Path
    caches: Caches
    tools: str
    engine: Callable[[], Engine]
    groups: Sequence[Path] = ()
    made: List[str] = field(default_factory=list)

    def new_folder(self, name: str) -> Path:
        self.made.append(name)
        path = self.folder / f"{len(self.made)}-{name}"
        path.mkdir()
        path.chmod(0o755)
        return path


@contextlib.contextmanager
def open_arena(name: str, surroundings: Surroundings) -> Iterator[Arena]:
    isolator, user = ARENAS[name]
    openers = {
        ("namespaces", ROOT): _as_tester,
        ("namespaces", PLAIN): _as_plain_user,
        ("docker", ROOT): _by_docker,
        ("chroot", ROOT): _as_tester,
        ("inside", ROOT): _inside,
        ("inside", PLAIN): _inside,
    }
    with openers[isolator, user](surroundings, isolator, user) as arena:
        yield arena


@contextlib.contextmanager
def _as_tester(surroundings: Surroundings, isolator: str, user: str) -> Iterator[Arena]:
    folder = surroundings.new_folder(isolator)
    with Workspace.make(
        folder / "clone", surroundings.caches, surroundings.tools
    ) as workspace, Arena(
        workspace, _scratch(folder), isolator, groups=surroundings.groups
    ) as arena:
        yield arena


def _scratch(folder: Path) -> Path:
    path = folder / "scratch"
    path.mkdir()
    return path


@contextlib.contextmanager
def _as_plain_user(surroundings: Surroundings, isolator: str, user: str) -> Iterator[Arena]:
    """Nobody, who has caches and a Pants of his own."""
    folder, owner = surroundings.new_folder("plain"), harness.user("nobody")
    caches = _own_caches(surroundings, folder, owner)
    with Workspace.make(folder / "clone", caches, surroundings.tools, owner=owner) as workspace:
        scratch = _scratch(folder)
        harness.own(scratch, owner)
        with Arena(workspace, scratch, isolator, owner=owner, groups=surroundings.groups) as arena:
            yield arena


def _own_caches(surroundings: Surroundings, folder: Path, owner: User) -> Caches:
    """A copy of the caches that belongs to that user, without the runner's, which it makes again."""
    caches = Caches(folder / "caches").make()
    for source, target in (
        (surroundings.caches.store, caches.store),
        (surroundings.caches.named, caches.named),
    ):
        # Trees prove by their times that nobody has changed them: they are unpacked again.
        ignored = shutil.ignore_patterns("slipway_trees")
        shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    harness.own(caches.folder, owner)
    return caches


@contextlib.contextmanager
def _by_docker(surroundings: Surroundings, isolator: str, user: str) -> Iterator[Arena]:
    folder, engine = surroundings.new_folder("docker"), surroundings.engine()
    client = folder / "client"
    client.mkdir()
    (client / "docker").symlink_to(shutil.which("docker") or "/usr/bin/docker")
    path = f"{client}:{surroundings.tools}"
    with Workspace.make(folder / "clone", surroundings.caches, path) as workspace, Arena(
        workspace, _scratch(folder), isolator, env=engine.env, groups=surroundings.groups
    ) as arena:
        yield arena
        assert engine.containers() == [], "containers are left"


@contextlib.contextmanager
def _inside(surroundings: Surroundings, isolator: str, user: str) -> Iterator[Arena]:
    """In a container of the compiler's image, which has all of the base image too.

    That machine has neither mirrors nor name servers: all that no attack changes must be in the
    caches already.
    """
    folder = surroundings.new_folder("inside")
    owner = STEP_USER if user == PLAIN else None
    caches = _own_caches(surroundings, folder, owner) if owner else surroundings.caches
    with Workspace.make(folder / "clone", caches, surroundings.tools, owner=owner) as workspace:
        scratch, image = _scratch(folder), folder / "image"
        image.mkdir()
        copied_root(_of_caches(surroundings), _COMPILER, image)
        if owner:
            harness.own(scratch, owner)
            for place in (image / "build", image / "home" / "build"):
                place.mkdir(parents=True, exist_ok=True)
                harness.own(place, owner)
            # The container has no index to install Pants from.
            workspace.pants("--version", env={"PANTS_PANTSD": "false"}).ok()
        before = container(image, surroundings.folder, uid=owner.uid if owner else 0)
        with Arena(
            workspace,
            scratch,
            isolator,
            before,
            owner=owner,
            machine_root=image,
            groups=surroundings.groups,
        ) as arena:
            yield arena


def _of_caches(surroundings: Surroundings) -> Workspace:
    """A workspace for what only reads caches."""
    folder = surroundings.folder
    return Workspace(folder, folder, surroundings.caches, surroundings.tools)


def fill_caches(surroundings: Surroundings) -> None:
    """Builds once all that attacks have around them: images, runtimes, and an honest package."""
    folder = surroundings.new_folder("first")
    with Workspace.make(
        folder / "clone", surroundings.caches, surroundings.tools
    ) as workspace, Arena(
        workspace, _scratch(folder), "namespaces", groups=surroundings.groups
    ) as arena:
        honest = Package("honest", "find_traces")
        for target in (
            arena.write_app("honest", [honest]),
            arena.write_built_app("honest-build", [honest]),
            arena.write_runtime("honest-runtime", [honest]),
        ):
            run = arena.build("package", target)
            assert run.outcome.code == 0, run.output
