"""Packages whose install scripts run: the files that they see, and the files to keep.

Slipway compiles such a package separately, with only its dependencies around it. So it compiles the
package again only when one of these changes, and not after every edit of the lockfile.
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Set

from slipway.archive.layers import Entry
from slipway.npm.lockfiles.package import text_map

LISTING = "closure.json"
"""The file beside the `node_modules` of a closure that lists the paths of its packages."""
_SCRIPTS = ("preinstall", "install", "postinstall")
_DEPENDENCIES = ("dependencies", "optionalDependencies", "peerDependencies")
# Files that node-gyp and make leave beside their results. They contain details of the build environment,
# which would make releases differ, and nothing loads them. Folders end with a slash.
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
    """The Python for node-gyp; the node-gyp of npm 5 and older supports only Python 2."""
    return "python3" if npm_major >= 6 else "python2.7"


def install_scripts(manifest: Mapping[str, Any], has_gyp_file: bool) -> Dict[str, str]:
    """The scripts that npm runs when it installs the package, by their event."""
    scripts = text_map(manifest.get("scripts"))
    own = {name: scripts[name] for name in _SCRIPTS if scripts.get(name)}
    # npm runs node-gyp if a package has a binding.gyp and no install script.
    return own or ({"install": "node-gyp rebuild"} if has_gyp_file else {})


def scripts_of_folder(manifest: Mapping[str, Any]) -> Dict[str, str]:
    """The scripts that npm runs in a folder that it links, by their event."""
    scripts = text_map(manifest.get("scripts"))
    # npm prepares a linked folder, but never a package of a registry.
    return {name: scripts[name] for name in (*_SCRIPTS, "prepare") if scripts.get(name)}


def closure(path: str, manifests: Mapping[str, Mapping[str, Any]]) -> FrozenSet[str]:
    """The paths of the package at `path` and of all its dependencies, as Node resolves them.

    `manifests` has the package.json of each installed package, by path.
    """
    paths: Set[str] = set()
    queue = [path]
    while queue:
        current = queue.pop()
        if current in paths:
            continue
        paths.add(current)
        for kind in _DEPENDENCIES:
            for name in text_map(manifests[current].get(kind)):
                place = _resolve(name, current, manifests)
                if place is not None:
                    queue.append(place)
    return frozenset(paths)


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
    """A file with the paths of a closure, for its archive."""
    return Entry(LISTING, "file", content=json.dumps(sorted(paths)).encode())


def is_by_product(file: str) -> bool:
    """Whether a file is a by-product of compilation; `file` is relative to the package's folder."""
    return any(
        fnmatch.fnmatchcase(file, pattern + "*" if pattern.endswith("/") else pattern)
        for pattern in _BY_PRODUCTS
    )


def layer_name(path: str) -> str:
    """`addon-<name>` for the package at `path`; unique and valid as a file name."""
    return "addon-" + path.replace("node_modules/", "").replace("/", "+")
