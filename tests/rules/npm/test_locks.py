"""Locks and definitions as rules read them: what is missing, foreign or stale is told."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import pytest
from pants.core.goals.generate_lockfiles import KnownUserResolveNames, UserGenerateLockfiles

from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.rules.generate_lock import KnownNpmResolvesRequest, RequestedNpmResolves
from slipway.npm.rules.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.rules.definitions import NodeDefinitionRequest
from slipway.toolchain.rules.generate_lock import KnownToolchainResolvesRequest
from tests.rules import workspace as stand_ins
from tests.rules.workspace import (
    INTEGRITY,
    SHA256,
    Workspace,
    make_build,
    make_definition,
    make_fetch_lock,
    make_lock,
)

KOA = {"node_modules/koa": {"version": "2.14.2", "resolved": "https://r.example/koa/-/koa-2.14.2.tgz", "integrity": INTEGRITY}}  # fmt: skip
RENEW = "next:  ./pants generate-lockfiles --resolve=npm:app"
REWRITE = "next:  cd app && npm install --package-lock-only --ignore-scripts"


def read(workspace: Workspace) -> FetchLock:
    lock = workspace.request(
        ReadNpmLock, NpmLockRequest("app/package-lock.json", "app/package.json", "app:bundle")
    )
    return workspace.request(FetchLock, FetchLockRequest(lock.lock))


def manifest(**more: Any) -> str:
    return json.dumps({"name": "app", "version": "1.0.0", **more})


def with_koa(**more: Any) -> Dict[str, str]:
    root = {"name": "app", "version": "1.0.0", "dependencies": {"koa": "^2.0.0"}}
    lock = {"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": root, **KOA}}
    return {"package.json": json.dumps(root), "package-lock.json": json.dumps({**lock, **more})}


def test_a_lock_and_its_fetch_lock_are_read(workspace: Workspace) -> None:
    line = f"koa 2.14.2 {INTEGRITY} {SHA256} 99"
    workspace.write_app("app", **with_koa(), **{"npm-fetch.lock": make_fetch_lock("app", line)})
    (entry,) = read(workspace).entries
    assert (entry.name, entry.version, entry.sha256, entry.size) == ("koa", "2.14.2", SHA256, 99)


def test_binaries_for_other_systems_alone_are_reported(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """npm made the lock on a Mac beside an existing node_modules (npm/cli#4828)."""
    files = with_koa()
    lock = json.loads(files["package-lock.json"])
    names = ("koa-darwin-arm64", "koa-linux-x64", "koa-win32-x64")
    lock["packages"]["node_modules/koa"]["optionalDependencies"] = dict.fromkeys(names, "1.0.0")
    mac = {"version": "1.0.0", "integrity": INTEGRITY, "optional": True, "os": ["darwin"]}
    lock["packages"]["node_modules/koa-darwin-arm64"] = mac
    lines = [f"{name} {INTEGRITY} {SHA256} 99" for name in ("koa 2.14.2", "koa-darwin-arm64 1.0.0")]
    files["package-lock.json"] = json.dumps(lock)
    workspace.write_app("app", **files, **{"npm-fetch.lock": make_fetch_lock("app", *lines)})
    read(workspace)
    (warning,) = (text for text in caplog.messages if "for other systems" in text)
    assert "koa@2.14.2: has koa-darwin-arm64, lacks koa-linux-x64" in warning


def test_lint_reports_allow_scripts_that_say_the_opposite(workspace: Workspace) -> None:
    files = with_koa()
    root = {**json.loads(files["package.json"]), "allowScripts": {"koa": False}}
    workspace.write_app(
        "app",
        **{**files, "package.json": json.dumps(root)},
        BUILD=make_build('install_scripts={"koa": "run"}'),
        **{"npm-fetch.lock": make_fetch_lock("app", f"koa 2.14.2 {INTEGRITY} {SHA256} 99")},
    )
    result = workspace.lint("app:bundle")
    assert result.exit_code == 0
    assert 'koa@2.14.2: install_scripts has "run", allowScripts in package.json has false' in (
        result.stdout
    )


BAD: Dict[str, Tuple[Dict[str, str], Tuple[str, ...]]] = {
    "no JSON": (
        {"package-lock.json": '{\n "name": "app",,\n}'},
        ('"app/package-lock.json" is not JSON', "in:    app/package-lock.json:2:", "next:  "),
    ),
    "a merge conflict": (
        {"package-lock.json": "{\n<<<<<<< HEAD\n}"},
        ('"app/package-lock.json" is not JSON', "app/package-lock.json:2:1", "<<<<<<< HEAD"),
    ),
    "an unknown version": (
        {"package-lock.json": make_lock(version=9)},
        ("lockfileVersion", "found: 9", "next:  "),
    ),
    "not UTF-8 in the manifest": (
        {"package.json": '{"name": "\udcff"}'},
        ('"app/package.json" is not UTF-8', "in:    app/package.json", "next:  "),
    ),
    "out of step": (
        {"package.json": manifest(dependencies={"koa": "^2.0.0"})},
        (
            'the lockfile "app/package-lock.json" is out of date with package.json',
            "package.json: dependencies: koa ^2.0.0: missing from the lockfile",
            "next:  ",
        ),
    ),
    "no fetch lock line": (
        with_koa(),
        (
            'the fetch lock "app/npm-fetch.lock" is out of date: it does not match "app/package-lock.json"',
            "1. koa@2.14.2: missing from app/npm-fetch.lock",
            RENEW,
        ),
    ),
    "a line too many": (
        {"npm-fetch.lock": make_fetch_lock("app", f"koa 2.14.2 {INTEGRITY} {SHA256} 99")},
        ("koa@2.14.2: no longer in app/package-lock.json", RENEW),
    ),
    "another content": (
        {
            **with_koa(),
            "npm-fetch.lock": make_fetch_lock(
                "app", f"koa 2.14.2 {INTEGRITY.replace('A', 'B', 1)} {SHA256} 99"
            ),
        },
        ("koa@2.14.2: app/package-lock.json has ", "app/npm-fetch.lock has sha512-", RENEW),
    ),
    "a conflict in the fetch lock": (
        {"npm-fetch.lock": make_fetch_lock("app", "<<<<<<< HEAD")},
        ("app/npm-fetch.lock:2: unresolved merge conflict", RENEW),
    ),
    "a fetch lock of something else": (
        {"npm-fetch.lock": "hello\n"},
        ('"app/npm-fetch.lock" is not a fetch lock', "found: hello", RENEW),
    ),
}


@pytest.mark.parametrize(("files", "parts"), BAD.values(), ids=BAD)
def test_a_bad_lock_is_told_with_its_place_and_the_next_command(
    workspace: Workspace, files: Dict[str, str], parts: Tuple[str, ...]
) -> None:
    raw = {name: text.encode("utf-8", "surrogateescape") for name, text in files.items()}
    workspace.write_app("app")
    workspace.runner.write_files({f"app/{name}": content for name, content in raw.items()})
    _assert_told(workspace, parts)


def _assert_told(workspace: Workspace, parts: Tuple[str, ...]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        read(workspace)
    for part in parts:
        assert part in str(caught.value)


MISSING: Dict[str, Tuple[str, Dict[str, Optional[str]], Tuple[str, ...]]] = {
    "no lock": (
        "package-lock.json",
        {},
        (
            'no package-lock.json in "app"',
            "in:    app/package-lock.json",
            REWRITE,
        ),
    ),
    "a yarn lock": ("package-lock.json", {"yarn.lock": ""}, ("yarn.lock", "next:  ")),
    "a pnpm lock": ("package-lock.json", {"pnpm-lock.yaml": ""}, ("pnpm-lock.yaml", "next:  ")),
    "no fetch lock": (
        "npm-fetch.lock",
        {},
        (
            'the lockfile "app/package-lock.json" has no fetch lock',
            "in:    app/npm-fetch.lock",
            RENEW,
        ),
    ),
    "no manifest": (
        "package.json",
        {},
        (
            'package.json files of the lockfile "app/package-lock.json" are missing',
            "app/package.json",
        ),
    ),
}


@pytest.mark.parametrize(("gone", "files", "parts"), MISSING.values(), ids=MISSING)
def test_a_missing_file_is_told_with_what_makes_it(
    workspace: Workspace, gone: str, files: Dict[str, str], parts: Tuple[str, ...]
) -> None:
    workspace.write_app("app", **{**files, gone: None})
    _assert_told(workspace, parts)


def test_a_lock_in_another_folder_than_its_manifest_is_refused(workspace: Workspace) -> None:
    workspace.write_app("app")
    workspace.write({"app/locks/package-lock.json": make_lock()})
    with pytest.raises(
        Exception, match=r"package\.json must be in the folder of its lockfile, or below it"
    ):
        workspace.request(
            ReadNpmLock,
            NpmLockRequest("app/locks/package-lock.json", "app/package.json", "app:bundle"),
        )


# --- lint and generate-lockfiles


def test_lint_tells_every_fault_and_the_lock_of_two_bundles_once(workspace: Workspace) -> None:
    workspace.write_app("good")
    bundles = 'node_app_bundle(name="one")\nnode_app_bundle(name="two")\n'
    workspace.write_app("bad", BUILD=bundles, **{"npm-fetch.lock": "x"})
    workspace.write_app("worse", **{"package-lock.json": "{"})
    result = workspace.lint("good:bundle", "bad:one", "bad:two", "worse:bundle")
    assert result.exit_code == 1
    assert result.stdout.count('"bad/npm-fetch.lock" is not a fetch lock') == 1
    assert '"worse/package-lock.json" is not JSON' in result.stdout
    assert "good" not in result.stdout


def test_lint_refuses_a_line_that_names_two_contents(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = "left@1.0.0: the content of SHA-256 ab is sha512-A, not sha512-B"
    answer = {"faults": [fault], "unknown": 0}
    monkeypatch.setitem(stand_ins._REPORTS, "compared.json", answer)
    workspace.write_app("app")
    said = workspace.lint("app:bundle")
    assert said.exit_code == 1
    assert (
        'the fetch lock "app/npm-fetch.lock" has hashes of different contents in one line'
        in said.stdout
    )
    assert fault in said.stdout
    assert "next:  git checkout -- app/npm-fetch.lock" in said.stdout
    assert "rm app/npm-fetch.lock; ./pants generate-lockfiles --resolve=npm:app" in said.stdout


def test_lint_says_how_much_it_could_not_compare(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stand_ins._REPORTS, "compared.json", {"faults": [], "unknown": 3})
    workspace.write_app("app")
    said = workspace.lint("app:bundle")
    assert said.exit_code == 0
    assert "app/npm-fetch.lock: cannot compare the SHA-256 of 3 of 0 tarballs" in said.stdout


def test_lint_of_sound_locks_says_nothing(workspace: Workspace) -> None:
    workspace.write_app("good")
    result = workspace.lint("good:bundle")
    assert (result.exit_code, result.stdout) == (0, "")


def test_each_lock_has_a_resolve_named_after_its_folder(workspace: Workspace) -> None:
    workspace.write_app("apps/one")
    workspace.write_app("apps/two")
    known = workspace.request(KnownUserResolveNames, KnownNpmResolvesRequest())
    assert known.names == ("npm:apps/one", "npm:apps/two")
    wanted = workspace.request(UserGenerateLockfiles, RequestedNpmResolves(["npm:apps/two"]))
    assert [(one.resolve_name, one.lockfile_dest) for one in wanted] == [
        ("npm:apps/two", "apps/two/npm-fetch.lock")
    ]


# --- Goals about one application, beside applications that are wrong or very large.

NEEDLESS = """
raise Exception("a BUILD file of another application was read")
"""


def names(workspace: Workspace) -> Sequence[str]:
    return workspace.request(KnownUserResolveNames, KnownNpmResolvesRequest()).names


def test_a_target_that_matches_all_files_is_not_expanded(workspace: Workspace) -> None:
    workspace.write_app("apps/one", **{"service/[x]*.js": ""})
    workspace.write_app("apps/two")
    workspace.write({"BUILD": 'files(name="files", sources=["apps/**"])\n'})
    assert names(workspace) == ("npm:apps/one", "npm:apps/two")
    wanted = workspace.request(UserGenerateLockfiles, RequestedNpmResolves(["npm:apps/two"]))
    assert [one.lockfile_dest for one in wanted] == ["apps/two/npm-fetch.lock"]


@pytest.mark.parametrize("build", [NEEDLESS, "node_app_bundle(name='bundle', lockfile=1)\n"])
def test_a_named_resolve_needs_no_file_of_other_applications(
    build: str, make_workspace: Callable[..., Workspace]
) -> None:
    workspace = make_workspace("--generate-lockfiles-resolve=['npm:apps/two']")
    workspace.write_app("apps/one", BUILD=build)
    workspace.write_app("apps/two")
    workspace.write({"BUILD": 'files(name="files", sources=["apps/**"])\n'})
    os.symlink("/etc/passwd", workspace.folder / "apps/one/service/pw")
    assert names(workspace) == ("npm:apps/two",)
    images = workspace.request(KnownUserResolveNames, KnownToolchainResolvesRequest())
    assert images.names == ()
    assert list(workspace.request(UserGenerateLockfiles, RequestedNpmResolves(["npm:apps/two"])))


def test_a_lockfile_below_the_folder_of_its_build_file_has_a_resolve(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--generate-lockfiles-resolve=['npm:apps/two/web']")
    workspace.write_app("apps/one")
    fields = 'package_json="web/package.json", lockfile="web/package-lock.json"'
    workspace.write_app("apps/two", BUILD=make_build(fields))
    assert names(workspace) == ("npm:apps/two/web",)


def test_an_unknown_resolve_lists_all_that_are_known(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--generate-lockfiles-resolve=['npm:apps/tow']")
    workspace.write_app("apps/one")
    workspace.write_app("apps/two")
    assert names(workspace) == ("npm:apps/one", "npm:apps/two")


# --- definitions of Node


def find(
    workspace: Workspace, version: str, file: Any = None, folder: str = "app"
) -> NodeDefinition:
    return workspace.request(
        NodeDefinition, NodeDefinitionRequest(version, folder, file, "app:node")
    )


def test_a_definition_beside_the_target_comes_first(workspace: Workspace) -> None:
    assert find(workspace, "16.20.2").path == "toolchains/node/16.20.2.toml"
    workspace.write({"app/16.20.2.toml": make_definition()})
    assert find(workspace, "16.20.2").path == "app/16.20.2.toml"
    workspace.write({"app/own.toml": make_definition()})
    assert find(workspace, "16.20.2", "app/own.toml").path == "app/own.toml"


def test_an_unknown_version_brings_the_nearest(workspace: Workspace) -> None:
    workspace.write({"app/16.3.0.toml": make_definition("16.3.0")})
    with pytest.raises(Exception) as caught:  # noqa: PT011
        find(workspace, "16.20.3")
    text = str(caught.value)
    assert 'no definition of Node.js "16.20.3"' in text
    assert "in:    app:node, field version" in text
    assert (
        "found: no app/16.20.3.toml, no toolchains/node/16.20.3.toml, no slipway:node/16.20.3.toml"
        in text
    )
    assert "next:  ./pants node-definitions --add=16.20.3\n" in text
    assert "or use a defined version: 16.20.2" in text


def test_a_definition_that_is_named_but_not_there_is_told(workspace: Workspace) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        find(workspace, "16.20.2", "app/own.toml")
    assert 'the Node definition "app/own.toml" does not exist' in str(caught.value)
    assert "field definition" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"), [("version = \n", ":1"), ("a = 1\na = 2\n", ":2"), ('a = 1\nb = "', ":2")]
)
def test_a_definition_that_is_no_toml_is_told_with_its_line(
    workspace: Workspace, text: str, place: str
) -> None:
    workspace.write({"app/own.toml": text})
    with pytest.raises(Exception) as caught:  # noqa: PT011
        find(workspace, "16.20.2", "app/own.toml")
    assert 'the Node definition "app/own.toml" is not TOML' in str(caught.value)
    assert f"app/own.toml{place}" in str(caught.value)


def test_a_definition_without_a_hash_is_refused(workspace: Workspace) -> None:
    workspace.write({"app/own.toml": make_definition().replace(f'sha256 = "{SHA256}"\n', "", 1)})
    with pytest.raises(Exception, match=r"is not a SHA-256, which every archive needs"):
        find(workspace, "16.20.2", "app/own.toml")
