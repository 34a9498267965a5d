"""Packages that do not support the pinned Node are reported, as npm reports them."""

from __future__ import annotations

from typing import Any, Collection, Dict, Optional

import pytest

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles import engines
from slipway.npm.lockfiles.engines import Engines
from tests.unit.npm.builders import entry, make_lock

PINNED = Engines("16.20.2", "8.19.4")
NEW: Dict[str, Any] = {"engines": {"node": ">=18"}}
OLD: Dict[str, Any] = {"engines": {"node": ">=4", "npm": ">=3"}}
SHARP: Dict[str, Any] = {
    "optional": True,
    "os": ["linux"],
    "cpu": ["x64"],
    "libc": ["glibc"],
    "engines": {"node": "^18.17.0 || >=20.3.0"},
}


def _warning(
    packages: Dict[str, Any],
    absent: Collection[str] = (),
    pinned: Engines = PINNED,
    **manifest: Any,
) -> Optional[str]:
    return engines.warning(make_lock(packages), {"package.json": manifest}, pinned, absent)


def _refusal(npmrc: str, packages: Dict[str, Any], **manifest: Any) -> SlipwayErrors:
    with pytest.raises(SlipwayErrors) as caught:
        _strict(npmrc, packages, **manifest)
    return caught.value


def _strict(npmrc: str, packages: Dict[str, Any], **manifest: Any) -> None:
    lock = make_lock(packages)
    engines.refuse_if_strict(lock, {"package.json": manifest}, PINNED, npmrc, "//apps/x:bundle")


def test_all_packages_that_exclude_the_node_are_in_one_text() -> None:
    text = _warning(
        {
            "node_modules/a": entry(name="a", **NEW),
            "node_modules/b": entry(name="b", **OLD),
            "node_modules/b/node_modules/a": entry(name="a", **NEW),
            "node_modules/c": entry("2.0.0", "c", dev=True, engines={"node": "20 || >=22"}),
        }
    )
    assert text == (
        "Node 16.20.2 is not in engines.node of these packages:\n"
        "a@1.0.0: >=18\n"
        "c@2.0.0 (dev): 20 || >=22"
    )


def test_the_application_itself() -> None:
    text = _warning({}, engines={"node": "^20"})
    assert text is not None
    assert text.endswith("apps/x/package.json: ^20")


def test_an_optional_package_that_npm_left_out_for_its_engines() -> None:
    name = "node_modules/@img/sharp-linux-x64"
    text = _warning({name: entry(**SHARP)}, [name])
    assert text == (
        "npm left out these optional packages, whose engines exclude Node 16.20.2 or npm 8.19.4:\n"
        "@img/sharp-linux-x64@1.0.0: node ^18.17.0 || >=20.3.0"
    )


@pytest.mark.parametrize(
    "fields", [{"os": ["darwin"]}, {"cpu": ["!x64"]}, {"libc": ["musl"]}], ids=str
)
def test_a_package_for_another_system_is_no_news(fields: Dict[str, Any]) -> None:
    assert _warning({"node_modules/a": entry(**{**SHARP, **fields})}, ["node_modules/a"]) is None


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ("16.20.2", ""),
        ("16.20.2", "*"),
        ("16.20.2", ">=0.10 <0.11 || 16.x"),
        ("16.20.2", "no range"),
        ("7.0.0-pre", ">=7"),
    ],
)
def test_a_range_that_fits_or_that_nobody_can_read(node: str, wanted: str) -> None:
    packages = {"node_modules/a": entry(engines={"node": wanted})}
    assert _warning(packages, pinned=Engines(node, "")) is None


def test_only_twenty_packages_are_named() -> None:
    text = _warning({f"node_modules/a{n}": entry(name=f"a{n}", **NEW) for n in range(25)})
    assert text is not None
    assert text.splitlines()[-1] == "… and 5 more"
    assert len(text.splitlines()) == 22


def test_a_range_cannot_imitate_a_message() -> None:
    text = _warning({"node_modules/a": entry(engines={"node": ">=18\n\x1b[2J"})})
    assert text is None or "\x1b" not in text


class TestEngineStrict:
    """npm refuses to install; the next step is the runtime or the package, not the lockfile."""

    def test_the_runtime_and_the_package_are_named(self) -> None:
        packages = {
            "node_modules/a": entry(name="a", **NEW),
            "node_modules/@b/b": entry(name="@b/b", **NEW),
        }
        error = _refusal("\nengine-strict=true\n", packages, dependencies={"a": "1"})
        assert error.what == (
            "packages do not support Node 16.20.2 and npm 8.19.4, and engine-strict=true rejects them"
        )
        assert error.faults == ("@b/b@1.0.0: node >=18", "a@1.0.0: node >=18")
        assert error.where == "//apps/x:bundle, field runtime, and apps/x/.npmrc:2"
        assert error.next == (
            'set runtime to a node_runtime with node ">=18"\n'
            "or depend on a version of a that supports node 16.20.2\n"
            "or remove engine-strict from apps/x/.npmrc"
        )

    def test_a_dependency_of_a_package(self) -> None:
        error = _refusal("engine-strict=true", {"node_modules/a": entry(name="a", **NEW)})
        command = "cd apps/x && npm ls --package-lock-only a"
        assert f"supports node 16.20.2; what depends on it: {command}\n" in error.next

    def test_the_application_itself(self) -> None:
        error = _refusal("engine-strict", {}, engines={"node": ">=18"})
        assert error.faults == ("apps/x/package.json: node >=18",)
        assert "or correct engines in apps/x/package.json" in error.next

    def test_npm(self) -> None:
        packages = {"node_modules/a": entry(name="a", engines={"npm": ">=10"})}
        error = _refusal("engine-strict=true\nforce=true\n", packages)
        assert error.next.startswith('set runtime to a node_runtime with npm ">=10"')

    @pytest.mark.parametrize("npmrc", ["", "engine-strict=false", "engine-strict=true\nforce=true"])
    def test_no_refusal_without_the_setting(self, npmrc: str) -> None:
        _strict(npmrc, {"node_modules/a": entry(name="a", **NEW)})

    def test_no_refusal_for_optional_packages(self) -> None:
        _strict("engine-strict=true", {"node_modules/a": entry(**SHARP)})
