"""package-lock.json and npm-shrinkwrap.json of all versions as data.

Slipway reads the lockfile before it fetches or runs anything. It rejects dependencies that npm cannot
install offline, and paths outside the application's folder, and says what to do instead.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Collection, Dict, FrozenSet, Iterable, List, Sequence, Tuple

from slipway.core.errors import SlipwayError
from slipway.core.json_text import load_object
from slipway.fetch import integrity as sri
from slipway.npm.lockfiles import platform, spec, v1, v3
from slipway.npm.lockfiles.package import (
    ALIAS,
    FILE_TARBALL,
    FOLDER,
    GIT,
    LINK,
    REGISTRY,
    REMOTE_TARBALL,
    FaultList,
    Package,
    Tarball,
)

FETCHED = (REGISTRY, ALIAS, REMOTE_TARBALL)  # the kinds whose tarballs come from the network
_OF_REGISTRY = (REGISTRY, ALIAS)
_EXACT = re.compile(r"^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+\-]*)?\Z")
_RESTORE = "restore the lockfile from version control"
LOCK_NAMES = ("npm-shrinkwrap.json", "package-lock.json")  # npm prefers the first


@dataclass(frozen=True)
class NpmLock:
    """A valid, installable lockfile. Lockfiles with equal text are equal.

    `member` is the folder of one member of npm workspaces, if this is only the part that it needs.
    """

    path: str
    text: str = field(repr=False)
    version: int
    packages: Tuple[Package, ...] = field(repr=False, compare=False)
    member: str = ""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def link_targets(self) -> Tuple[str, ...]:
        """Folders of the application that npm links into node_modules."""
        return tuple(sorted({p.target for p in self.packages if p.kind == LINK and p.target}))

    @property
    def manifests(self) -> Tuple[str, ...]:
        """The package.json files that an install reads, relative to the lockfile's folder."""
        return ("package.json",) + tuple(f"{target}/package.json" for target in self.link_targets)

    @property
    def local_tarballs(self) -> Tuple[Package, ...]:
        return tuple(p for p in self.packages if p.kind == FILE_TARBALL)

    @property
    def tarballs(self) -> Tuple[Tarball, ...]:
        """The tarballs to fetch, each content once, sorted.

        npm does not install optional packages for other systems, so they are not among these.
        """
        by_key: Dict[Tuple[str, str, str], Tarball] = {}
        for package in self.packages:
            if package.kind in FETCHED and not _is_for_others(package):
                tarball = _tarball(package)
                by_key.setdefault((tarball.name, tarball.version, tarball.integrity), tarball)
        return tuple(by_key[key] for key in sorted(by_key))

    @property
    def foreign_tarballs(self) -> FrozenSet[Tarball]:
        """The tarballs of optional packages for other systems."""
        foreign = {_tarball(one) for one in self.packages if _is_for_others(one)}
        return frozenset(foreign) - frozenset(self.tarballs)

    @property
    def optional_tarballs(self) -> FrozenSet[Tarball]:
        """The tarballs of optional packages alone, without which npm installs the others."""
        fetched = [package for package in self.packages if package.kind in FETCHED]
        needed = {_tarball(package) for package in fetched if not package.optional}
        return frozenset(_tarball(package) for package in fetched) - needed

    @property
    def with_install_script(self) -> Tuple[Package, ...]:
        """Packages with an install script according to the lockfile; only versions 2 and 3 know."""
        return tuple(p for p in self.packages if p.has_install_script)


def _is_for_others(package: Package) -> bool:
    return package.kind in FETCHED and package.optional and not platform.fits(package)


def _tarball(package: Package) -> Tarball:
    url = package.source if package.kind == REMOTE_TARBALL else None
    return Tarball(package.name, package.version, package.integrity or "", url)


def rewrite_lock(path: str) -> str:
    """The command that regenerates a lockfile, for messages."""
    folder, _, name = path.rpartition("/")
    enter = f"cd {folder} && " if folder else ""
    shrinkwrap = " && npm shrinkwrap" if name == "npm-shrinkwrap.json" else ""
    return f"{enter}npm install --package-lock-only --ignore-scripts{shrinkwrap}"


def parse(text: str, path: str) -> NpmLock:
    """Reads the lockfile in `text`; `path` is relative to the workspace.

    Raises SlipwayError or SlipwayErrors if the lockfile cannot be installed offline.
    """
    document = load_object(text, path, next=rewrite_lock(path))
    version = document.get("lockfileVersion")
    if isinstance(version, bool) or version not in (1, 2, 3):
        raise SlipwayError(
            f'"{path}" has an unsupported lockfileVersion',
            where=f"{path}: lockfileVersion",
            found="none" if version is None else repr(version),
            next=f"{rewrite_lock(path)} --lockfile-version=3",
        )
    faults = FaultList(text, path, rewrite_lock(path))
    packages = v1.packages(document, faults) if version == 1 else v3.packages(document, faults)
    packages = _with_shared_integrity(packages)
    _check_integrity(packages, faults, path)
    _check_sources(packages, faults, path)
    faults.raise_if_any(f'cannot install from the lockfile "{path}"')
    return NpmLock(path=path, text=text, version=version, packages=tuple(packages))


