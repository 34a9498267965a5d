"""A release of one member of npm workspaces: `shop/apps/web` uses `shop/libs/lib`; `admin` is another."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Optional, Set

import pytest
from pants.core.goals.export import ExportResults
from pants.core.goals.generate_lockfiles import KnownUserResolveNames, UserGenerateLockfiles
from pants.core.goals.tailor import AllOwnedSources, PutativeTargets
from pants.core.goals.test import TestResult

from slipway.bundle.programs import app_tests, build, pack_app
from slipway.bundle.rules.app_tests import NpmTestFieldSet, NpmTestRequest
from slipway.bundle.rules.export import ExportNodeApps
from slipway.npm.programs import install
from slipway.npm.rules.generate_lock import KnownNpmResolvesRequest, RequestedNpmResolves
from slipway.release.programs import tarball
from slipway.release.rules.tailor import PutativeNodeAppsRequest
from tests.rules import workspace as stand_ins
from tests.rules.workspace import Workspace, make_build, make_fetch_lock

WEB = "shop/apps/web"
COMPILED = {
    "lockfile": "//shop/package-lock.json",
    "runtime_sources": [],
    "build_outputs": ["dist"],
    "static_dir": "",
}
SCRIPTS = {"build": "tsc", "start": "node dist/server.js", "test": "mocha"}
MANIFESTS: Dict[str, Dict[str, Any]] = {
    "": {"name": "shop", "private": True, "workspaces": ["apps/*", "libs/*"]},
    "apps/web": {"name": "web", "version": "1.0.0", "dependencies": {"lib": "*"}},
    "apps/admin": {"name": "admin", "version": "2.0.0"},
    "libs/lib": {"name": "lib", "version": "1.0.0"},
}


def make_bundle(**fields: Any) -> str:
    return make_build(f"**{ {**COMPILED, **fields} }", 'run_script="start"')


ADMIN = {"shop/apps/admin/BUILD": make_bundle(build_script="")}


def write(workspace: Workspace, bundle: Optional[str] = None, **files: str) -> None:
    """The workspaces, with a BUILD file for `web`; `files` replace some or add more."""
    links = {
        f"node_modules/{one['name']}": {"resolved": folder, "link": True}
        for folder, one in MANIFESTS.items()
        if folder
    }
    lock = {"lockfileVersion": 3, "requires": True, "packages": {**MANIFESTS, **links}}
    web = {**MANIFESTS["apps/web"], "scripts": SCRIPTS}
    sound: Dict[str, Optional[str]] = {
        **{f"shop/{one}/package.json": json.dumps(text) for one, text in MANIFESTS.items() if one},
        "shop/package.json": json.dumps(MANIFESTS[""]),
        "shop/package-lock.json": json.dumps(lock),
        "shop/npm-fetch.lock": make_fetch_lock("shop"),
        "shop/tsconfig.base.json": "{}",
        "shop/libs/lib/index.js": "",
        "shop/apps/admin/index.js": "",
        f"{WEB}/package.json": json.dumps(web),
        f"{WEB}/src/server.ts": "",
        f"{WEB}/test/a.js": "",
        f"{WEB}/dist/old.js": "",
        f"{WEB}/node_modules/once/index.js": "",
        f"{WEB}/BUILD": make_bundle() if bundle is None else bundle,
    }
    workspace.write({path: text for path, text in {**sound, **files}.items() if text is not None})


def built(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Lets the build script have written `paths`, which are relative to the workspaces."""
    own = {"files": list(paths), "links": []}
    report = {"app": own, "static": {"files": [], "links": []}}
    monkeypatch.setitem(stand_ins._REPORTS, "files.json", report)


def inputs_of(workspace: Workspace, program: str) -> Set[str]:
    (step,) = workspace.steps(program)
    return set(workspace.files(step.inputs))


def refused(workspace: Workspace) -> str:
    with pytest.raises(Exception, match=r"in: +") as caught:
        workspace.package(f"{WEB}:release")
    return str(caught.value)


