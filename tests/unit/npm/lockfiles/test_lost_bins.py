"""A lockfile that lost `bin` is named: npm links no command, and a script fails with "not found"."""

from __future__ import annotations

import pytest

from slipway.npm.lockfiles import lost_bins
from tests.unit.npm.builders import entry, make_lock

LEFT = {"node_modules/left": {"left": "bin/cmd.js"}}


def test_the_message_has_the_field_to_add() -> None:
    assert lost_bins.warning(make_lock(), LEFT, 8) == (
        'apps/x/package-lock.json lost "bin" of these packages, so npm did not link their commands:\n'
        'left@1.0.0, "node_modules/left": "bin": {"left": "bin/cmd.js"}\n'
        "add these fields to the entries in apps/x/package-lock.json; or remove the entries, and run:\n"
        "cd apps/x && npm install --package-lock-only --ignore-scripts"
    )


@pytest.mark.parametrize("npm_major", [7, 8, 11])
def test_a_lock_with_bin_lost_nothing(npm_major: int) -> None:
    """With bin-links=false npm links nothing, and of two equal names it links one."""
    lock = make_lock({"node_modules/left": entry(bin={"left": "bin/cmd.js"})})
    assert lost_bins.warning(lock, LEFT, npm_major) is None


def test_npm_6_reads_the_installed_package() -> None:
    assert lost_bins.warning(make_lock(), LEFT, 6) is None


def test_links_to_folders_have_their_bin_in_package_json() -> None:
    packages = {
        "libs/left": {"version": "1.0.0"},
        "node_modules/left": {"resolved": "libs/left", "link": True},
    }
    assert lost_bins.warning(make_lock(packages), LEFT, 8) is None


def test_names_of_files_are_one_line() -> None:
    text = lost_bins.warning(make_lock(), {"node_modules/left": {"left\n\x1b": "a\u202e"}}, 8)
    assert text is not None
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4


def test_ten_packages_are_named() -> None:
    packages = {f"node_modules/a{n}": entry(name=f"a{n}") for n in range(12)}
    text = lost_bins.warning(make_lock(packages), {path: {"x": "x.js"} for path in packages}, 8)
    assert text is not None
    assert "… and 2 more" in text
