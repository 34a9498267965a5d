"""Builds the tree of a root file system from locked packages and a spec.

Packages are only unpacked, and their maintainer scripts never run. The spec lists the links, files
and folders that these scripts would create and that build steps need. Entries of the spec take
precedence over entries of packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import posixpath
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Optional, Set, Tuple

from slipway.abi.policy import AbiPolicy
from slipway.archive.rootfs import (
    Content,
    Entry,
    Tree,
    add_mount_points,
    link_entry,
    linked_entry,
    member_entry,
    member_path,
    text_entry,
)
from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError, SlipwayErrors, suggesting
from slipway.debian import package as deb
from slipway.debian.lock import DebianLock, LockedPackage
from slipway.elf.reader import MAGIC, needed_libraries
from slipway.toolchain.image_spec import ImageSpec, path_pattern
from slipway.toolchain.link_surface import apply_surface

_LIBRARY_FOLDERS = (
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib",
    "usr/lib",
    "lib64",
    "usr/lib64",
    "usr/local/lib",
)
_FETCH_AGAIN = "run the same command again, which fetches the package again"
_LOCK_ANOTHER = "set another mirror in [slipway] debian_mirror, and regenerate the lock"


def build_tree(
    spec: ImageSpec,
    lock: DebianLock,
    debs: str,
    lower: Tree,
    policy: Optional[AbiPolicy] = None,
) -> Tree:
    """The tree of the root: the layers in `lower`, the packages, and the entries of the spec.

    `debs` is a folder with the packages as <sha256>.deb. `policy` is the ABI policy of the link
    surface, which is required if the spec has one. Raises SlipwayError.
    """
    tree = Tree(dict(lower.entries))
    own = _add_own(tree, spec)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        packages = pool.map(lambda locked: _read(locked, debs), lock.packages)
        named = dict(zip((locked.name for locked in lock.packages), packages))
    _add_packages(tree, spec, named, own)
    _edit(tree, spec)
    if spec.surface is not None:
        _apply_surface(tree, spec, policy)
    _check_links(tree, spec)
    _check_libraries(tree, spec)
    return tree


def _add_own(tree: Tree, spec: ImageSpec) -> Set[str]:
    """Adds the spec's entries first, because its links redirect packages; returns their paths."""
    own: Set[str] = set()
    entries: Dict[str, Entry] = {path: link_entry(target) for path, target in spec.links.items()}
    entries.update({path: text_entry(text) for path, text in spec.files.items()})
    entries.update({path: Entry(Kind.FOLDER, mode) for path, mode in spec.folders.items()})
    for path in sorted(entries):  # sorted, so that a link comes before the entries below it
        own.add(tree.real_place(path))
        tree.put(path, entries[path])
    add_mount_points(tree)
    return own


def _read(locked: LockedPackage, debs: str) -> deb.Package:
    path = posixpath.join(debs, locked.sha256 + ".deb")
    label = f"{locked.name} {locked.version}"
    try:
        with open(path, "rb") as file:
            content = file.read(locked.size + 1)
    except OSError as error:
        raise SlipwayError(
            f'cannot read the package "{label}"',
            where=path,
            found=str(error.strerror),
            next=_FETCH_AGAIN,
        ) from None
    actual = hashlib.sha256(content).hexdigest()
    if len(content) != locked.size or actual != locked.sha256:
        raise SlipwayError(
            f'the package "{label}" does not match the lock',
            where=path,
            found=f"{len(content)} bytes with SHA-256 {actual}; "
            f"the lock has {locked.size} with {locked.sha256}",
            next=_FETCH_AGAIN,
        )
    with suggesting(_LOCK_ANOTHER, where=path):
        package = deb.read_package(content, f"{label}, {path}")
        for field, expected in (
            ("Package", locked.name),
            ("Version", locked.version),
            ("Architecture", locked.architecture),
        ):
            if package.control.get(field) != expected:
                raise SlipwayError(
                    f'the control file of the package "{label}" contradicts the lock',
                    found=f"{field}: {package.control.get(field, '')}",
                )
    return package


def _add_packages(
    tree: Tree, spec: ImageSpec, packages: Dict[str, deb.Package], own: Set[str]
) -> None:
    filter_ = _Filter(spec)
    owners: Dict[str, str] = dict.fromkeys(tree.entries, "a layer below")
    faults: List[str] = []
    for name, package in packages.items():
        for path, entry in _package_entries(package, name, spec):
            if filter_.leaves_out(path):
                continue
            place = tree.real_place(path)
            if place in own:
                continue
            old = tree.entries.get(place)
            if old is None:
                tree.entries[place] = entry
                owners[place] = name
            elif entry.kind is Kind.FOLDER and (tree.follow(place) or entry).kind is Kind.FOLDER:
                continue  # several packages may have the same folder, or a symlink to a folder
            elif not entry.same_as(old):
                faults.append(
                    f"/{path} differs between {name} and {owners.get(place, 'another package')}"
                )
    if faults:
        raise SlipwayErrors(
            "packages of the image have different entries at the same path",
            faults,
            where=spec.file,
            next='add one of the packages to "cut", or the path to "leave_out"',
        )
    if filter_.unused:
        raise SlipwayErrors(
            f'"{spec.file}" leaves out paths that no package has',
            sorted(filter_.unused),
            where=f"{spec.file}: $.leave_out",
            next="remove these lines",
        )


