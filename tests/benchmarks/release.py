"""Measures `./pants package //apps/koa-kkl:release` against the usual script, side by side.

    python3 tests/benchmarks/release.py --runs 3

Each round makes two fresh clones with empty caches and takes one sample of every measure on both
sides, one after the other, on one machine and one registry. Nothing here is asserted: the figures
are for people, and a busy machine is slow on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "build_rules"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.figures import OURS, THEIRS, Figures, Measure
from tests.e2e import harness
from tests.e2e.harness import Caches, Workspace

APP = "apps/koa-kkl"
TARGET = f"//{APP}:release"
TINY = "apps/tiny"
TINY_BUILD = """\
node_app_bundle(name="bundle", build_script="")
release_tarball(name="release", bundle=":bundle", static="none", run_script="")"""
DEV_CHANGE, PROD_CHANGE = "dayjs@1.11.10", "nunjucks@3.2.3"
NO_OPS = 5  # a no-op is short: its sample is the median of these

MEASURES = (
    Measure("bootstrap", "runner's environment, once per user and version"),
    Measure("base_image", "base image, once"),
    Measure("runtime", "Node runtime as a layer, once per version"),
    Measure("start", "start of Pants' daemon, once until it is idle for hours"),
    Measure("cold", "cold after bootstrap: nothing fetched, nothing installed"),
    Measure("no_op", "nothing changed"),
    Measure("server_line", "a server line"),
    Measure("client_line", "a client line"),
    Measure("version_bump", "a new version in package.json"),
    Measure("dev_lock_change", "another version of a dev dependency"),
    Measure("prod_lock_change", "another version of a dependency"),
    Measure("cold_all", "cold, everything from nothing"),
)


class PlainWorkspace(Workspace):
    """A workspace without what the tests add to count steps: it would be measured too."""

    def environment(self, more: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
        env = super().environment(more)
        for name in ("PYTHONPATH", "BACKEND_PACKAGES", "COUNTING_FILE"):
            env.pop(f"PANTS_{name}", None)
        # Pants' default; the workspace's limit is for its tests.
        env["PANTS_PROCESS_EXECUTION_LOCAL_PARALLELISM"] = str(os.cpu_count() or 1)
        return env


class ScriptSide:
    """A clone in which the script runs, with a home, an npm cache and a Node of its own."""

    def __init__(self, folder: Path, node: Path, path: str) -> None:
        self.app = folder / "clone" / APP
        self._home = folder / "home"
        self._env = {
            "PATH": f"{node / 'bin'}:{path}",
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "npm_config_cache": str(folder / "npm-cache"),
            **{name: os.environ[name] for name in harness.PASSED_ON if name in os.environ},
        }
        harness.copy_repository(folder / "clone")
        self._home.mkdir()
        (self._home / ".npmrc").write_text(f"registry={harness.npm_registry()}\n")
        self.complete_lock()

    def complete_lock(self) -> None:
        """Fills in the addresses that koa-kkl's lock leaves out: npm is quicker with them."""
        path = self.app / "package-lock.json"
        lock = json.loads(path.read_text())
        registry = str(harness.npm_registry()).rstrip("/")
        for place, package in lock["packages"].items():
            if place and "integrity" in package and "resolved" not in package:
                name = package.get("name") or place.rsplit("node_modules/", 1)[1]
                file = f"{name.rsplit('/', 1)[-1]}-{package['version']}.tgz"
                package["resolved"] = f"{registry}/{name}/-/{file}"
        path.write_text(json.dumps(lock, indent=2) + "\n")

    def run(self) -> float:
        script = Path(__file__).with_name("old_script.sh")
        return self._timed("sh", str(script))

    def change_lock(self, package: str, kind: str) -> None:
        self._timed(
            "npm", "install", "--package-lock-only", "--ignore-scripts", kind, "-E", package
        )

    def _timed(self, *command: str) -> float:
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.app,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
        return seconds


