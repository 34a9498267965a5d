"""Packages whose install scripts run: what each of them can see, and what stays of its folder.

Such a package is compiled apart from the rest of the tree, with only what it depends on around it,
so that it is compiled again when one of those changes and not with every edit of the lock.
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Set

from slipway.archive.layers import Entry
from slipway.npm.lockfiles.package import text_map

LISTING = "closure.json"
"""Beside the `node_modules` of a closure: the paths of its packages."""
_SCRIPTS = ("preinstall", "install", "postinstall")
_DEPENDENCIES = ("dependencies", "optionalDependencies", "peerDependencies")
# What node-gyp and make leave beside their results: it tells of the build's own environment, and
# nothing loads it. Folders end in a slash.
_BY_PRODUCTS = (
    "build*/Makefile",
    "*.Makefile",
    "*.target.mk",
    "build*/config.gypi",
    "build*/*/.deps/",
    "build*/*/obj.target/",
    "build*/*/obj/",
    "build*/*/*.a",
    "build*/*/.forge-meta",
    "build*/node_gyp_bins/",
    "build*/gyp-*-tool",
)


def gyp_python(npm_major: int) -> str:
    """The Python that the node-gyp of an npm runs on: that of npm 5 and older knows 2 alone."""
    return "python3" if npm_major >= 6 else "python2.7"


def install_scripts(manifest: Mapping[str, Any], has_gyp_file: bool) -> Dict[str, str]:
    """The scripts that npm runs when it installs the package, by their event."""
    scripts = text_map(manifest.get("scripts"))
    own = {name: scripts[name] for name in _SCRIPTS if scripts.get(name)}
    # npm runs node-gyp for a package that has only this file.
    return own or ({"install": "node-gyp rebuild"} if has_gyp_file else {})


def closure(path: str, manifests: Mapping[str, Mapping[str, Any]]) -> FrozenSet[str]:
    """The package at `path` and all that it may require, by Node's rule of the nearest folder.

    `manifests` are those of the installed packages, by path.
    """
    found: Set[str] = set()
    queue = [path]
    while queue:
        one = queue.pop()
        if one in found:
            continue
        found.add(one)
        for kind in _DEPENDENCIES:
            for name in text_map(manifests[one].get(kind)):
                place = _resolve(name, one, manifests)
                if place is not None:
                    queue.append(place)
    return frozenset(found)


def _resolve(name: str, path: str, known: Mapping[str, object]) -> Optional[str]:
    folder = path
    while True:
        place = f"{folder}/node_modules/{name}".lstrip("/")
        if place in known:
            return place
        if not folder:
            return None
        folder = folder.rpartition("/node_modules/")[0] if "/node_modules/" in folder else ""


def listing(paths: Iterable[str]) -> Entry:
    """The paths of a closure, as a file that travels with it."""
    return Entry(LISTING, "file", content=json.dumps(sorted(paths)).encode())


def is_by_product(file: str) -> bool:
    """Whether a file, relative to its package's folder, is left by the compilation alone."""
    return any(
        fnmatch.fnmatchcase(file, pattern + "*" if pattern.endswith("/") else pattern)
        for pattern in _BY_PRODUCTS
    )


def layer_name(path: str) -> str:
    """`addon-<name>` for the package at a path of the tree, unique and fit for a file's name."""
    return "addon-" + path.replace("node_modules/", "").replace("/", "+")
