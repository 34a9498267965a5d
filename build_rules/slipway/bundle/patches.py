"""Changes of installed packages, which a release does not contain.

A release contains its packages as npm installed them, so that installs are shared and every file has a
known origin. patch-package, and any other script that changes node_modules, would work in the build and
be lost in the release.
"""

from __future__ import annotations

import os
import re
import tarfile
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Tuple,
)

from slipway.npm.lockfiles.package import text_map
from slipway.npm.lockfiles.production import owner

_TOOL = "patch-package"
_FOLDER_OPTION = re.compile(r"--patch-dir[= ]([^\s&;|\"']+)")
# Caches of build tools, which nothing reads at run time.
_CACHES = ("node_modules/.cache", "node_modules/.vite", "node_modules/.vite-temp")
_State = Tuple[int, int]


def patch_folder(scripts: Mapping[str, str]) -> str:
    """The folder of the patches that a script applies with patch-package; empty if no script does."""
    for script in scripts.values():
        if _TOOL in script:
            match = _FOLDER_OPTION.search(script)
            return os.path.normpath(match.group(1)) if match else "patches"
    return ""


def package_of_patch(file: str) -> str:
    """The package that a file such as `@scope+name+1.2.3.patch` or `outer++name+1.2.3.patch` changes.

    Empty for a patch that patch-package applies only with dev dependencies.
    """
    name = os.path.basename(file)
    if name.endswith(".dev.patch"):
        return ""
    parts = name[: -len(".patch")].rpartition("++")[2].split("+")
    return "/".join(parts[:2]) if parts[0].startswith("@") else parts[0]


def patched_by_npm(manifest: Mapping[str, Any]) -> Dict[str, str]:
    """The field `patchedDependencies` of a package.json: the package name for each patch file."""
    patches = text_map(manifest.get("patchedDependencies"))
    return {file: label[:1] + label[1:].partition("@")[0] for label, file in patches.items()}


def way_out(path: str, name: str, version: str, scripts: Iterable[str] = ()) -> str:
    """How to release a changed package; `path` is its place in the installed tree.

    `scripts` change it after `npm ci`, which runs the install scripts of the application itself.
    """
    changing = "".join(f"npm run {script} && " for script in scripts)
    tarball = f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    return (
        "add the changed package to the application, in the application's folder:\n"
        f"npm ci && {changing}npm pack --ignore-scripts ./{path} && npm install ./{tarball}\n"
        "then remove its patch; if only the build needs the package, make it a dev dependency"
    )


# --- In the build step.


class Changes(NamedTuple):
    """What scripts did to installed packages.

    `changed` are the changed and removed files of production packages. `added` are new files in
    production packages and beside all packages.
    """

    changed: Tuple[str, ...]
    added: Tuple[str, ...]


class InstalledFiles:
    """The files in the `node_modules` folders of `top`, as they are when this is made.

    `archives` are the tar files that they were unpacked from, and `packages` the production packages by
    path.
    """

    def __init__(self, top: str, archives: Sequence[str], packages: Iterable[str]) -> None:
        self._top, self._archives = top, archives
        self._packages = frozenset(packages)
        self._before = dict(self._states())

    def changes(self) -> Changes:
        after = dict(self._states())
        touched = sorted(path for path, state in self._before.items() if after.get(path) != state)
        ours = [path for path in touched if owner(self._packages, path) is not None]
        same = self._unchanged([path for path in ours if path in after])
        new = [path for path in sorted(after.keys() - self._before.keys()) if self._matters(path)]
        return Changes(tuple(path for path in ours if path not in same), tuple(new))

    def _matters(self, path: str) -> bool:
        if owner(_CACHES, path) is not None or "/node_modules/.bin/" in f"/{path}":
            return False
        package = path.rpartition("node_modules/")[2]
        return package.startswith(".") or owner(self._packages, path) is not None

    def _states(self) -> Iterator[Tuple[str, _State]]:
        for folder, _, files in os.walk(self._top):
            shown = os.path.relpath(folder, self._top)
            if "node_modules" not in shown.split("/"):
                continue
            for name in files:
                state = os.lstat(os.path.join(folder, name))
                yield os.path.join(shown, name), (state.st_size, state.st_mtime_ns)

    def _unchanged(self, paths: List[str]) -> FrozenSet[str]:
        """Those of `paths` that a script wrote again with the same content."""
        wanted, same = set(paths), set()
        for archive in self._archives if wanted else ():
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    place = os.path.join(self._top, member.name)
                    if member.name in wanted and member.isfile() and os.path.isfile(place):
                        content = tar.extractfile(member)
                        with open(place, "rb") as file:
                            if content is not None and file.read() == content.read():
                                same.add(member.name)
        return frozenset(same)