class Round:
    """One round: both sides from nothing, then every edit on both."""

    def __init__(self, number: int, folder: Path, path: str, figures: Figures) -> None:
        self._number, self._folder, self._path = number, folder, path
        self._figures = figures
        self._workspace = self._fresh_workspace("ours")
        self._script: Optional[ScriptSide] = None

    def _fresh_workspace(self, name: str) -> PlainWorkspace:
        caches = Caches(self._folder / f"{name}-caches")
        root = self._folder / name / "clone"
        made = PlainWorkspace.make(root, caches, self._path, daemon=True)
        assert isinstance(made, PlainWorkspace)
        return made

    def measure(self) -> None:
        with self._workspace:
            self._ours("bootstrap", "--version")
            self._ours("base_image", "package", "//toolchains/base")
            self._write_tiny_app()
            self._ours("runtime", "package", f"//{TINY}:release")
            self._workspace.stop_daemon()
            self._ours("start", "--version")
            self._script = ScriptSide(self._folder / "script", self._unpack_node(), self._path)
            self._pair("cold")
            self._no_op()
            self._edit_pair("server_line", "service/server.js", self._comment)
            self._edit_pair("client_line", "src/pages/home/index.js", self._statement)
            self._edit_pair("version_bump", "package.json", self._version)
            self._lock_pair("dev_lock_change", DEV_CHANGE, "--save-dev")
            self._lock_pair("prod_lock_change", PROD_CHANGE, "--save-prod")
        with self._fresh_workspace("all") as workspace:
            self._ours("cold_all", "package", TARGET, workspace=workspace)

    def _write_tiny_app(self) -> None:
        """An application of one file and no packages: its release is little else than Node."""
        folder = self._workspace.root / TINY
        (folder / "service").mkdir(parents=True)
        about = {"name": "tiny", "version": "1.0.0"}
        lock = {**about, "lockfileVersion": 3, "packages": {"": about}}
        for name, text in (
            ("package.json", json.dumps(about)),
            ("package-lock.json", json.dumps(lock)),
            ("service/index.js", ""),
            ("BUILD", TINY_BUILD),
        ):
            (folder / name).write_text(text + "\n")
        self._workspace.pants("generate-lockfiles", f"--resolve=npm:{TINY}").ok()

    def _unpack_node(self) -> Path:
        release = self._workspace.release(f"{TINY.replace('/', '.')}/release")
        with tarfile.open(release, "r:gz") as tar:
            tar.extractall(self._folder / "tiny")
        return self._folder / "tiny" / "node_runtime"

    def _ours(self, key: str, *arguments: str, workspace: Optional[Workspace] = None) -> None:
        result = (workspace or self._workspace).pants(*arguments).ok()
        self._add(key, OURS, result.seconds)

    def _theirs(self, key: str) -> None:
        assert self._script is not None
        self._add(key, THEIRS, self._script.run())

    def _add(self, key: str, side: str, seconds: float) -> None:
        self._figures.add(key, side, seconds)
        load = os.getloadavg()[0]
        print(f"round {self._number}: {key}, {side}: {seconds:.2f} s, load {load:.1f}", flush=True)

    def _pair(self, key: str) -> None:
        # Each side goes first in every other round: the second finds its sources in memory.
        sides: List[Callable[[], None]] = [
            lambda: self._ours(key, "package", TARGET),
            lambda: self._theirs(key),
        ]
        for side in sides if self._number % 2 else reversed(sides):
            side()

    def _no_op(self) -> None:
        times = [self._workspace.pants("package", TARGET).ok().seconds for _ in range(NO_OPS)]
        self._add("no_op", OURS, sorted(times)[NO_OPS // 2])
        self._theirs("no_op")

    def _edit_pair(self, key: str, path: str, change: Callable[[str], str]) -> None:
        assert self._script is not None
        for folder in (self._workspace.root / APP, self._script.app):
            file = folder / path
            file.write_text(change(file.read_text()))
        self._pair(key)

    def _lock_pair(self, key: str, package: str, kind: str) -> None:
        """npm writes the new lock once; both sides get it before the clock runs."""
        assert self._script is not None
        self._script.change_lock(package, kind)
        for name in ("package.json", "package-lock.json"):
            content = (self._script.app / name).read_bytes()
            (self._workspace.root / APP / name).write_bytes(content)
        self._script.complete_lock()
        self._workspace.pants("generate-lockfiles", f"--resolve=npm:{APP}").ok()
        self._pair(key)

    def _comment(self, text: str) -> str:
        return f"{text}\n// round {self._number}\n"

    def _statement(self, text: str) -> str:
        return f"{text}\nwindow.benchmarkRound = {self._number};\n"

    def _version(self, text: str) -> str:
        return re.sub(r'"version": "[^"]+"', f'"version": "9.9.{self._number}"', text, count=1)


def machine() -> Dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "load_at_start": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--runs", type=int, default=3, help="rounds, each a sample of every measure"
    )
    parser.add_argument("--json", type=Path, default=Path("dist/benchmarks/release.json"))
    options = parser.parse_args()
    if harness.npm_registry() is None:
        raise SystemExit("no npm registry is configured: add a line registry=… to ~/.npmrc")
    figures, about = Figures(MEASURES), machine()
    for number in range(1, options.runs + 1):
        with harness.scratch_folder(f"benchmark-{number}-") as folder:
            path = str(harness.tools_folder(folder / "tools"))
            Round(number, folder, path, figures).measure()
        document = {"schema_version": 1, "machine": about, "measures": figures.document()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{about['cores']} cores, load {about['load_at_start']} at the start\n")
    print(figures.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
