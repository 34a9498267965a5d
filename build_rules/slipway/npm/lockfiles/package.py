"""One package of an npm lockfile, and the rules for paths and fields in all lockfile versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from slipway.core.errors import SlipwayErrors
from slipway.core.json_text import lines_of_key
from slipway.npm.lockfiles import spec

REGISTRY = spec.REGISTRY
ALIAS = spec.ALIAS
FOLDER = spec.FOLDER
FILE_TARBALL = spec.FILE_TARBALL
REMOTE_TARBALL = spec.REMOTE_TARBALL
GIT = spec.GIT
WORKSPACE = spec.WORKSPACE
BUNDLED = "bundled"
LINK = "link"


@dataclass(frozen=True)
class Package:
    """One path in the tree that the lockfile describes.

    `path` is relative to the lockfile's folder. A `link` is a symlink to the `folder` or `workspace` at
    `target`. `source` is the path of a file tarball, or the URL of a remote tarball or git repository.
    """

    path: str
    name: str
    version: str
    kind: str
    integrity: Optional[str] = None
    source: Optional[str] = None
    target: Optional[str] = None
    dev: bool = False
    optional: bool = False
    dev_optional: bool = False
    peer: bool = False
    extraneous: bool = False
    has_install_script: bool = False
    os: Tuple[str, ...] = ()
    cpu: Tuple[str, ...] = ()
    libc: Tuple[str, ...] = ()
    engines: Tuple[Tuple[str, str], ...] = ()
    bin: Tuple[Tuple[str, str], ...] = ()

    @property
    def in_node_modules(self) -> bool:
        return self.path.startswith("node_modules/") or "/node_modules/" in self.path


@dataclass(frozen=True, order=True)
class Tarball:
    """One tarball to fetch; `url` is set only if package.json names the URL.

    `integrity` is empty if the lockfile lacks it: then the fetch lock pins the content of this name and
    version.
    """

    name: str
    version: str
    integrity: str
    url: Optional[str] = None


class FaultList:
    """Collects faults with their places and next steps, to report all of them in one error."""

    def __init__(self, text: str, path: str, rewrite: str) -> None:
        """`rewrite` is the command that regenerates the lockfile at `path`."""
        self._text, self._path, self._rewrite = text, path, rewrite
        self._faults: List[str] = []
        self._ways_out: Dict[str, None] = {}

    def add(self, at: str, what: str, way_out: str) -> None:
        """Adds a fault; `at` is a path in the tree, or a key of the lockfile."""
        # The keys are names in version 1 lockfiles, and paths in later versions.
        lines = lines_of_key(self._text, at)
        lines = lines or lines_of_key(self._text, at.rpartition("node_modules/")[2])
        line = f":{lines[0]}" if len(lines) == 1 else ""
        self._faults.append(f"{self._path}{line}: {at}: {what}")
        self._ways_out[way_out] = None

    def without_entry(self, at: str) -> str:
        """The next step for an entry that npm writes again after it was removed."""
        return f'remove the entry "{at}" from {self._path}, and run: {self._rewrite}'

    def raise_if_any(self, what: str) -> None:
        if self._faults:
            raise SlipwayErrors(
                what, self._faults, where=self._path, next="\n".join(self._ways_out)
            )


def bad_path(path: str) -> Optional[str]:
    """Why Slipway must not use a path of the lockfile; None if the path is valid."""
    if path.startswith(("/", "\\")) or path[1:2] == ":":
        return "is an absolute path"
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "contains a backslash or a control character"
    segments = path.split("/")
    if ".." in segments:
        return "leaves the application's folder"
    if any(segment in ("", ".") for segment in segments):
        return 'contains an empty part or "."'
    return None


def is_in_another_package(path: str) -> bool:
    """Whether the package at `path` is installed inside of another package, which can bundle it."""
    return f"/{path}".count("/node_modules/") > 1


def inside(path: str) -> Optional[str]:
    """A normalised `file:` path; '' is the folder itself, None if the path leaves the folder."""
    if path.startswith(("/", "~", "\\")):
        return None
    parts: List[str] = []
    for segment in path.split("/"):
        if segment in ("", "."):
            continue
        if segment == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(segment)
    plain = "/".join(parts)
    return plain if not plain or bad_path(plain) is None else None


def leaves_the_app(target: str) -> Tuple[str, str]:
    """The fault and the next step for a local dependency outside the application's folder."""
    what = f'points to "{target}", outside the application\'s folder'
    way_out = (
        "move the package into the application's folder, or `npm pack` it there and depend on "
        '"file:<name>-<version>.tgz", or publish the package'
    )
    return what, way_out


def integrity_of(entry: Mapping[str, Any]) -> Optional[str]:
    """The integrity of an entry; None without an integrity, which some versions of npm write."""
    integrity = entry.get("integrity")
    return integrity if isinstance(integrity, str) and integrity.strip() else None


def text_map(value: Any) -> Dict[str, str]:
    """The string values of a JSON object; other values are left out."""
    if not isinstance(value, Mapping):
        return {}
    return {str(k): v for k, v in value.items() if isinstance(v, str)}


def text_list(value: Any) -> Tuple[str, ...]:
    """The strings of a JSON list, or a single string; npm accepts both."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(entry for entry in value if isinstance(entry, str))
    return ()


def bin_map(name: str, value: Any) -> Tuple[Tuple[str, str], ...]:
    """The `bin` field, a string or an object, as (link name, file) pairs by npm's rules."""
    if isinstance(value, str):
        value = {name.rpartition("/")[2]: value}
    pairs = []
    for link, file in text_map(value).items():
        base = link.replace("\\", "/").replace(":", "/").rpartition("/")[2]
        target = inside_root(file)
        if base not in ("", ".", "..") and target:
            pairs.append((base, target))
    return tuple(pairs)


def inside_root(file: str) -> str:
    """A file path in which `..` stops at the package's root, as npm reads `bin`."""
    parts: List[str] = []
    for segment in file.replace("\\", "/").split("/"):
        if segment == "..":
            parts[-1:] = []
        elif segment not in ("", "."):
            parts.append(segment)
    return "/".join(parts)