def _package_entries(package: deb.Package, name: str, spec: ImageSpec) -> List[Tuple[str, Entry]]:
    entries: Dict[str, Entry] = {}
    try:
        for member in package.members:
            path = member_path(member, name)
            if member.kind is Kind.DEVICE:
                raise SlipwayError(
                    f'the package "{name}" contains a {member.kind.value}', found=path
                )
            if member.kind is Kind.HARD_LINK:
                entries[path] = linked_entry(entries.get, member, name)
            else:
                content = Content(member.size, member.offset, data=package.data)
                entries[path] = member_entry(member, content)
    except SlipwayError as error:
        raise SlipwayError(
            error.what,
            where=spec.file,
            found=error.found,
            next=f'add "{name}" to "cut", or remove it from "wanted"',
        ) from None
    return [(path, entry) for path, entry in entries.items() if path]


class _Filter:
    """Decides which paths the spec omits, and records which of its patterns never matched."""

    def __init__(self, spec: ImageSpec) -> None:
        self._any = path_pattern(list(spec.leave_out))
        self._keep = path_pattern(list(spec.keep))
        self._each = {pattern: path_pattern([pattern]) for pattern in spec.leave_out}

    def leaves_out(self, path: str) -> bool:
        if not self._any.fullmatch(path):
            return False
        matched = [pattern for pattern, regex in self._each.items() if regex.fullmatch(path)]
        for pattern in matched:
            del self._each[pattern]
        return not self._keep.fullmatch(path)

    @property
    def unused(self) -> Set[str]:
        return set(self._each)


def _edit(tree: Tree, spec: ImageSpec) -> None:
    faults = []
    for edit in spec.edits:
        entry = tree.follow(edit.path)
        text = entry.content.read().decode("utf-8", "replace") if entry and entry.content else ""
        changed, times = re.subn(edit.find, edit.replace, text, flags=re.MULTILINE)
        if times != edit.times:
            faults.append(f"/{edit.path}: {edit.find!r} matches {times} times, not {edit.times}")
            continue
        data = changed.encode()
        assert entry is not None
        content = Content(len(data), data=data)
        tree.put(edit.path, dataclasses.replace(entry, content=content))
    if faults:
        raise SlipwayErrors(
            f'"{spec.file}" has edits that do not match their files',
            faults,
            where=f"{spec.file}: $.edits",
            next="correct the patterns, because the packages have changed",
        )


def _apply_surface(tree: Tree, spec: ImageSpec, policy: Optional[AbiPolicy]) -> None:
    assert spec.surface is not None
    if policy is None:
        raise SlipwayError(
            f'"{spec.file}" has a link surface, but the image has no ABI policy',
            where=f"{spec.file}: $.link_surface",
            next='write abi.toml, and add to the target: abi_policy="abi.toml"',
        )
    apply_surface(tree, spec.surface, policy, spec.file)


def _check_links(tree: Tree, spec: ImageSpec) -> None:
    dead = [f"{path} -> {spec.links[path]}" for path in spec.links if tree.follow(path) is None]
    if dead:
        raise SlipwayErrors(
            f'"{spec.file}" has links with missing targets',
            dead,
            where=f"{spec.file}: $.links",
            next="correct the targets, or remove the links",
        )


def _check_libraries(tree: Tree, spec: ImageSpec) -> None:
    """Raises SlipwayErrors if a file needs a library that the loader would not find.

    A library must be in a standard folder, or in the folder of the file.
    """
    faults: List[str] = []
    for path in sorted(tree.entries):
        content = tree.entries[path].content
        if content is None or content.head(len(MAGIC)) != MAGIC:
            continue
        folders = (*_LIBRARY_FOLDERS, posixpath.dirname(path))
        for library in needed_libraries(content.read()):
            if all(tree.follow(f"{folder}/{library}") is None for folder in folders):
                faults.append(f"/{path} needs {library}")
    if faults:
        raise SlipwayErrors(
            "programs or libraries of the image need missing libraries",
            faults,
            where=spec.file,
            next='remove the library\'s package from "cut", or add the file to "leave_out"',
        )
