"""package-lock.json and npm-shrinkwrap.json as data, whatever their version.

A lock is read before anything is fetched or run, so that whatever cannot be installed offline, or
would leave the application's folder, is refused with its way out and not met halfway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from build_rules.lib import integrity as sri
from build_rules.lib import npm_spec
from build_rules.lib.errors import SlipwayError, SlipwayErrors
from build_rules.lib.json_text import lines_of_key, load_object

LOCK_NAMES = ("npm-shrinkwrap.json", "package-lock.json")  # npm's own order

REGISTRY = npm_spec.REGISTRY
ALIAS = npm_spec.ALIAS
FOLDER = npm_spec.FOLDER
FILE_TARBALL = npm_spec.FILE_TARBALL
REMOTE_TARBALL = npm_spec.REMOTE_TARBALL
GIT = npm_spec.GIT
WORKSPACE = npm_spec.WORKSPACE
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


@dataclass(frozen=True)
class NpmLock:
    """A lock that was read and found installable. Equal text means an equal lock."""

    path: str
    text: str = field(repr=False)
    version: int
    packages: Tuple[Package, ...] = field(repr=False, compare=False)

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def link_targets(self) -> Tuple[str, ...]:
        """Folders of the application that become links in node_modules."""
        return tuple(sorted({p.target for p in self.packages if p.kind == LINK and p.target}))

    @property
    def manifests(self) -> Tuple[str, ...]:
        """The package.json files that an install reads, relative to the lock's folder."""
        return ("package.json",) + tuple(f"{one}/package.json" for one in self.link_targets)

    @property
    def local_tarballs(self) -> Tuple[Package, ...]:
        return tuple(p for p in self.packages if p.kind == FILE_TARBALL)

    @property
    def tarballs(self) -> Tuple[Tarball, ...]:
        """What has to be fetched, each content once, sorted."""
        found: Dict[Tuple[str, str, str], Tarball] = {}
        for one in self.packages:
            if one.kind in (REGISTRY, ALIAS, REMOTE_TARBALL) and one.integrity:
                url = one.source if one.kind == REMOTE_TARBALL else None
                found.setdefault(
                    (one.name, one.version, one.integrity),
                    Tarball(one.name, one.version, one.integrity, url),
                )
        return tuple(found[key] for key in sorted(found))

    @property
    def with_install_script(self) -> Tuple[Package, ...]:
        """Packages that the lock says have an install script (version 2 and 3 say so)."""
        return tuple(p for p in self.packages if p.has_install_script)


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


def rewrite_lock(path: str) -> str:
    """The command that makes a lock anew, to stand in messages."""
    folder, _, name = path.rpartition("/")
    enter = f"cd {folder} && " if folder else ""
    shrinkwrap = " && npm shrinkwrap" if name == "npm-shrinkwrap.json" else ""
    return f"{enter}npm install --package-lock-only --ignore-scripts{shrinkwrap}"


def parse(text: str, path: str) -> NpmLock:
    """The lock in `text`; `path`, relative to the workspace, is for messages and its folder."""
    from build_rules.lib import npm_lock_v1, npm_lock_v3  # noqa: PLC0415  (they import from here)

    document = load_object(text, path, next=rewrite_lock(path))
    version = document.get("lockfileVersion")
    if isinstance(version, bool) or version not in (1, 2, 3):
        raise SlipwayError(
            f'"{path}" has a lockfileVersion that is not known',
            where=f"{path}: lockfileVersion",
            found="none" if version is None else repr(version),
            next=f"{rewrite_lock(path)} --lockfile-version=3",
        )
    faults = FaultList(text, path)
    if version == 1:
        packages = npm_lock_v1.packages(document, faults)
    else:
        packages = npm_lock_v3.packages(document, faults)
    _check_integrity(packages, faults, path)
    _check_sources(packages, faults)
    faults.raise_if_any(f'the lock "{path}" cannot be installed')
    return NpmLock(path=path, text=text, version=version, packages=tuple(packages))


def refuse_foreign_lock(names: Iterable[str], folder: str) -> None:
    """Raises if another package manager's lock is there and no npm lock; `names` are file names."""
    present = set(names)
    if present & set(LOCK_NAMES):
        return
    prefix = f"{folder}/" if folder else ""
    enter = f"cd {folder} && " if folder else ""
    fresh = "npm install --package-lock-only --ignore-scripts"
    foreign = {
        "yarn.lock": f"{enter}npx synp --source-file yarn.lock",
        "pnpm-lock.yaml": f"{enter}{fresh}",
        "bun.lockb": f"{enter}{fresh}",
        "bun.lock": f"{enter}{fresh}",
    }
    for name, command in foreign.items():
        if name in present:
            raise SlipwayError(
                f'"{prefix}{name}" is not an npm lock',
                where=prefix + name,
                found=f"{name}, and no package-lock.json beside it",
                next=command,
            )
    raise SlipwayError(
        f'no package-lock.json in "{folder or "."}"',
        where=prefix + "package-lock.json",
        next=f"{enter}{fresh}",
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


def _check_integrity(packages: Iterable[Package], faults: FaultList, path: str) -> None:
    for one in packages:
        if one.kind not in (REGISTRY, ALIAS, REMOTE_TARBALL, FILE_TARBALL):
            continue
        if one.integrity is None:
            faults.add(one.path, "has no integrity", f"rm {path}; {rewrite_lock(path)}")
            continue
        try:
            sri.parse(one.integrity)
        except ValueError as error:
            faults.add(one.path, f"integrity: {error}", "restore the lock from version control")


def _check_sources(packages: Iterable[Package], faults: FaultList) -> None:
    for one in packages:
        if one.kind == GIT:
            faults.add(
                one.path,
                f"is a git dependency ({npm_spec.without_login(one.source or '')})",
                "publish it to the registry, or `npm pack` it into the application's folder and "
                'depend on "file:<name>-<version>.tgz"',
            )
