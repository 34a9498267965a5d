"""Our reading of locks against the real npm: the same tree, file by file.

Each lock shape is installed twice: plainly by npm from the registry, and offline from the reduced
files and a cache that holds contents alone. Then the production subset that the lock's flags cut
out of that install is held against `npm ci --omit=dev`. Needs a registry and npm on this machine;
`python -m pytest tests/npm` took eight minutes on two busy cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from build_rules.lib import fetch_lock, npm_lock, npm_manifest, npm_normalise, npm_production
from build_rules.lib.errors import SlipwayError
from tests.npm import npm_tools
from tests.npm.make_fixtures import FIXTURES, SHAPES, replace
from tests.npm.npm_tools import FIXTURE_FILES, FIXTURE_REGISTRY, NPM_6, NPM_6_OLD_NODE, NPM_8, Npm

pytestmark = pytest.mark.skipif(not npm_tools.available(), reason="no npm on this machine")

SANDBOX = Path(__file__).parents[2] / "build_rules" / "sandbox"


def _cases() -> Iterator[Any]:
    for name, shape in SHAPES.items():
        npms = {1: [NPM_6, NPM_6_OLD_NODE], 2: [NPM_8], 3: [NPM_8]}[shape.lock_version]
        if shape.lock_version == 2 and "workspaces" not in name:
            npms = npms + [NPM_6]
        for npm in npms:
            yield pytest.param(name, npm, id=f"{name}-{npm}")


@dataclass(frozen=True)
class App:
    """An application in a scratch folder, its lock and its fetch lock."""

    folder: Path
    scratch: Path
    npm: Npm
    lock: npm_lock.NpmLock
    fetch: fetch_lock.FetchLock

    def copy(self, name: str) -> Path:
        target = self.scratch / name / "app"
        shutil.copytree(self.folder, target)
        return target

    def offline(self) -> Path:
        """The application's folder after an offline install from the reduced files."""
        target, cache = self.scratch / "offline" / "app", self.scratch / "cache"
        manifests = {path: (self.folder / path).read_text() for path in self.lock.manifests}
        npm_manifest.require_npm(self.lock, self.npm.npm_version)
        npm_manifest.require_in_step(self.lock, manifests)
        npmrc = self.folder / ".npmrc"
        reduced = npm_normalise.normalise(
            self.lock,
            self.fetch,
            manifests,
            self.npm.npm_version,
            npmrc.read_text() if npmrc.exists() else None,
        )
        for path, content in reduced.files:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content)
        for package in self.lock.local_tarballs:
            assert package.source
            (target / package.source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / package.source, target / package.source)
        for folder in self.lock.link_targets:
            manifest = json.loads(manifests[f"{folder}/package.json"])
            for file in npm_normalise.bin_files(manifest):
                if (self.folder / folder / file).is_file():
                    (target / folder / file).parent.mkdir(parents=True, exist_ok=True)
                    (target / folder / file).write_text("")
        self._fetch(cache)
        (cache / "_cacache" / "tmp").mkdir(parents=True, exist_ok=True)
        _check(self.npm.run(target, self.scratch, "ci", offline_cache=cache))
        return target

    def _fetch(self, cache: Path) -> None:
        major = npm_manifest.npm_major(self.npm.npm_version)
        request = self.scratch / "request.json"
        request.write_text(
            json.dumps(
                [
                    {
                        "kind": "url" if one.tarball.url else "npm",
                        "name": one.tarball.name,
                        "version": one.tarball.version,
                        "integrity": one.tarball.integrity,
                        "url": one.tarball.url,
                        "sha256": one.sha256,
                        "size": one.size,
                        "path": one.path,
                    }
                    for one in fetch_lock.cached_tarballs(self.lock, self.fetch, major)
                ]
            )
        )
        settings = str(self.scratch / "settings.json")
        _sandbox("fetch_files.py", "--request", str(request), "--settings", settings,
                 "--out", str(cache))  # fmt: skip