def test_paths_in_a_release_are_those_in_the_workspaces(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    built(monkeypatch, "apps/web/package.json", "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    (step,) = workspace.steps(build.__name__)
    arguments = build.PROGRAM.read(step.call.arguments)
    assert (arguments.member, arguments.outputs) == ("apps/web", ("apps/web/dist",))
    # The build has the package.json of the workspaces, by which npm finds their members.
    assert inputs_of(workspace, build.__name__) == {
        *(
            "sources/package.json",
            "sources/apps/web/package.json",
            "sources/apps/web/src/server.ts",
        ),
        *("sources/libs/lib/package.json", "sources/libs/lib/index.js"),
    }
    assert inputs_of(workspace, pack_app.__name__) == {
        "server/apps/web/package.json",
        *("server/libs/lib/package.json", "server/libs/lib/index.js"),
    }
    (step,) = workspace.steps(tarball.__name__)
    assert tarball.PROGRAM.read(step.call.arguments).launcher.member == "apps/web"


def test_the_install_has_no_packages_of_other_members(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    arguments = install.PROGRAM.read(workspace.steps(install.__name__)[0].call.arguments)
    assert set(arguments.packages) == {"node_modules/lib", "node_modules/web"}
    assert {one for one in inputs_of(workspace, install.__name__) if "admin" in one} == set()


def test_a_change_of_another_member_runs_no_step_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace)
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    before = len(workspace.steps())
    changed = {**MANIFESTS["apps/admin"], "description": "new"}
    workspace.write({"shop/apps/admin/package.json": json.dumps(changed)})
    workspace.package(f"{WEB}:release")
    assert len(workspace.steps()) == before


def test_files_above_the_member_are_sources_by_their_path_from_the_build_root(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace, make_bundle(build_sources=["src/**", "//shop/tsconfig.base.json"]))
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    assert "sources/tsconfig.base.json" in inputs_of(workspace, build.__name__)


def test_a_member_that_the_build_script_builds(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(build_outputs=["dist", "//shop/libs/lib/dist"])
    write(workspace, bundle, **{"shop/libs/lib/dist/old.js": ""})
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    (step,) = workspace.steps(build.__name__)
    outputs_of_step = build.PROGRAM.read(step.call.arguments).outputs
    assert outputs_of_step == ("apps/web/dist", "libs/lib/dist")
    assert not [one for one in inputs_of(workspace, pack_app.__name__) if "dist" in one]


def test_files_of_other_members_can_be_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace, make_bundle(runtime_sources=["test/**", "!//shop/libs/lib/index.js"]))
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    assert inputs_of(workspace, pack_app.__name__) == {
        *("server/apps/web/package.json", "server/apps/web/test/a.js"),
        "server/libs/lib/package.json",
    }


def test_the_start_script_counts_from_the_member(workspace: Workspace) -> None:
    write(workspace)
    said = refused(workspace)
    assert '"start": node dist/server.js: the release contains no file dist/server.js' in said


def test_the_tests_of_a_member_run_in_its_folder(workspace: Workspace) -> None:
    write(workspace)
    field_set = NpmTestFieldSet.create(workspace.target(f"{WEB}:bundle"))
    workspace.request(TestResult, NpmTestRequest.Batch("", (field_set,), None))
    (step,) = workspace.steps(app_tests.__name__)
    assert app_tests.PROGRAM.read(step.call.arguments).member == "apps/web"
    assert {"sources/apps/web/test/a.js", "sources/libs/lib/index.js"} <= set(
        workspace.files(step.inputs)
    )
    assert not [one for one in workspace.files(step.inputs) if "once" in one or "old.js" in one]


# --- Faults.


def test_a_member_without_the_field_lockfile_is_told_which_to_name(workspace: Workspace) -> None:
    write(workspace, make_build())
    assert (
        f'the lockfile "{WEB}/package-lock.json" does not exist\n'
        f"  in:    {WEB}:bundle, field lockfile\n"
        f"  found: shop/package-lock.json, which lists {WEB}\n"
        '  next:  set lockfile="//shop/package-lock.json"'
    ) in refused(workspace)


def test_a_folder_that_is_no_member(workspace: Workspace) -> None:
    write(workspace)
    workspace.write(
        {
            "shop/tools/cli/package.json": json.dumps({"name": "cli", "version": "1.0.0"}),
            "shop/tools/cli/BUILD": make_bundle(),
        }
    )
    with pytest.raises(Exception, match='has no member "tools/cli"') as caught:
        workspace.package("shop/tools/cli:release")
    assert "found: members: apps/admin, apps/web, libs/lib" in str(caught.value)
    assert (
        'next:  add the folder to "workspaces" in shop/package.json, and run: '
        "cd shop && npm install --package-lock-only --ignore-scripts"
    ) in str(caught.value)


def test_the_lockfile_of_a_folder_beside_is_refused(workspace: Workspace) -> None:
    write(workspace, make_bundle(lockfile="//shop/apps/admin/package-lock.json"))
    workspace.write({"shop/apps/admin/package-lock.json": stand_ins.make_lock()})
    assert "package.json must be in the folder of its lockfile, or below it" in refused(workspace)


@pytest.mark.parametrize("field", ["build_sources", "runtime_sources"])
def test_files_beside_the_workspaces_are_refused(workspace: Workspace, field: str) -> None:
    write(workspace, make_bundle(**{field: ["//other/**"]}), **{"other/x.js": ""})
    said = refused(workspace)
    assert f'the field {field} names files outside of "shop", the folder of the lockfile' in said
    assert f"in:    {WEB}:bundle, field {field}" in said
    assert "found: //other/**" in said


@pytest.mark.parametrize("path", ["//other/dist", "//shop/../dist", "//shop"])
def test_build_outputs_beside_the_workspaces_are_refused(workspace: Workspace, path: str) -> None:
    write(workspace, make_bundle(build_outputs=[path]))
    assert f'"{path}" is not a normalised path in the folder' in refused(workspace)


def test_patches_of_the_workspaces_are_refused(workspace: Workspace) -> None:
    top = {**MANIFESTS[""], "patchedDependencies": {"ms@2.0.0": "patches/ms.patch"}}
    ms = {"version": "2.0.0", "integrity": f"sha512-{'A' * 86}=="}
    write(workspace)
    lock = json.loads((workspace.folder / "shop/package-lock.json").read_text())
    lock["packages"]["node_modules/ms"] = ms
    lock["packages"]["libs/lib"]["dependencies"] = {"ms": "2"}
    lib = {**MANIFESTS["libs/lib"], "dependencies": {"ms": "2"}}
    sha = "0" * 64
    workspace.write(
        {
            "shop/package.json": json.dumps(top),
            "shop/libs/lib/package.json": json.dumps(lib),
            "shop/package-lock.json": json.dumps(lock),
            "shop/npm-fetch.lock": make_fetch_lock("shop", f"ms 2.0.0 {ms['integrity']} {sha} 1"),
        }
    )
    said = refused(workspace)
    assert "patches change production packages" in said
    assert "patches/ms.patch: ms@2.0.0" in said


def test_an_install_script_of_the_workspaces_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    top = {**MANIFESTS[""], "scripts": {"postinstall": "turbo gen"}}
    write(workspace, **{"shop/package.json": json.dumps(top)})
    built(monkeypatch, "apps/web/dist/server.js")
    workspace.package(f"{WEB}:release")
    assert (
        'does not run the script "postinstall" of shop/package.json: turbo gen; if the build needs it, '
        "start it from the build script: npm --prefix ../.. run postinstall"
    ) in caplog.text


# --- Goals about the lockfile.


@pytest.mark.parametrize("options", [(), ("--generate-lockfiles-resolve=['npm:shop']",)])
def test_the_members_share_one_resolve(
    make_workspace: Callable[..., Workspace], options: Any
) -> None:
    workspace = make_workspace(*options)
    write(workspace, **ADMIN)
    known = workspace.request(KnownUserResolveNames, KnownNpmResolvesRequest())
    assert known.names == ("npm:shop",)
    (one,) = workspace.request(UserGenerateLockfiles, RequestedNpmResolves(["npm:shop"]))
    assert one.lockfile_dest == "shop/npm-fetch.lock"


def test_lint_reads_the_lockfile_of_members_once(workspace: Workspace) -> None:
    write(workspace, **ADMIN)
    workspace.write({"shop/npm-fetch.lock": "# damaged\n"})
    said = workspace.lint(f"{WEB}:bundle", "shop/apps/admin:bundle")
    assert said.stdout.count('"shop/npm-fetch.lock" is not a fetch lock') == 1


def test_each_member_is_exported_with_its_own_packages(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--export-resolve=['npm:shop']")
    write(workspace, **ADMIN)
    results = workspace.request(ExportResults, ExportNodeApps(()))
    assert [one.reldir for one in results] == ["node/shop.apps.admin", "node/shop.apps.web"]


def test_tailor_finds_the_members_that_start(workspace: Workspace) -> None:
    extending = '{\n  "extends": "../../tsconfig.base.json"\n}\n'
    write(workspace, **{f"{WEB}/tsconfig.json": extending})
    (workspace.folder / WEB / "BUILD").unlink()
    folders = ("shop", "shop/apps/admin", WEB, "shop/libs/lib")
    request = PutativeNodeAppsRequest(folders)
    found = workspace.request(PutativeTargets, request, AllOwnedSources([]))
    assert [(one.path, one.name) for one in found] == [(WEB, "bundle"), (WEB, "release")]
    fields = next(iter(found)).kwargs
    assert fields["lockfile"] == "//shop/package-lock.json"
    assert fields["build_sources"] == ("src/**", "tsconfig*.json", "//shop/tsconfig.base.json")


def test_an_application_below_its_build_file_is_no_member(workspace: Workspace) -> None:
    fields = (
        'package_json="web/package.json", lockfile="web/package-lock.json", '
        'runtime_sources=["web/service/**"]'
    )
    workspace.write_app("two/web", BUILD=None)
    workspace.write({"two/BUILD": make_build(fields)})
    workspace.package("two:release")
    assert inputs_of(workspace, pack_app.__name__) == {
        "server/package.json",
        "server/service/app.js",
    }