def require_equal_tables(lock: NpmLock) -> None:
    """Raises SlipwayErrors if a version 2 lockfile has other packages for npm 6.

    npm 6 reads the table "dependencies"; npm 7 and later, and Slipway, read "packages".
    """
    faults = FaultList(lock.text, lock.path, rewrite_lock(lock.path))
    checked = {package.path: package for package in lock.packages if package.in_node_modules}
    way_out = f"{rewrite_lock(lock.path)} --lockfile-version=2"
    document = load_object(lock.text, lock.path, next=way_out)
    missing = dict(checked)
    for package in _with_shared_integrity(v1.packages(document, faults)):
        missing.pop(package.path, None)
        other = checked.get(package.path)
        if other is None:
            faults.add(package.path, 'is only in "dependencies"', way_out)
        elif _identity(package) != _identity(other):
            faults.add(package.path, 'differs between "dependencies" and "packages"', way_out)
    for path in missing:
        faults.add(path, 'is only in "packages"', way_out)
    faults.raise_if_any(
        f'the tables "packages" and "dependencies" of the lockfile "{lock.path}" differ, and npm 6 '
        'reads "dependencies"'
    )


def _identity(package: Package) -> Tuple[object, ...]:
    """The facts that define the content of a package, in both tables."""
    named = package.kind in (REGISTRY, ALIAS)
    return (
        package.kind,
        package.integrity,
        package.source,
        package.target,
        (package.name, package.version) if named else None,
    )


def refuse_foreign_lock(names: Iterable[str], folder: str) -> None:
    """Raises SlipwayError if a folder has no npm lockfile; a lockfile of another package manager is named."""
    present = set(names)
    if present & set(LOCK_NAMES):
        return
    prefix = f"{folder}/" if folder else ""
    enter = f"cd {folder} && " if folder else ""
    fresh = "npm install --package-lock-only --ignore-scripts"
    # npm 7 and later import the versions of a yarn.lock; npm does not read the other lockfiles.
    foreign = {
        "yarn.lock": "npm keeps the versions",
        "pnpm-lock.yaml": "npm chooses new versions",
        "bun.lockb": "npm chooses new versions",
        "bun.lock": "npm chooses new versions",
    }
    for name, consequence in foreign.items():
        if name in present:
            raise SlipwayError(
                f'"{prefix}{name}" is not an npm lockfile',
                where=prefix + name,
                found=f"{name} and no package-lock.json",
                next=f"{enter}{fresh}   # with npm 7 or later: {consequence}",
            )
    raise SlipwayError(
        f'no package-lock.json in "{folder or "."}"',
        where=prefix + "package-lock.json",
        next=f"{enter}{fresh}",
    )


def _with_shared_integrity(packages: Sequence[Package]) -> List[Package]:
    """Gives entries without integrity the integrity of another entry for the same name and version."""
    known = _integrities(packages)
    shared = []
    for package in packages:
        others = known.get((package.name, package.version), frozenset())
        if package.kind in _OF_REGISTRY and package.integrity is None and len(others) == 1:
            shared.append(dataclasses.replace(package, integrity=min(others)))
        else:
            shared.append(package)
    return shared


def _integrities(packages: Iterable[Package]) -> Dict[Tuple[str, str], FrozenSet[str]]:
    """The integrities of each name and version from the registry."""
    known: Dict[Tuple[str, str], FrozenSet[str]] = {}
    for package in packages:
        if package.kind in _OF_REGISTRY and package.integrity:
            key = package.name, package.version
            known[key] = known.get(key, frozenset()) | {package.integrity}
    return known


def _check_integrity(packages: Sequence[Package], faults: FaultList, path: str) -> None:
    known = {*_integrities(packages)}
    known.update((p.name, p.version) for p in packages if p.kind == REMOTE_TARBALL)
    for package in packages:
        if package.integrity is not None and package.kind in (*FETCHED, FILE_TARBALL):
            try:
                sri.parse(package.integrity)
            except ValueError as error:
                faults.add(package.path, f"integrity: {error}", _RESTORE)
        elif package.integrity is None and package.kind == REMOTE_TARBALL:
            # The fetch lock has no URLs: it could not tell an edited URL from the one that it pins.
            way_out = f"{rewrite_lock(path)} {package.name}@<its URL in package.json>"
            faults.add(package.path, "has no integrity", way_out)
        elif package.integrity is None and package.kind in _OF_REGISTRY:
            reason = _why_not_by_name(package, known)
            if reason:
                faults.add(package.path, f"has no integrity, and {reason}", _RESTORE)


def _why_not_by_name(package: Package, known: Collection[Tuple[str, str]]) -> str:
    """Why name and version do not identify the tarball of a package without integrity; or empty.

    `known` are the names and versions for which other entries have a content.
    """
    if not _EXACT.match(package.version):
        return f'"{package.version}" is not an exact version'
    if (package.name, package.version) in known:
        return f"other entries have several contents for {package.name}@{package.version}"
    return ""


def _check_sources(packages: Iterable[Package], faults: FaultList, path: str) -> None:
    for package in packages:
        source = package.source or ""
        if package.kind == FILE_TARBALL and spec.parse(f"file:{source}").kind == FOLDER:
            faults.add(
                package.path,
                f'is a copy of the folder "{source}", made with the npm setting install-links',
                f"{rewrite_lock(path)} --install-links=false",
            )
        if package.kind == GIT:
            faults.add(
                package.path,
                f"is a git dependency ({spec.without_login(package.source or '')})",
                "publish the package to a registry, or `npm pack` it into the application's folder and "
                'depend on "file:<name>-<version>.tgz"',
            )
