"""Decisions on install scripts: which entry counts, and what is told of wrong and missing ones."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from slipway.core.errors import SlipwayErrors
from slipway.npm.install_report import InstalledPackage, ScriptedPackage
from slipway.npm.lockfiles.package import REGISTRY, Package
from slipway.npm.scripts import decisions
from slipway.npm.scripts.decisions import Decision, names_to_compile
from tests.unit.npm.builders import entry, make_lock

WHERE = "app:bundle, field install_scripts"


def package(name: str, version: str = "1.0.0", folder: str = "") -> Package:
    return Package(f"{folder}node_modules/{name}", name, version, REGISTRY)


LOCK = [
    Package("", "app", "1.0.0", REGISTRY),
    *(package(name) for name in ("bcrypt", "nan", "@a/addon", "koa")),
    package("sqlite3", "5.1.7"),
    package("sqlite3", "4.2.0", "node_modules/old/"),
]


def decide(field: Dict[str, str], one: Package) -> object:
    return decisions.decide(decisions.parse(field, WHERE), one)


def faults(field: Dict[str, str]) -> List[str]:
    with pytest.raises(SlipwayErrors) as raised:
        decisions.check(decisions.parse(field, WHERE), LOCK, WHERE)
    assert raised.value.where == WHERE
    return list(raised.value.faults)


def test_an_entry_with_a_range_wins_over_one_without() -> None:
    field = {"sqlite3": "source", "sqlite3@<5": "skip", "@a/addon@^1.0.0": "prebuilt"}
    assert [decide(field, one) for one in LOCK[-2:]] == [Decision.SOURCE, Decision.SKIP]
    assert decide(field, package("@a/addon")) is Decision.PREBUILT
    assert decide(field, package("@a/addon", "2.0.0")) is None
    decisions.check(decisions.parse(field, WHERE), LOCK, WHERE)


def test_scripts_that_do_nothing_are_skipped_without_an_entry() -> None:
    assert decide({}, package("core-js", "3.0.0")) is Decision.SKIP
    assert decide({"core-js": "run"}, package("core-js", "3.0.0")) is Decision.RUN


def test_entries_that_match_nothing_or_too_much_are_reported() -> None:
    assert faults({"bcript": "source"}) == ['"bcript"; did you mean bcrypt?']
    assert faults({"app": "source"}) == ['"app"']
    assert faults({"sqlite3@^3": "source"}) == ['"sqlite3@^3": the lockfile has 4.2.0, 5.1.7']
    assert faults({"sqlite3@5": "source", "sqlite3@>4.5": "run"}) == [
        'sqlite3@5.1.7 matches "sqlite3@5" and "sqlite3@>4.5"',
    ]


def test_all_invalid_entries_are_reported_at_once() -> None:
    assert faults({"a": "sorce", "b@no such range": "run", "../c": "run", "d": ""}) == [
        '"../c": "../c" is not a valid npm package name',
        '"a": "sorce"; did you mean source?',
        '"b@no such range": "no such range" is not a version range',
        '"d": ""',
    ]


def test_undecided_packages_are_listed_with_the_lines_to_add() -> None:
    undecided = [
        ScriptedPackage(
            path="node_modules/sqlite3",
            name="sqlite3",
            version="5.1.6",
            scripts={"install": "node-pre-gyp install --fallback-to-build"},
            production=True,
            variables=(),
        ),
        ScriptedPackage(
            path="node_modules/husky",
            name="husky",
            version="4.3.8",
            scripts={"install": "node husky"},
            production=False,
            variables=(),
        ),
    ]
    with pytest.raises(SlipwayErrors) as raised:
        decisions.require_decisions(undecided, WHERE)
    assert raised.value.faults == (
        'sqlite3@5.1.6, install: "node-pre-gyp install --fallback-to-build"',
        'husky@4.3.8 (dev), install: "node husky"',
    )
    assert '"husky": "skip",' in raised.value.next
    assert '"sqlite3": "source",' in raised.value.next
    decisions.require_decisions([], WHERE)


class TestAllowScripts:
    """npm 12 has a policy of its own in package.json; it should not say the opposite."""

    def _contradictions(self, field: Dict[str, str], policy: Any) -> List[str]:
        packages = make_lock({"node_modules/left": entry("1.2.0", hasInstallScript=True)}).packages
        rules = decisions.parse(field, "//app:bundle, field install_scripts")
        return decisions.contradictions(rules, packages, {"allowScripts": policy})

    @pytest.mark.parametrize("key", ["left", "left@1.2.0", "left@1.0.0 || 1.2.0", "left@*"])
    def test_the_opposite_is_reported(self, key: str) -> None:
        assert self._contradictions({"left": "source"}, {key: False}) == [
            'left@1.2.0: install_scripts has "source", allowScripts in package.json has false'
        ]
        assert self._contradictions({"left": "skip"}, {key: True}) == [
            'left@1.2.0: install_scripts has "skip", allowScripts in package.json has true'
        ]

    def test_false_wins_as_in_npm(self) -> None:
        assert self._contradictions({"left": "run"}, {"left": True, "left@1.2.0": False})

    @pytest.mark.parametrize(
        "policy",
        [
            *({"left": True}, {"left@2.0.0": False}, {"right": False}, {"@x/left": False}),
            *({"left": "no"}, {"": False}, [], "x", None),
        ],
        ids=str,
    )
    def test_agreement_and_other_packages(self, policy: Any) -> None:
        assert self._contradictions({"left": "run"}, policy) == []

    def test_without_a_decision_there_is_no_contradiction(self) -> None:
        assert self._contradictions({}, {"left": True}) == []


def test_a_package_that_is_compiled_already_is_not_to_be_compiled() -> None:
    names = ("prebuilt", "run", "skipped", "source")
    scripted = [
        ScriptedPackage(f"node_modules/{name}", name, "1.0.0", {"install": "x"}, True, ())
        for name in names
    ]
    released = [
        InstalledPackage(one.path, one.name, one.version, 1, decision)
        for one, decision in zip(scripted, ("prebuilt", "run", None, "source"))
    ]
    assert names_to_compile(scripted, released) == {"prebuilt", "run", "skipped"}
