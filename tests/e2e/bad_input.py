"""One bad input: what is broken, what the message must say, and that nothing else changed.

A row is tried like a user would: the application is sound but for one thing, the command fails
with words, everything on disk is as it was, and the same command succeeds once the cause is gone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, Mapping, Optional, Tuple

from slipway.isolation import tree_cache
from tests.e2e.harness import Result, Workspace
from tests.e2e.tiny_app import TinyApp
from tests.unit.registry_stub import Registry

TOKEN = "s3cret-of-the-user"
# What no message may hold: Python's own reports, logins, places inside of sandboxes.
NEVER = ("Traceback (most recent call last)", TOKEN, "pants-sandbox-", "SlipwayError(")
# What Pants writes before the message of an exception that is not Slipway's.
OF_PANTS = ("Exception encountered", "Engine traceback", "SlipwayError")
_PASSING = (".pants.d", ".pids", "__pycache__", ".git")


@dataclass
class Line:
    """A workspace with the daemon, whose registry is a stub that can misbehave."""

    workspace: Workspace
    registry: Registry

    def add_package(self, name: str, content: bytes) -> None:
        self.registry.packages = {**self.registry.packages, name: {"1.0.0": content}}

    def app(self, name: str, packages: Optional[Mapping[str, bytes]] = None) -> TinyApp:
        """A sound application, whose packages the stub has."""
        for one, content in (packages or {}).items():
            self.add_package(one, content)
        app = TinyApp(self.workspace, f"apps/{name}", packages or {})
        app.write()
        return app


@dataclass(frozen=True)
class Case:
    """`spoil` breaks a sound application; each text of `told` is in the message."""

    spoil: Callable[[Line, TinyApp], object]
    told: Tuple[str, ...]
    options: Tuple[str, ...] = ()
    packages: Tuple[str, ...] = ()
    unwanted: Tuple[str, ...] = ()


def state_of(workspace: Workspace) -> Dict[str, object]:
    """All that a failing command must leave as it is."""
    runner = workspace.caches.runner / "slipway" / "environments"
    return {
        "files": dict(_files(workspace.root, _PASSING)),
        "roots": dict(_roots(workspace.caches.named / "slipway_trees")),
        "environment": dict(_facts(runner)),
        "home": dict(_files(workspace.home, ("counts.jsonl",))),
    }


def _files(top: Path, passing: Tuple[str, ...]) -> Iterator[Tuple[str, str]]:
    """Files of the workspace, `dist` and locks included, by their content."""
    for folder, folders, files in os.walk(os.fsencode(top)):
        folders[:] = [one for one in folders if os.fsdecode(one) not in passing]
        for name in files:
            path = os.path.join(folder, name)
            if os.fsdecode(name) in passing or os.path.islink(path):
                continue
            with open(path, "rb") as file:
                yield os.fsdecode(path), hashlib.sha256(file.read()).hexdigest()


def _roots(cache: Path) -> Iterator[Tuple[str, object]]:
    for path in sorted(cache.iterdir()) if cache.is_dir() else []:
        if path.suffix != ".lock":
            yield (
                path.name,
                tree_cache.fingerprint(str(path)) if path.is_dir() else path.read_text(),
            )


def _facts(top: Path) -> Iterator[Tuple[str, object]]:
    for folder, _, files in os.walk(top):
        for name in files:
            if not name.endswith(".pyc"):
                facts = os.lstat(os.path.join(folder, name))
                yield os.path.join(folder, name), (facts.st_size, facts.st_mtime_ns, facts.st_mode)


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> Dict[str, object]:
    found: Dict[str, object] = {}
    for part in before:
        one, other = before[part], after[part]
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        changed = {key for key in {*one, *other} if one.get(key) != other.get(key)}
        if changed:
            found[part] = sorted(changed)
    return found


def assert_told(result: Result, told: Tuple[str, ...], unwanted: Tuple[str, ...] = ()) -> None:
    for text in told:
        assert text in result.output, f"not told: {text}\n{result.output}"
    for text in (*NEVER, *unwanted):
        assert text not in result.output, f"must not be in the output: {text}\n{result.output}"


def try_case(line: Line, case: Case, name: str, packages: Mapping[str, bytes]) -> None:
    """Runs one case from the fault to the success after it."""
    app = line.app(name, packages)
    case.spoil(line, app)
    before = state_of(line.workspace)
    command = (*case.options, "package", app.release)
    result = line.workspace.pants(*command, timeout=120).failed()
    assert_told(result, case.told, (*OF_PANTS, *case.unwanted))
    assert differences(before, state_of(line.workspace)) == {}
    line.registry.faults.clear()
    for one, content in packages.items():
        line.add_package(one, content)
    TinyApp(line.workspace, app.folder, packages).write()
    line.workspace.pants(*command, timeout=120).ok()
    assert list(line.workspace.dist(f"apps.{name}").glob("release/*.tar.gz"))
