"""What the install's cache key sees of package.json and lock, and what it does not."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

import pytest

from slipway.npm.lockfiles import fetch_lock, normalise
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles.fetch_lock import FetchLock
from tests.unit.npm.builders import entry, integrity_of, lock_text, lock_text_v1, make_entry, sha1

MANIFEST = {"name": "app", "version": "1.0.0", "dependencies": {"left": "^1.0.0"}}
OWN = {"name": "own", "version": "0.1.0", "bin": "cli.js", "scripts": {"build": "x"}}
PACKAGES: Dict[str, Any] = {
    "libs/own": {"version": "0.1.0", "license": "MIT"},
    "node_modules/left": entry(license="MIT", funding="https://x.example", deprecated="yes"),
    "node_modules/own": {"resolved": "libs/own", "link": True},
}
ROOT = {"dependencies": {"left": "^1.0.0", "own": "file:libs/own"}, "license": "MIT"}
FETCH = FetchLock("npm-fetch.lock", (make_entry(),))


def _normalised(
    text: Optional[str] = None,
    manifest: Optional[Dict[str, Any]] = None,
    own: Optional[Dict[str, Any]] = None,
    npm: str = "8.19.4",
    npmrc: str = "",
) -> Dict[str, bytes]:
    lock = npm_lock.parse(text or lock_text(PACKAGES, ROOT), "app/package-lock.json")
    manifests = {
        "package.json": json.dumps(manifest or MANIFEST),
        "libs/own/package.json": json.dumps(own or OWN),
    }
    return normalise.normalise(lock, FETCH, manifests, npm, npmrc).as_dict()


def _lock(**arguments: Any) -> Dict[str, Any]:
    document: Dict[str, Any] = json.loads(_normalised(**arguments)["package-lock.json"])
    return document


UNREAD = [
    "name",
    "bundleDependencies",
    "version",
    "description",
    "scripts",
    "author",
    "main",
    "config",
    "browserslist",
]


@pytest.mark.parametrize("field", UNREAD)
def test_editing_what_no_install_reads_changes_nothing(field: str) -> None:
    assert _normalised(manifest={**MANIFEST, field: "edited"}) == _normalised()


@pytest.mark.parametrize(
    "field",
    ["devDependencies", "overrides", "workspaces", "engines", "peerDependenciesMeta", "os"],
)
def test_editing_what_an_install_reads_changes_it(field: str) -> None:
    assert _normalised(manifest={**MANIFEST, field: {"x": "1"}}) != _normalised()


@pytest.mark.parametrize("field", ["scripts", "description", "main"])
def test_editing_what_an_install_reads_of_a_linked_folder_changes_it(field: str) -> None:
    assert _normalised(own={**OWN, field: "edited"}) == _normalised()


@pytest.mark.parametrize("field", ["name", "version", "bin", "dependencies"])
def test_name_version_and_bins_of_a_linked_folder_count(field: str) -> None:
    assert _normalised(own={**OWN, field: "edited"}) != _normalised()


def test_the_locks_own_name_and_version_change_nothing() -> None:
    document = json.loads(lock_text(PACKAGES, ROOT))
    document["version"] = document["packages"][""]["version"] = "9.9.9"
    document["name"] = document["packages"][""]["name"] = "other"
    assert _normalised(json.dumps(document)) == _normalised()


@pytest.mark.parametrize(
    "resolved",
    [None, "", "https://gone.example/left-1.0.0.tgz", "https://u:secret@r.example/l.tgz?token=t"],
)
def test_another_registry_host_changes_nothing(resolved: Optional[str]) -> None:
    packages = {**PACKAGES, "node_modules/left": {**entry(), "resolved": resolved}}
    assert _normalised(lock_text(packages, ROOT)) == _normalised()


def test_registry_packages_get_an_address_without_a_host() -> None:
    assert _lock()["packages"]["node_modules/left"] == {
        "version": "1.0.0",
        "resolved": "https://registry.invalid/left/-/left-1.0.0.tgz",
        "integrity": integrity_of("left", "1.0.0"),
    }


def test_a_version_2_lock_becomes_version_3_for_npm_7_and_later() -> None:
    document = json.loads(lock_text(PACKAGES, ROOT, version=2))
    document["dependencies"] = {"left": entry()}
    assert _normalised(json.dumps(document)) == _normalised()
    assert _lock(text=json.dumps(document))["lockfileVersion"] == 3


def test_a_version_2_lock_becomes_version_1_for_npm_6() -> None:
    document = json.loads(lock_text(PACKAGES, ROOT, version=2))
    document["dependencies"] = {"left": entry()}
    reduced = _lock(text=json.dumps(document), npm="6.14.18")
    assert reduced == {"lockfileVersion": 1, "requires": True, "dependencies": {"left": entry()}}


def test_npm_6_keeps_addresses_since_it_writes_them_into_the_tree() -> None:
    address = "https://user:secret@registry.example/left/-/left-1.0.0.tgz"
    nested = {"right": {**entry("2.0.0", "right"), "resolved": address}}
    text = lock_text_v1({"left": {**entry(), "resolved": address, "dependencies": nested}})
    fetched = FetchLock("", (make_entry(), make_entry("right", "2.0.0")))
    lock = npm_lock.parse(text, "package-lock.json")
    files = normalise.normalise(lock, fetched, {"package.json": "{}"}, "6.14.18").as_dict()
    left = json.loads(files["package-lock.json"])["dependencies"]["left"]
    clean = "https://registry.example/left/-/left-1.0.0.tgz"
    assert left["resolved"] == left["dependencies"]["right"]["resolved"] == clean


def test_sha1_gives_way_to_the_fetch_locks_sha512() -> None:
    weak = sha1(b"left")
    text = lock_text({"node_modules/left": entry(integrity=weak)})
    fetched = FetchLock("", (make_entry(locked_integrity=weak),))
    lock = npm_lock.parse(text, "package-lock.json")
    files = normalise.normalise(lock, fetched, {"package.json": "{}"}, "8.19.4").as_dict()
    packages = json.loads(files["package-lock.json"])["packages"]
    assert packages["node_modules/left"]["integrity"] == integrity_of("left", "1.0.0")
    (cached,) = fetch_lock.cached_tarballs(lock, fetched, 8)
    assert cached.path.startswith("_cacache/content-v2/sha512/")
    (cached,) = fetch_lock.cached_tarballs(lock, fetched, 6)
    assert cached.path.startswith("_cacache/content-v2/sha1/")


def test_a_folder_that_links_to_the_application_needs_its_name() -> None:
    text = lock_text({"node_modules/app": {"resolved": "", "link": True}})
    assert b'"name": "app"' in _normalised(text)["package.json"]
    assert b'"name": "app"' not in _normalised()["package.json"]


def test_a_shrinkwrap_comes_out_as_package_lock() -> None:
    lock = npm_lock.parse(lock_text({}), "npm-shrinkwrap.json")
    files = normalise.normalise(lock, FETCH, {"package.json": "{}"}, "8.19.4").as_dict()
    assert sorted(files) == ["package-lock.json", "package.json"]


def test_of_a_projects_npmrc_only_settings_about_the_tree_remain() -> None:
    text = "registry=https://r.example/\n//r.example/:_authToken=secret\nlegacy-peer-deps=true\n"
    assert _normalised(npmrc=text)[".npmrc"] == b"legacy-peer-deps=true\n"
    assert ".npmrc" not in _normalised(npmrc="save-exact=true\nomit=dev\n")


def test_bin_files_of_a_linked_folder() -> None:
    assert normalise.bin_files({"name": "own", "bin": "./cli.js"}) == ("cli.js",)
    assert normalise.bin_files({"bin": {"b": "b.js", "a": "lib/../a.js", "c": "b.js"}}) == (
        "a.js",
        "b.js",
    )
    assert normalise.bin_files({}) == ()


class TestEntriesWithoutIntegrity:
    """npm finds a tarball in its cache only by a hash; the fetch lock has it."""

    def test_npm_7_and_later(self) -> None:
        packages = {**PACKAGES, "node_modules/left": {"version": "1.0.0"}}
        left = _lock(text=lock_text(packages, ROOT))["packages"]["node_modules/left"]
        assert left["integrity"] == integrity_of("left", "1.0.0")

    def test_npm_6(self) -> None:
        text = lock_text_v1(
            {
                "left": {"version": "1.0.0"},
                "own": {"version": "file:libs/own", "dependencies": {"left": {"version": "1.0.0"}}},
            }
        )
        table = _lock(text=text, npm="6.14.18")["dependencies"]
        for left in (table["left"], table["own"]["dependencies"]["left"]):
            assert left["integrity"] == integrity_of("left", "1.0.0")
        assert "integrity" not in table["own"]


@pytest.mark.parametrize("npm", ["6.14.18", "8.19.4"])
def test_an_optional_package_that_the_registry_does_not_have_keeps_its_entry(npm: str) -> None:
    """npm looks for it in its cache, and skips it."""
    gone = entry("2.0.0", "gone", optional=True)
    texts = {
        "6.14.18": lock_text_v1({"left": entry(), "gone": gone}),
        "8.19.4": lock_text({**PACKAGES, "node_modules/gone": gone}, ROOT),
    }
    document = _lock(text=texts[npm], npm=npm)
    table = document.get("packages") or document["dependencies"]
    assert table[min(table, key=lambda path: "gone" not in path)]["integrity"] == gone["integrity"]
