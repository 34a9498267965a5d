"""What runs again after a change: counted by where results came from, never by time or by name.

Every clone here is a second one with the store that the session's first run filled. A change is
made in a clone with a daemon, whose own memory counts as little as a hit: what counts is what ran.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from tests.e2e import archives, harness
from tests.e2e.conftest import First, OtherUser
from tests.e2e.counts import HIT_LOCALLY, Counts
from tests.e2e.harness import Caches, Workspace
from tests.e2e.registry_stub import RegistryStub

PACKAGE = ("package", "//apps/koa-kkl:release")
APP = "apps/koa-kkl"
ASSEMBLE = "Assemble koa-kkl-1.4.0-prod.tar.gz"
_VERBS = ("Build", "Pack", "Smoke-test", "Start")
BUILD, PACK, SMOKE, START = (f"{verb} koa-kkl for prod" for verb in _VERBS)
# Processes that inspect the machine and are not build steps. The rules of Slipway need none.
PROBES: Tuple[str, ...] = ()


def installs(counts: Counts) -> List[str]:
    return [one for one in counts.ran if one.startswith("Install ")]


def builds(counts: Counts) -> List[str]:
    return [one for one in counts.ran if one.startswith("Build ")]


def test_nothing_runs_in_a_second_clone_nor_in_a_fresh_daemon(
    first: First, live_clone: Workspace
) -> None:
    live_clone.stop_daemon()
    result = live_clone.pants(*PACKAGE).ok()
    assert result.counts.ran == []
    assert result.counts.steps(HIT_LOCALLY) == first.result.counts.ran
    assert tuple(result.counts.probes) == PROBES
    assert result.counts.fetched == []
    assert live_clone.daemon_pid() is not None
    assert archives.sha256(live_clone.release()) == archives.sha256(first.workspace.release())


def test_nothing_runs_by_a_warm_daemon(live: Workspace) -> None:
    again = [live.pants(*PACKAGE).ok() for _ in range(10)]
    assert [result.counts.runs for result in again] == [()] * len(again)
    seconds = sorted(result.seconds for result in again)
    print("no-op:", " ".join(f"{one:.2f}" for one in seconds), "s")


def test_server_line_runs_neither_install_nor_build(
    live: Workspace,
) -> None:
    live.edit(f"{APP}/service/routes/api.js", lambda text: text + "// A changed line.\n")
    counts = live.pants(*PACKAGE).ok().counts
    assert counts.ran == [ASSEMBLE, PACK, SMOKE, START]


@pytest.mark.long
def test_client_line_runs_the_build_and_no_install(first: First, live: Workspace) -> None:
    live.edit(f"{APP}/src/common/http.js", lambda text: f"window.changed = 1;\n{text}")
    counts = live.pants(*PACKAGE).ok().counts
    assert counts.ran == [ASSEMBLE, BUILD, PACK, SMOKE, START]
    assert archives.sha256(live.release()) != archives.sha256(first.workspace.release())


@pytest.mark.long
def test_version_runs_no_install(live: Workspace) -> None:
    live.edit(f"{APP}/package.json", lambda text: _next_version(text, 1))
    live.edit(f"{APP}/package-lock.json", lambda text: _next_version(text, 2))
    counts = live.pants(*PACKAGE).ok().counts
    assert installs(counts) == []
    assert "Assemble koa-kkl-1.5.0-prod.tar.gz" in counts.ran


def _next_version(text: str, times: int) -> str:
    return text.replace('"version": "1.4.0"', '"version": "1.5.0"', times)


@pytest.mark.long
def test_scripts_run_no_install(live: Workspace) -> None:
    live.edit(
        f"{APP}/package.json", lambda text: text.replace('"lint": "eslint', '"lint": "npx eslint')
    )
    assert installs(live.pants(*PACKAGE).ok().counts) == []


def test_lock_change_runs_one_install_and_fetches_what_changed(
    live: Workspace,
) -> None:
    version = "1.11.10"
    with RegistryStub(upstream=harness.npm_registry()) as registry:
        change_locked_version(live, "dayjs", version)
        live.write_npmrc(registry=registry.url)
        live.pants("generate-lockfiles", "--resolve=npm:apps/koa-kkl").ok()
        counts = live.pants(*PACKAGE).ok().counts
    assert registry.tarballs == [f"/dayjs/-/dayjs-{version}.tgz"]
    assert len(installs(counts)) == 1
    assert len(builds(counts)) == 1


def change_locked_version(clone: Workspace, name: str, version: str) -> None:
    """What `npm install name@version` would do for a package that needs no other."""
    with urllib.request.urlopen(f"{harness.npm_registry()}{name}", timeout=60) as answer:
        published: Dict[str, Any] = json.load(answer)["versions"][version]["dist"]
    manifest = clone.root / APP / "package.json"
    wanted = json.loads(manifest.read_text())
    kind = "dependencies" if name in wanted["dependencies"] else "devDependencies"
    wanted[kind][name] = version
    manifest.write_text(json.dumps(wanted, indent=2) + "\n")
    file = clone.root / APP / "package-lock.json"
    lock = json.loads(file.read_text())
    lock["packages"][""][kind][name] = version
    package = lock["packages"][f"node_modules/{name}"]
    assert package["version"] != version
    package.update(version=version, integrity=published["integrity"])
    file.write_text(json.dumps(lock, indent=2) + "\n")


@pytest.mark.long
def test_four_environments_need_one_install_and_four_builds(
    first: First, make_workspace: Callable[..., Workspace], session_folder: Path
) -> None:
    caches = first.workspace.caches.fresh(session_folder / "caches-four")
    clone = make_workspace("four", caches=caches)
    counts = clone.pants("package", "//apps/koa-kkl:releases").ok().counts
    assert len(installs(counts)) == 1
    assert builds(counts) == [
        f"Build koa-kkl for {env}" for env in ("pre", "prod", "sit", "stable")
    ]
    assert len([one for one in counts.ran if one.startswith("Make Node.js")]) == 1


@pytest.mark.long
def test_another_user_with_other_options_asks_for_the_same_actions(
    first: First, other_user: OtherUser, scratch: Path, tools: str
) -> None:
    """A store that one user filled has every result for another: no key differs."""
    ours = first.workspace.pants(*PACKAGE).ok().counts
    nobody, store = other_user.user, first.workspace.caches.store
    caches = Caches(scratch / "caches", other_user.runner, shared_store=store)
    root = scratch / "a clöne of nobody" / "in a deeper folder"
    other = Workspace.make(root, caches, tools, owner=nobody, umask=0o077)
    harness.own(store, nobody)
    options = (
        *("--slipway-step-time-limit=1234", "--slipway-npm-registry=http://127.0.0.1:9/"),
        *("--process-execution-local-parallelism=1", "--rule-threads-core=2", "--level=debug"),
    )
    with other:
        theirs = other.pants(*options, *PACKAGE, env={"TZ": "Asia/Shanghai"}).ok().counts
    assert theirs.ran == []
    assert theirs.steps(HIT_LOCALLY) == first.result.counts.ran
    assert theirs.keys == ours.keys
