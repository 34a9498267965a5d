"""What a release carries and what its build script sees, against the real npm: file by file.

Each lock shape is an application of its own in one workspace, and koa-kkl is one too. All are
packaged by the real runner. Then the tree that the build script saw is held against `npm ci`, and
the packages in the release against `npm ci --omit=dev`, both by the same npm from the registry.
Needs a registry and npm on this machine.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import manifest as npm_manifest
from tests.e2e import harness, shared
from tests.e2e.harness import Workspace
from tests.npm import npm_tools
from tests.npm.make_fixtures import FIXTURES, SHAPES, replace
from tests.npm.npm_tools import FIXTURE_FILES, FIXTURE_REGISTRY, NPM_6, NPM_6_OLD_NODE, NPM_8, Npm

pytestmark = pytest.mark.skipif(not npm_tools.available(), reason="no npm on this machine")

LISTER = Path(__file__).with_name("list_tree.js")
KOA_KKL = "apps/koa-kkl"
RUNTIMES = "toolchains/npm-equality"
SCRIPTED = ("bcrypt", "osx-temperature-sensor")
BUILD_FILE = """\
node_app_bundle(
    name="bundle",
    runtime="//{runtimes}:{npm}",
    build_script="list",
    build_outputs=["tree.json"],
    install_scripts={scripts},
)
release_tarball(name="release", bundle=":bundle", static="none", run_script="")
"""
# A release of one member of npm workspaces, beside the release of all of them.
MEMBER = "packages/a"
MEMBER_BUILD_FILE = """\
node_app_bundle(
    name="bundle",
    lockfile="//{folder}/package-lock.json",
    runtime="//{runtimes}:{npm}",
    build_script="",
    runtime_sources=["index.js"],
)
release_tarball(name="release", bundle=":bundle", static="none", run_script="")
"""


@dataclass(frozen=True)
class Case:
    """A lock shape under one npm; `folder` is its application in the workspace."""

    shape: str
    npm: Npm

    @property
    def folder(self) -> str:
        return f"apps/{self.shape}-{self.npm}"


def _cases() -> Iterator[Case]:
    for name, shape in SHAPES.items():
        npms = {1: [NPM_6, NPM_6_OLD_NODE], 2: [NPM_8], 3: [NPM_8]}[shape.lock_version]
        if shape.lock_version == 2 and "workspaces" not in name:
            npms = npms + [NPM_6]
        yield from (Case(name, npm) for npm in npms)


CASES = list(_cases())
WORKSPACES = Case("v3-workspaces", NPM_8)
# The long tier has every shape under every npm; another npm needs a runtime of its own.
QUICK = dict.fromkeys(("v3-mixed", "v3-workspaces"), NPM_8)


def _write_app(folder: Path, case: Case, files: str) -> None:
    shutil.copytree(FIXTURES / case.shape, folder)
    for path in list(folder.rglob("package*.json")):
        replace(path, {FIXTURE_REGISTRY: npm_tools.registry(), FIXTURE_FILES: files})
    manifest = json.loads((folder / "package.json").read_text())
    manifest["scripts"] = {"list": "node list_tree.js"}
    (folder / "package.json").write_text(json.dumps(manifest))
    shutil.copy(LISTER, folder)
    (folder / "service").mkdir()
    (folder / "service" / "index.js").write_text("")
    # Neither here nor in npm's own install that it is compared with do scripts run.
    locked = (folder / "package-lock.json").read_text()
    scripts = {name: "skip" for name in SCRIPTED if name in locked}
    (folder / "BUILD").write_text(
        BUILD_FILE.format(npm=case.npm, runtimes=RUNTIMES, scripts=scripts)
    )
    if case == WORKSPACES:
        (folder / MEMBER / "index.js").write_text("")
        (folder / MEMBER / "BUILD").write_text(
            MEMBER_BUILD_FILE.format(npm=case.npm, runtimes=RUNTIMES, folder=case.folder)
        )


def _runtimes() -> str:
    npms = sorted({case.npm for case in CASES}, key=str)
    return "".join(
        f'node_runtime(name="{npm}", version="{npm.node_version}", npm_version="{npm.npm_version}")\n'
        for npm in npms
    )


@pytest.fixture(scope="module")
def packaged(request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A workspace in which every case of this run and koa-kkl have been packaged."""
    parameters = [
        getattr(getattr(item, "callspec", None), "params", {}) for item in request.session.items
    ]
    chosen = list(dict.fromkeys(one["case"] for one in parameters if "case" in one))
    with harness.scratch_folder("npm-") as scratch, npm_tools.file_server(scratch) as files:
        path = str(harness.tools_folder(scratch / "tools"))
        caches = shared.filled_caches(scratch / "caches", path)
        with Workspace.make(scratch / "clone", caches, path) as workspace:
            for served in FIXTURES.glob("*/files/*"):
                shutil.copy(served, scratch)
            for case in chosen:
                _write_app(workspace.root / case.folder, case, files)
            (workspace.root / RUNTIMES).mkdir()
            (workspace.root / RUNTIMES / "BUILD").write_text(_runtimes())
            resolves = [f"--resolve=npm:{case.folder}" for case in chosen]
            workspace.pants("generate-lockfiles", *resolves).ok()
            releases = [f"//{case.folder}:release" for case in chosen]
            if WORKSPACES in chosen:
                releases.append(f"//{WORKSPACES.folder}/{MEMBER}:release")
            workspace.pants("package", f"//{KOA_KKL}:release", *releases).ok()
            yield workspace


