"""Bundles and releases: which target is picked for which environment, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Set, Tuple

import pytest

from slipway.release.programs import tarball
from tests.rules import workspace as stand_ins
from tests.rules.workspace import (
    INTEGRITY,
    SHA256,
    Workspace,
    make_build,
    make_fetch_lock,
    make_lock,
)

SCRIPTS = {"build": "x", "serve": "node service/app.js"}


def test_a_release_is_made_of_its_bundle(workspace: Workspace) -> None:
    workspace.write_app("app")
    package = workspace.package("app:release")
    assert [artifact.relpath for artifact in package.artifacts] == [
        "app/release/app-1.0.0-prod.tar.gz",
        "app/release/app-1.0.0-prod.static.tar.gz",
        "app/release/app-1.0.0-prod.release.json",
        "app/release/app-1.0.0-prod.native.json",
    ]
    assert {step.call.program for step in workspace.steps()} == {
        *(
            "slipway.runtime.programs.make",
            "slipway.runtime.programs.pack",
            "slipway.npm.programs.install",
            "slipway.release.programs.abi_gate",
        ),
        *(
            "slipway.bundle.programs.build",
            "slipway.bundle.programs.pack_app",
            "slipway.release.programs.checked_layers",
            "slipway.release.programs.start_probe",
            "slipway.release.programs.tarball",
        ),
    }


def test_a_release_without_packages_has_no_layer_of_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"path": "node_modules/koa", "name": "koa", "version": "2.0.0", "bytes": 7}
    installed = {**stand_ins._REPORTS["install.json"], "packages": [package]}
    monkeypatch.setitem(stand_ins._REPORTS, "install.json", installed)
    for fields, layers, packages in (
        ("", ("runtime", "dependencies", "app"), 1),
        ('node_modules="none"', ("runtime", "app"), 0),
    ):
        workspace.write_app("app", BUILD=make_build(fields))
        workspace.package("app:release")
        arguments = tarball.PROGRAM.read(
            workspace.steps("slipway.release.programs.tarball")[-1].call.arguments
        )
        assert arguments.layers == layers
        assert len(arguments.manifest.packages) == packages
    # The build script has them in both cases.
    assert "installed" in workspace.steps("slipway.bundle.programs.build")[-1].large


def test_a_parameter_picks_the_matching_bundle(workspace: Workspace) -> None:
    envs = 'server_env=parametrize("stable", "sit", "pre", "prod")'
    workspace.write_app("app", BUILD=make_build(envs, envs))
    package = workspace.package("app:release@server_env=sit")
    assert "app-1.0.0-sit.tar.gz" in str(package.artifacts[0].relpath)
    assert [step.description for step in workspace.steps("slipway.bundle.programs.build")] == [
        "Build app for sit"
    ]


def test_four_environments_share_install_and_runtime(workspace: Workspace) -> None:
    envs = 'server_env=parametrize("stable", "sit", "pre", "prod")'
    workspace.write_app("app", BUILD=make_build(envs, envs))
    for env in ("stable", "sit", "pre", "prod"):
        workspace.package(f"app:release@server_env={env}")
    counts: Dict[str, int] = {}
    for step in set(workspace.steps()):
        counts[step.call.program] = counts.get(step.call.program, 0) + 1
    assert counts == {
        **dict.fromkeys(
            (
                "slipway.runtime.programs.make",
                "slipway.runtime.programs.pack",
                "slipway.npm.programs.install",
            ),
            1,
        ),
        "slipway.release.programs.checked_layers": 2,  # of the runtime, and of the packages
        **dict.fromkeys(
            (
                "slipway.bundle.programs.build",
                "slipway.bundle.programs.pack_app",
                "slipway.release.programs.abi_gate",
                "slipway.release.programs.start_probe",
                "slipway.release.programs.tarball",
            ),
            4,
        ),
    }


def test_without_a_build_script_nothing_is_built(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build('build_script=""'))
    workspace.package("app:release")
    assert workspace.steps("slipway.bundle.programs.build") == []
    (step,) = workspace.steps("slipway.bundle.programs.pack_app")
    assert not step.large


def test_build_arguments_and_environment_reach_the_script(workspace: Workspace) -> None:
    fields = 'build_args=["--mode", "{server_env}"], build_env={"A": "1"}, server_env="sit"'
    workspace.write_app("app", BUILD=make_build(fields, 'server_env="sit"'))
    workspace.package("app:release")
    arguments = json.loads(workspace.steps("slipway.bundle.programs.build")[0].call.arguments)
    assert arguments["script_arguments"] == ["--mode", "sit"]
    assert (arguments["server_env"], arguments["env"]) == ("sit", {"A": "1"})


STATIC = {
    "separate": (["app", "dependencies", "runtime"], 4),
    "include": (["app", "dependencies", "runtime", "static"], 3),
    "none": (["app", "dependencies", "runtime"], 3),
}


@pytest.mark.parametrize(("choice", "layers", "files"), [(k, *v) for k, v in STATIC.items()])
def test_static_files_go_where_the_field_says(
    workspace: Workspace, choice: str, layers: list[str], files: int
) -> None:
    workspace.write_app("app", BUILD=make_build("", f'static="{choice}"'))
    assert len(workspace.package("app:release").artifacts) == files
    (step,) = workspace.steps("slipway.release.programs.tarball")
    assert sorted(json.loads(step.call.arguments)["layers"]) == layers


def test_an_application_may_have_no_static_folder(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build('static_dir=""'))
    workspace.package("app:release")
    (step,) = workspace.steps("slipway.bundle.programs.pack_app")
    assert json.loads(step.call.arguments)["static_dir"] == ""


def test_a_smoke_script_sees_neither_the_environment_file_nor_separate_static_files(
    workspace: Workspace,
) -> None:
    fields = 'smoke_script="serve", env_file="/etc/app/secret"'
    workspace.write_app("app", BUILD=make_build("", fields))
    workspace.package("app:release")
    (smoke,), (release,) = (
        workspace.steps("slipway.release.programs.smoke"),
        workspace.steps("slipway.release.programs.tarball"),
    )
    assert json.loads(smoke.call.arguments)["launcher"]["env_file"] == ""
    assert json.loads(release.call.arguments)["launcher"]["env_file"] == "/etc/app/secret"
    assert workspace.files(smoke.inputs) == (
        "app.sh",
        "layers/app.layer",
        "layers/dependencies.layer",
    )


def test_a_scoped_name_becomes_a_file_name(workspace: Workspace) -> None:
    workspace.write_app(
        "app",
        **{"package.json": json.dumps({"name": "@team/app", "version": "2.0.0", "scripts": {"build": "x", "serve": "node service/app.js"}})},
        **{"package-lock.json": json.dumps({"name": "@team/app", "version": "2.0.0", "lockfileVersion": 3, "packages": {"": {"name": "@team/app", "version": "2.0.0"}}})},
    )  # fmt: skip
    assert "team-app-2.0.0-prod.tar.gz" in str(
        workspace.package("app:release").artifacts[0].relpath
    )


# Fields of the bundle, fields of the release, and lines that the message must hold.
BAD: Dict[str, Tuple[str, str, Tuple[str, ...]]] = {
    "a misspelt server_env of a release": (
        "",
        'server_env="prd"',
        (
            'unknown server_env "prd"',
            "in:    app:release, field server_env",
            "found: prd",
            (
                "next:  did you mean prod? Use one of stable, sit, pre, prod, "
                "or add the name to [slipway] server_envs in pants.toml"
            ),
        ),
    ),
    "a misspelt server_env of both": (
        'server_env="stabel"',
        'server_env="stabel"',
        ('unknown server_env "stabel"', "did you mean stable?"),
    ),
    "a bundle for another environment": (
        'server_env="sit"',
        "",
        (
            "the release and its bundle have different values of server_env",
            "in:    app:release, field bundle",
            'found: release: "prod", app:bundle: "sit"',
            'next:  set server_env=parametrize("sit", "prod") in the bundle',
        ),
    ),
    "a bundle that is a runtime": (
        "",
        'bundle="//toolchains/node"',
        (
            "the bundle of a release must be a node_app_bundle",
            "in:    app:release, field bundle",
            "found: toolchains/node:node, a node_runtime",
        ),
    ),
    "no runtime": (
        "runtime=None",
        "",
        (
            'the bundle "app:bundle" has no runtime',
            "in:    app:bundle, field runtime",
            'runtime="//toolchains/node:16.20.2"',
        ),
    ),
    "a runtime that is a release": (
        'runtime=":release"',
        "",
        (
            "the runtime of a bundle must be a node_runtime",
            "in:    app:bundle, field runtime",
            "found: app:release, a release_tarball",
        ),
    ),
    "no runtime sources": (
        'runtime_sources=["server/**"]',
        "",
        (
            'the field runtime_sources of "app:bundle" matches no file',
            "in:    app:bundle, field runtime_sources",
            "found: server/**",
            'next:  list the files that the application runs, such as runtime_sources=["service/**"]',
        ),
    ),
    "an empty list of runtime sources": (
        "runtime_sources=[]",
        "",
        ('the field runtime_sources of "app:bundle" matches no file', "field runtime_sources"),
    ),
    "a misspelt build script": (
        'build_script="biuld"',
        "",
        (
            'package.json has no script "biuld"',
            "in:    app:bundle, field build_script",
            "found: the scripts of app/package.json are build, serve",
            "next:  did you mean build?",
        ),
    ),
    "a lifecycle script that is not there": (
        'lifecycle_scripts=["postinstall"]',
        "",
        ('package.json has no script "postinstall"', "app:bundle, field lifecycle_scripts"),
    ),
    "a lifecycle script without a build script": (
        'lifecycle_scripts=["serve"], build_script=""',
        "",
        (
            "lifecycle scripts run only before a build script, which the bundle does not set",
            "in:    app:bundle, field lifecycle_scripts",
            "next:  set build_script to the script that needs them, or remove lifecycle_scripts",
        ),
    ),
    "a smoke script that is not there": (
        "",
        'smoke_script="smoke"',
        ('package.json has no script "smoke"', "in:    app:release, field smoke_script"),
    ),
    "an output outside of the application": (
        'build_outputs=["../dist"]',
        "",
        (
            '"../dist" is not a normalised path in the folder of the application',
            "in:    app:bundle, field build_outputs",
        ),
    ),
    "an absolute static folder": (
        'static_dir="/dist"',
        "",
        ('"/dist" is not a normalised path', "in:    app:bundle, field static_dir"),
    ),
    "a quote in a path for bin/app": (
        "",
        'env_file="/etc/it\'s"',
        (
            'the field "env_file" contains a single quote or a line break',
            "in:    app:release, field env_file",
        ),
    ),
}


@pytest.mark.parametrize(("bundle", "release", "lines"), BAD.values(), ids=BAD)
def test_a_mistake_in_a_field_is_told_with_its_place_before_anything_is_fetched(
    workspace: Workspace, bundle: str, release: str, lines: Tuple[str, ...]
) -> None:
    workspace.write_app("app", BUILD=make_build(bundle, release))
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        workspace.package("app:release")
    text = str(caught.value)
    for line in lines:
        assert line in text
    assert "next:  " in text
    assert not workspace.steps()
    assert not workspace.made_root()


def test_an_unknown_bundle_is_told_by_pants(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build("", 'bundle=":bundel"'))
    with pytest.raises(Exception, match=r"app:bundel"):
        workspace.package("app:release")


def test_more_environments_come_by_option(make_workspace: Callable[..., Workspace]) -> None:
    workspace = make_workspace("--slipway-server-envs=['demo']")
    workspace.write_app("app", BUILD=make_build('server_env="demo"', 'server_env="demo"'))
    assert "-demo.tar.gz" in str(workspace.package("app:release").artifacts[0].relpath)


# --- Linked folders.


def write_linked(
    workspace: Workspace, bundle: str = "", scripts: Optional[Dict[str, str]] = None
) -> None:
    """An application with the linked folders `libs/used` and, for development, `libs/tools`."""
    dependencies = {
        "dependencies": {"used": "file:libs/used"},
        "devDependencies": {"tools": "file:libs/tools"},
    }
    packages: Dict[str, Dict[str, object]] = {
        "node_modules/used": {"resolved": "libs/used", "link": True},
        "libs/used": {"version": "1.0.0"},
        "node_modules/tools": {"resolved": "libs/tools", "link": True, "dev": True},
        "libs/tools": {"version": "2.0.0", "dev": True},
    }
    lock = json.loads(make_lock(packages))
    lock["packages"][""].update(dependencies)
    manifest = {"name": "app", "version": "1.0.0", "scripts": SCRIPTS, **dependencies}
    used = {"name": "used", "version": "1.0.0", "main": "i.js", "scripts": scripts or {}}
    workspace.write_app(
        "app",
        **{
            "BUILD": make_build(bundle),
            "package.json": json.dumps(manifest),
            "package-lock.json": json.dumps(lock),
            "libs/used/package.json": json.dumps(used),
            "libs/used/i.js": "",
            "libs/used/lib/deep.js": "",
            "libs/used/lib/deep.test.js": "",
            "libs/used/node_modules/once/index.js": "",
            "libs/used/lib/node_modules/once/index.js": "",
            "libs/tools/package.json": json.dumps({"name": "tools", "version": "2.0.0"}),
            "libs/tools/cli.js": "",
        },
    )


def inputs_of(workspace: Workspace, program: str) -> Set[str]:
    workspace.package("app:release")
    (step,) = workspace.steps(f"slipway.bundle.programs.{program}")
    return {path for path in workspace.files(step.inputs) if "/libs/" in path}


def test_the_files_of_linked_folders_are_in_the_release_without_those_for_development(
    workspace: Workspace,
) -> None:
    write_linked(workspace)
    assert inputs_of(workspace, "pack_app") == {
        f"server/libs/used/{name}"
        for name in ("package.json", "i.js", "lib/deep.js", "lib/deep.test.js")
    }


def test_the_build_has_the_files_of_all_linked_folders(workspace: Workspace) -> None:
    write_linked(workspace)
    found = inputs_of(workspace, "build")
    assert {"sources/libs/used/i.js", "sources/libs/tools/cli.js"} <= found
    assert not [path for path in found if "node_modules" in path]


def test_what_runtime_sources_exclude_is_excluded_from_linked_folders(workspace: Workspace) -> None:
    write_linked(workspace, 'runtime_sources=["service/**", "!**/*.test.js", "!libs/used/i.js"]')
    assert inputs_of(workspace, "pack_app") == {
        "server/libs/used/package.json",
        "server/libs/used/lib/deep.js",
    }


def test_runtime_sources_without_files_are_refused_beside_linked_folders(
    workspace: Workspace,
) -> None:
    write_linked(workspace, 'runtime_sources=["servcie/**"]')
    with pytest.raises(Exception, match='runtime_sources of "app:bundle" matches no file'):
        workspace.package("app:release")


def test_install_scripts_of_linked_folders_need_the_decision_to_skip_them(
    workspace: Workspace,
) -> None:
    scripts = {"prepare": "node gen.js", "postinstall": "node gen.js", "test": "x"}
    write_linked(workspace, scripts=scripts)
    with pytest.raises(Exception, match="linked folders") as error:
        workspace.package("app:release")
    assert (
        "linked folders have install scripts, which Slipway can only skip\n"
        "  in:    app:bundle, field install_scripts\n"
        '  found: 1. libs/used (used@1.0.0), postinstall: "node gen.js", prepare: "node gen.js"\n'
        '  next:  install_scripts={"used": "skip"}\n'
        "         and, if the application needs files that a script makes, let the build script make "
        "them:\n"
        '         in package.json "build": "npm --prefix libs/used run prepare", and in the bundle\n'
        '         build_outputs=["libs/used/<file or folder that the script makes>"]'
    ) in str(error.value)


@pytest.mark.parametrize("decision", ["run", "source", "prebuilt"])
def test_no_other_decision_can_run_the_scripts_of_a_linked_folder(
    decision: str, workspace: Workspace
) -> None:
    write_linked(workspace, f'install_scripts={{"used": "{decision}"}}', {"install": "x"})
    with pytest.raises(Exception, match=f'used@1.0.0\\), install: "x": "{decision}"'):
        workspace.package("app:release")


def test_a_linked_folder_whose_scripts_are_skipped(workspace: Workspace) -> None:
    write_linked(workspace, 'install_scripts={"used": "skip"}', {"postinstall": "node gen.js"})
    assert "server/libs/used/i.js" in inputs_of(workspace, "pack_app")


# --- Patches of packages.


def write_patched(
    workspace: Workspace, patch: str, manifest: Mapping[str, object], dev: bool = False
) -> None:
    """An application that depends on ms, for development if `dev`, and has a patch at `patch`."""
    kind = "devDependencies" if dev else "dependencies"
    entry = {"version": "2.1.3", "integrity": INTEGRITY, **({"dev": True} if dev else {})}
    lock = json.loads(make_lock({"node_modules/ms": entry}))
    lock["packages"][""][kind] = {"ms": "2.1.3"}
    root = {"name": "app", "version": "1.0.0", kind: {"ms": "2.1.3"}, **manifest}
    line = f"ms 2.1.3 {INTEGRITY} {SHA256} 1"
    workspace.write_app(
        "app",
        **{
            "BUILD": make_build('build_script=""'),
            "package.json": json.dumps(root),
            "package-lock.json": json.dumps(lock),
            "npm-fetch.lock": make_fetch_lock("app", line),
            patch: "",
        },
    )


PATCHING = {"scripts": {**SCRIPTS, "postinstall": "patch-package"}}


@pytest.mark.parametrize(
    ("patch", "manifest"),
    [
        ("patches/ms+2.1.3.patch", PATCHING),
        (
            "fixes/ms+2.1.3.patch",
            {"scripts": {**SCRIPTS, "prepare": "patch-package --patch-dir fixes"}},
        ),
        ("patches/ms.patch", {"patchedDependencies": {"ms@2.1.3": "patches/ms.patch"}}),
    ],
)
def test_a_patch_of_a_production_package_is_refused_by_its_name(
    patch: str, manifest: Dict[str, Dict[str, str]], workspace: Workspace
) -> None:
    write_patched(workspace, patch, manifest)
    with pytest.raises(Exception, match="patches change") as error:
        workspace.package("app:release")
    assert (
        "patches change production packages, and the release would not contain the changes\n"
        "  in:    app/package.json\n"
        f"  found: 1. {patch}: ms@2.1.3\n"
        "  next:  add the changed package to the application, in the application's folder:\n"
        "         npm ci && npm pack --ignore-scripts ./node_modules/ms && npm install ./ms-2.1.3.tgz\n"
        "         then remove its patch; if only the build needs the package, make it a dev dependency\n"
        "         ./pants generate-lockfiles --resolve=npm:app"
    ) in str(error.value)


def test_patches_of_dev_dependencies_and_of_other_packages_are_no_fault(
    workspace: Workspace,
) -> None:
    write_patched(workspace, "patches/ms+2.1.3.patch", PATCHING, dev=True)
    assert workspace.package("app:release").artifacts
    write_patched(workspace, "patches/koa+2.0.0.patch", PATCHING)
    (workspace.folder / "app/patches/ms+2.1.3.patch").unlink()
    assert workspace.package("app:release").artifacts


@pytest.mark.parametrize(
    ("script", "told"),
    [("node make-config.js", True), ("husky install", False), ("npx only-allow npm", False)],
)
def test_an_install_script_of_the_application_that_does_not_run_is_told(
    script: str, told: bool, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = {"name": "app", "version": "1.0.0", "scripts": {**SCRIPTS, "postinstall": script}}
    workspace.write_app("app", **{"package.json": json.dumps(manifest)})
    workspace.package("app:release")
    assert (
        f'does not run the script "postinstall" of app/package.json: {script}' in caplog.text
    ) == told


# --- Line endings that Git converted.


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def test_files_that_git_checked_out_with_crlf_are_a_warning_with_the_way_to_lf(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write_app("app", **{"service/app.js": "1\n"})
    git(workspace.folder, "init", "-q")
    git(workspace.folder, "add", "app")
    git(workspace.folder, "commit", "-q", "-m", "x")
    for name in ("package-lock.json", "service/app.js"):
        path = workspace.folder / "app" / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    workspace.package("app:release")
    assert (
        "app:bundle: Git wrote 2 files of app with CRLF line endings, such as app/package-lock.json"
    ) in caplog.text
    assert "git config core.autocrlf false" in caplog.text


def test_crlf_that_is_committed_or_outside_of_a_clone_is_no_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write_app("app", **{"package-lock.json": make_lock().replace("\n", "\r\n")})
    workspace.package("app:release")
    git(workspace.folder, "init", "-q")
    git(workspace.folder, "-c", "core.autocrlf=false", "add", "app")
    workspace.write_app("app", **{"package-lock.json": make_lock().replace("\n", "\r\n") + "\r\n"})
    workspace.package("app:release")
    assert "CRLF" not in caplog.text


def test_a_fetch_lock_with_crlf_is_no_riddle(workspace: Workspace) -> None:
    text = make_fetch_lock("app", f"ms 2.1.3 {INTEGRITY} {SHA256} 2041").replace("\n", "\r\n")
    workspace.write_app("app", **{"npm-fetch.lock": text})
    with pytest.raises(Exception, match="has CRLF line endings"):
        workspace.package("app:release")


# --- Secrets.


def test_secrets_in_a_release_are_a_warning_with_the_patterns_that_leave_them_out(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"service/.env": "TOKEN=1", "service/keys/id_rsa": "x", "service/ca.pem": "x"}
    workspace.write_app("app", **secrets)
    workspace.package("app:release")
    assert (
        "app:bundle: the release contains 3 files that look like secrets: "
        "service/.env, service/ca.pem, service/keys/id_rsa\n"
        'next: to leave them out, add to runtime_sources: "!service/.env", "!service/ca.pem", '
        '"!service/keys/id_rsa"'
    ) in caplog.text
    caplog.clear()
    globs = ", ".join(f'"!{path}"' for path in secrets)
    build = make_build(f'runtime_sources=["service/**", {globs}]')
    workspace.write_app("app", BUILD=build, **secrets)
    workspace.package("app:release")
    assert "secrets" not in caplog.text


# --- Symlinks among an application's files.


def test_symlinks_that_pants_cannot_read_are_listed_with_the_way_to_exclude_them(
    workspace: Workspace,
) -> None:
    workspace.write_app("app")
    for name, target in (("gone.js", "nosuch.js"), ("pw", "/etc/passwd"), ("self", ".")):
        os.symlink(target, workspace.folder / "app/service" / name)
    with pytest.raises(Exception, match="contains symlinks") as error:
        workspace.package("app:release")
    assert (
        '"app" contains symlinks that Pants cannot read\n'
        "  in:    app\n"
        '  found: 1. "app/service/gone.js" -> "nosuch.js": the target does not exist\n'
        '         2. "app/service/pw" -> "/etc/passwd": the target is absolute\n'
        '         3. "app/service/self" -> ".": the symlink leads to a folder that contains it\n'
        "  next:  remove the symlinks, give them relative targets in the workspace, or exclude them, "
        'such as with "!service/gone.js" in the field that lists the files'
    ) in str(error.value)


def test_excluded_symlinks_are_not_read(workspace: Workspace) -> None:
    excluding = 'runtime_sources=["service/**", "!service/pw", "!service/old/**"]'
    workspace.write_app("app", BUILD=make_build(excluding), **{"service/old/a.js": ""})
    os.symlink("/etc/passwd", workspace.folder / "app/service/pw")
    os.symlink("/etc/passwd", workspace.folder / "app/service/old/pw")
    assert workspace.package("app:release").artifacts