@pytest.fixture
def app(request: Any, tmp_path: Path) -> Iterator[App]:
    name, npm = request.param
    folder = tmp_path / "source" / "app"
    shutil.copytree(FIXTURES / name, folder)
    with npm_tools.file_server(folder / "files") as files:
        for path in list(folder.rglob("package*.json")):
            replace(path, {FIXTURE_REGISTRY: npm_tools.registry(), FIXTURE_FILES: files})
        env = {
            key: value
            for key, value in os.environ.items()
            if key in ("PATH", "HOME", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
            or key.lower().startswith("npm_config_")
            or key.lower().endswith("_proxy")
        }
        settings = {
            "cache_dir": str(npm_tools.CACHE / "contents"),
            "home": os.environ.get("HOME"),
            "env": env,
        }
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        lock_file = folder / "package-lock.json"
        _sandbox("write_fetch_lock.py", "--lock", str(lock_file), "--lock-path",
                 "package-lock.json", "--settings", str(tmp_path / "settings.json"),
                 "--out", str(folder / "npm-fetch.lock"))  # fmt: skip
        lock = npm_lock.parse(lock_file.read_text(), "package-lock.json")
        fetch = fetch_lock.parse(
            (folder / "npm-fetch.lock").read_text(), "npm-fetch.lock", "renew it"
        )
        fetch_lock.require_fresh(lock, fetch)
        yield App(folder, tmp_path, npm, lock, fetch)


@pytest.mark.parametrize("app", [pytest.param(c.values, id=c.id) for c in _cases()], indirect=True)
def test_install_and_production_subset_equal_npms_own(app: App) -> None:
    plain = app.copy("plain")
    _check(app.npm.run(plain, app.scratch, "ci"))
    offline = app.offline()
    assert _differences(npm_tools.installed(offline), npm_tools.installed(plain)) == []

    omit = "--production" if app.npm.npm_version.startswith("6.") else "--omit=dev"
    production = app.copy("production")
    _check(app.npm.run(production, app.scratch, "ci", omit))
    subset = _production_subset(app, offline)
    assert _differences(subset, npm_tools.installed(production)) == []


def _set(kind: str, name: str, spec: Optional[str]) -> Callable[[Dict[str, Any]], None]:
    def edit(manifest: Dict[str, Any]) -> None:
        if spec is None:
            del manifest[kind][name]
        else:
            manifest.setdefault(kind, {})[name] = spec

    return edit


def _move(manifest: Dict[str, Any]) -> None:
    manifest["dependencies"]["uglify-es"] = manifest["devDependencies"].pop("uglify-es")


# edit: (whether npm 6 takes it, whether npm 8 does, whether we do for versions 1 and 3)
EDITS: Dict[str, Tuple[Callable[[Dict[str, Any]], None], bool, bool, bool, bool]] = {
    "none": (lambda manifest: None, True, True, True, True),
    "a range that still fits": (_set("dependencies", "debug", "^2.6.0"), True, True, True, True),
    "a range that does not": (_set("dependencies", "debug", "^3.0.0"), False, False, False, False),
    "an exact version": (_set("dependencies", "debug", "2.6.9"), True, True, True, True),
    "a tag": (_set("dependencies", "koa-compose", "latest"), True, True, True, True),
    "another alias": (
        _set("devDependencies", "debug-dev", "npm:ms@2.1.3"), False, False, False, False,
    ),
    "added": (_set("dependencies", "is-odd", "3.0.1"), False, False, False, False),
    "added peer": (_set("peerDependencies", "is-odd", "3.0.1"), True, False, True, False),
    # Here we are stricter: the lock's flags, which cut the production subset, would be wrong.
    "removed": (_set("dependencies", "uglify-js", None), True, True, True, False),
    "moved to production": (_move, True, True, False, False),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("shape", ["v1-mixed", "v3-mixed"])
def test_what_is_in_step_for_npm_is_in_step_for_us(shape: str, edit: str, tmp_path: Path) -> None:
    change, npm_6_takes, npm_8_takes, we_take_1, we_take_3 = EDITS[edit]
    npm, npm_takes, we_take = (
        (NPM_6, npm_6_takes, we_take_1)
        if shape.startswith("v1")
        else (NPM_8, npm_8_takes, we_take_3)
    )
    folder = tmp_path / "app"
    shutil.copytree(FIXTURES / shape, folder)
    for path in folder.glob("package*.json"):
        replace(path, {FIXTURE_REGISTRY: npm_tools.registry()})
    manifest = json.loads((folder / "package.json").read_text())
    change(manifest)
    (folder / "package.json").write_text(json.dumps(manifest))
    lock = npm_lock.parse((folder / "package-lock.json").read_text(), "package-lock.json")
    try:
        npm_manifest.require_in_step(lock, {"package.json": json.dumps(manifest)})
        assert we_take
    except SlipwayError:
        assert not we_take
    assert (npm.run(folder, tmp_path, "ci").returncode == 0) == npm_takes
    assert npm_takes or not we_take


def _production_subset(app: App, full: Path) -> Dict[str, str]:
    lock, major = app.lock, npm_manifest.npm_major(app.npm.npm_version)
    listed = npm_tools.installed(full)
    everything = {package.path for package in lock.packages}
    kept = npm_production.production_paths(lock, major)
    links = {
        path: what[len("link ") :]
        for path, what in listed.items()
        if os.path.basename(os.path.dirname(path)) == ".bin"
    }
    bins = npm_production.production_bins(
        everything,
        kept,
        major,
        links,
        lambda path: (
            json.loads((full / path / "package.json").read_text()) if (full / path).exists() else {}
        ),
        lambda path: (full / path).is_file(),
    )
    subset = {
        path: what
        for path, what in listed.items()
        if path not in links and npm_production.owner(everything, path) in kept
    }
    return {**subset, **{path: f"link {text}" for path, text in bins.items()}}


def _differences(ours: Dict[str, str], npms: Dict[str, str]) -> List[Tuple[str, Any, Any]]:
    return [
        (path, ours.get(path), npms.get(path))
        for path in sorted(set(ours) | set(npms))
        if ours.get(path) != npms.get(path)
    ]


def _sandbox(script: str, *arguments: str) -> None:
    _check(
        subprocess.run(
            [sys.executable, "-I", "-S", "-B", str(SANDBOX / script), *arguments],
            env={},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout
