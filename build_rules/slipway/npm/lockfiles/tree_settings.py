"""The settings in a project's .npmrc that change the tree of `npm ci`, or whether it succeeds.

Slipway passes them to the install. It refuses the two that give a tree without the paths of the lockfile,
by which it selects the packages of a release.
"""

from __future__ import annotations

from typing import Dict, List

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles.lock import NpmLock, rewrite_lock
from slipway.npm_registry import npmrc
from slipway.npm_registry.npmrc import Setting

_PASSED = (
    "bin-links",
    "engine-strict",
    "force",
    "global-style",
    "install-links",
    "install-strategy",
    "legacy-bundling",
    "legacy-peer-deps",
    "optional",
    "strict-peer-deps",
)
_LISTS = ("include", "omit")
# An install always has the dev dependencies, which the build needs; a release never has them.
_TYPES = ("optional", "peer")
_FIRST_LINKED = 9  # earlier versions of npm ignore install-strategy


def passed(text: str) -> bytes:
    """The .npmrc of an install: the settings in `text` that change its tree."""
    settings = npmrc.parse(text, ".npmrc", {})
    lines = [f"{key}={settings[key].value}\n" for key in _PASSED if key in settings]
    for key in _LISTS:
        listed = settings[key].value.split(",") if key in settings else []
        lines += [f"{key}[]={kind}\n" for kind in _TYPES if kind in listed]
    return "".join(lines).encode("utf-8")


def refuse(lock: NpmLock, text: str, npm_major: int) -> None:
    """Raises SlipwayErrors with the settings in the project's .npmrc that Slipway does not support."""
    path = f"{lock.folder}/.npmrc".lstrip("/")
    settings = npmrc.parse(text, path, {})
    faults: List[str] = []
    ways_out: List[str] = []
    strategy = settings.get("install-strategy")
    if strategy and strategy.value == "linked" and npm_major >= _FIRST_LINKED:
        faults.append(_fault(strategy, "install-strategy=linked", "every package a link"))
        ways_out.append("remove install-strategy, which gives npm's default: hoisted")
    links = settings.get("install-links")
    folders = _linked_folders(lock)
    if links and links.value == "true" and folders:
        what = f"a copy of {', '.join(folders)} without its link"
        faults.append(_fault(links, "install-links=true", what))
        ways_out.append(f"remove install-links, then: {rewrite_lock(lock.path)}")
    if faults:
        raise SlipwayErrors(
            f'"{path}" has settings of npm that Slipway does not support',
            faults,
            where=path,
            next="\n".join(ways_out),
        )


def _fault(setting: Setting, shown: str, tree: str) -> str:
    return f"{setting.source}: {shown} makes {tree}"


def _linked_folders(lock: NpmLock) -> List[str]:
    kinds: Dict[str, str] = {package.path: package.kind for package in lock.packages}
    return [target for target in lock.link_targets if kinds.get(target) != npm_package.WORKSPACE]
