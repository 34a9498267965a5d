"""One package of an npm lock, and what all lock versions agree on about paths and fields."""

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
    """One place in the tree that the lock describes.

    `path` is relative to the lock's folder. A `link` is a symbolic link to the `folder` or
    `workspace` at `target`. `source` is the file of a file tarball or the address of a remote one.
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
    engines: Tuple[Tuple[str, str], ...] = ()
    bin: Tuple[Tuple[str, str], ...] = ()

    @property
    def in_node_modules(self) -> bool:
        return self.path.startswith("node_modules/") or "/node_modules/" in self.path


@dataclass(frozen=True, order=True)
class Tarball:
    """One tarball to fetch: by name, version and integrity; `url` only where the user wrote it."""

    name: str
    version: str
    integrity: str
    url: Optional[str] = None


class FaultList:
    """Gathers faults with their places and ways out, to tell them all at once."""

    def __init__(self, text: str, path: str) -> None:
        self._text, self._path = text, path
        self._faults: List[str] = []
        self._ways_out: Dict[str, None] = {}

    def add(self, at: str, what: str, way_out: str) -> None:
        """`at` is a path in the tree, or a key of the lock."""
        # Version 1 locks have names for keys, later ones paths.
        lines = lines_of_key(self._text, at)
        lines = lines or lines_of_key(self._text, at.rpartition("node_modules/")[2])
        line = f":{lines[0]}" if len(lines) == 1 else ""
        self._faults.append(f"{self._path}{line}: {at}: {what}")
        self._ways_out[way_out] = None

    def raise_if_any(self, what: str) -> None:
        if self._faults:
            raise SlipwayErrors(
                what, self._faults, where=self._path, next="\n".join(self._ways_out)
            )


def bad_path(path: str) -> Optional[str]:
    """Why a folder or file path of a lock must not be used; None if it may."""
    if path.startswith(("/", "\\")) or path[1:2] == ":":
        return "is an absolute path"
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "holds a character that no path should"
    segments = path.split("/")
    if ".." in segments:
        return "leaves the application's folder"
    if any(segment in ("", ".") for segment in segments):
        return "is not in its plain form"
    return None


def inside(path: str) -> Optional[str]:
    """A `file:` path in its plain form, '' for the folder itself; None if it leaves the folder."""
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
    """What to say of a local dependency outside the application's folder, and the way out."""
    what = f'points to "{target}", outside the application\'s folder'
    way_out = (
        "move the folder below the application's, or `npm pack` it there and depend on "
        '"file:<name>-<version>.tgz", or publish it'
    )
    return what, way_out


def text_map(value: Any) -> Dict[str, str]:
    """A JSON object of strings; whatever else stands in it is left out."""
    if not isinstance(value, Mapping):
        return {}
    return {str(k): v for k, v in value.items() if isinstance(v, str)}


def text_list(value: Any) -> Tuple[str, ...]:
    """A JSON list of strings, or one string, as npm takes both."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(one for one in value if isinstance(one, str))
    return ()


def bin_map(name: str, value: Any) -> Tuple[Tuple[str, str], ...]:
    """The `bin` field as (link name, file) pairs, in order, by npm's rules for both forms."""
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
    """A file path with `..` stopped at the package's root, as npm reads `bin`."""
    parts: List[str] = []
    for segment in file.replace("\\", "/").split("/"):
        if segment == "..":
            parts[-1:] = []
        elif segment not in ("", "."):
            parts.append(segment)
    return "/".join(parts)
