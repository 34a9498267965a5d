"""Which settings of the user a fetching program receives."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Sequence

import pytest
from pants.engine.env_vars import CompleteEnvironmentVars

from slipway.core.errors import SlipwayError
from slipway.step.rules import network_step

MIRROR = "https://user:sesame{}x@mirror.example/"


def _settings(mirrors: Any, binaries: Any, archives: Sequence[str] = ()) -> Any:
    options: Any = SimpleNamespace(
        npm_registry=None,
        debian_mirror=None,
        debian_archives=archives,
        debian_trusted=(),
        npmrc_variables=(),
        mirrors=mirrors,
    )
    return network_step._settings(
        SimpleNamespace(project="apps/x"),  # type: ignore[arg-type]
        SimpleNamespace(build_root="/repo", named_caches="/caches"),  # type: ignore[arg-type]
        options,
        SimpleNamespace(mirrors=binaries),  # type: ignore[arg-type]
        {},  # type: ignore[arg-type]
    )


def test_the_mirrors_of_the_options() -> None:
    mirror = MIRROR.format("%23")
    given = _settings({"https://nodejs.example/": mirror}, {"sqlite3": mirror})
    assert given["mirrors"] == {"https://nodejs.example/": mirror}
    assert given["binary_mirrors"] == {"sqlite3": mirror}


@pytest.mark.parametrize("option", ["[slipway] mirrors", "[install-scripts] mirrors"])
def test_a_mirror_whose_password_is_not_escaped_is_told_without_it(option: str) -> None:
    wrong = {"x": MIRROR.format("#")}
    with pytest.raises(SlipwayError, match='the mirror for "x" is not an address') as caught:
        _settings(wrong if "slipway" in option else {}, wrong if "scripts" in option else {})
    assert caught.value.where == option
    assert "sesame" not in str(caught.value)


def test_archives_of_debian_packages_are_addresses_or_folders() -> None:
    texts = ("kept/packages", "/srv/kept packages", "file:///srv/x", "https://kept.example/debian")
    assert _settings({}, {}, texts)["debian_archives"] == [
        "file:///repo/kept/packages",
        "file:///srv/kept%20packages",
        "file:///srv/x",
        "https://kept.example/debian",
    ]


def test_an_archive_whose_password_is_not_escaped_is_told_without_it() -> None:
    with pytest.raises(SlipwayError, match="is not an address") as caught:
        _settings({}, {}, [MIRROR.format("#")])
    assert caught.value.where == "[slipway] debian_archives"
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("names", [("pip3", "pip"), ("pip",)])
def test_without_a_locked_pip_the_users_own_is_used(
    names: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    assert network_step._pip(CompleteEnvironmentVars({"PATH": str(tmp_path)})) == ()
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    found = network_step._pip(CompleteEnvironmentVars({"PATH": str(tmp_path)}))
    assert found == (str(tmp_path / names[0]),)


def test_a_locked_pip_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "pip.whl").write_bytes(b"")
    (tmp_path / "pip3").write_text("#!/bin/sh\n")
    (tmp_path / "pip3").chmod(0o755)
    found = network_step._pip(CompleteEnvironmentVars({"PATH": str(tmp_path)}))
    assert found == (sys.executable, "-I", str(tmp_path / "pip.whl" / "pip"))