def _by_npm(app: Path, npm: Npm, scratch: Path, *arguments: str) -> Dict[str, str]:
    """The tree that npm itself installs from the registry."""
    folder = scratch / "-".join(["npm", *arguments]) / "app"
    shutil.copytree(app, folder)
    done = npm.run(folder, scratch, "ci", *arguments)
    assert done.returncode == 0, done.stdout
    return npm_tools.installed(folder)


def _in_release(tarball: Path) -> Tuple[Dict[str, str], Dict[str, str]]:
    """The packages in a release, and the listing that its build script made, if it made one."""
    with tarfile.open(tarball, "r:gz") as tar:
        packages = npm_tools.installed_in(tar)
        listing = tar.extractfile("tree.json") if "tree.json" in tar.getnames() else None
        seen = json.load(listing) if listing else {}
    return packages, npm_tools.without_record(seen)


def _parameter(case: Case) -> Any:
    marks = () if QUICK.get(case.shape) is case.npm else (pytest.mark.long,)
    return pytest.param(case, id=f"{case.shape}-{case.npm}", marks=marks)


@pytest.mark.parametrize("case", map(_parameter, CASES))
def test_the_installed_trees_are_npms_own(packaged: Workspace, case: Case, tmp_path: Path) -> None:
    app = packaged.root / case.folder
    packages, seen = _in_release(packaged.release(f"{case.folder.replace('/', '.')}/release"))
    assert _differences(seen, _by_npm(app, case.npm, tmp_path)) == []
    omit = "--production" if case.npm.npm_version.startswith("6.") else "--omit=dev"
    assert _differences(packages, _by_npm(app, case.npm, tmp_path, omit)) == []


@pytest.mark.parametrize("case", [WORKSPACES], ids=str)
def test_the_packages_of_a_member_are_npms_own(
    packaged: Workspace, case: Case, tmp_path: Path
) -> None:
    place = f"{case.folder}/{MEMBER}".replace("/", ".")
    packages, _ = _in_release(packaged.release(f"{place}/release"))
    options = ("--omit=dev", f"--workspace={MEMBER}")
    assert (
        _differences(packages, _by_npm(packaged.root / case.folder, case.npm, tmp_path, *options))
        == []
    )
    assert "packages/a/node_modules/debug/package.json" in packages
    assert not [path for path in packages if path.startswith("node_modules/mkdirp/")]


def test_the_packages_of_koa_kkl_are_npms_own(packaged: Workspace, tmp_path: Path) -> None:
    packages, _ = _in_release(packaged.release())
    ours = _by_npm(packaged.root / KOA_KKL, NPM_8, tmp_path, "--omit=dev")
    assert _differences(packages, ours) == []
    assert len(packages) > 1000


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


def _edits() -> Iterator[Any]:
    """For the quick tier, one edit that both take and two that they do not are enough."""
    quick = {"v1-mixed": ("none",), "v3-mixed": ("added", "moved to production")}
    for edit in EDITS:
        for shape, edits in quick.items():
            is_long = edit not in edits
            yield pytest.param(shape, edit, marks=(pytest.mark.long,) if is_long else ())


@pytest.mark.parametrize(("shape", "edit"), _edits())
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


def _differences(ours: Dict[str, str], npms: Dict[str, str]) -> List[Tuple[str, Any, Any]]:
    return [
        (path, ours.get(path), npms.get(path))
        for path in sorted(set(ours) | set(npms))
        if ours.get(path) != npms.get(path)
    ]
