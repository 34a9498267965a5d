"""From locked packages and a spec to the tree of a root file system.

Packages are only unpacked.  What their maintainer scripts would have done, as far as an image for
build steps needs it, the spec says: links, files and folders, which stand above any package's.
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
_FETCH_AGAIN = "have it fetched again: run the same command again"
_LOCK_ANOTHER = "name another mirror in [slipway] debian_mirror, and write the lock anew"


def build_tree(
    spec: ImageSpec,
    lock: DebianLock,
    debs: str,
    lower: Tree,
    policy: Optional[AbiPolicy] = None,
) -> Tree:
    """The whole root: `lower`, the packages (`debs` holds them as <sha256>.deb), the spec's own.

    `policy` is what the link surface offers, where the spec has one.
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
    """Puts the spec's entries first, so that packages go through its links; returns their places."""
    own: Set[str] = set()
    entries: Dict[str, Entry] = {path: link_entry(target) for path, target in spec.links.items()}
    entries.update({path: text_entry(text) for path, text in spec.files.items()})
    entries.update({path: Entry(Kind.FOLDER, mode) for path, mode in spec.folders.items()})
    for path in sorted(entries):  # a link stands before what is below it
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
            f'the package "{label}" cannot be read',
            where=path,
            found=str(error.strerror),
            next=_FETCH_AGAIN,
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if len(content) != locked.size or found != locked.sha256:
        raise SlipwayError(
            f'the package "{label}" is not the locked one',
            where=path,
            found=f"{len(content)} bytes with SHA-256 {found}; "
            f"locked are {locked.size} with {locked.sha256}",
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
                    f'the package "{label}" says otherwise of itself than the lock',
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
                continue  # another package has it too, maybe as a link to a folder
            elif not entry.same_as(old):
                faults.append(
                    f"/{path} is in {name} and, different, in {owners.get(place, 'another')}"
                )
    if faults:
        raise SlipwayErrors(
            "packages of the image contradict each other",
            faults,
            where=spec.file,
            next='cut one of the packages, or name the path in "leave_out"',
        )
    if filter_.unused:
        raise SlipwayErrors(
            f'"{spec.file}" leaves out what no package has',
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
                raise SlipwayError(f'the package "{name}" holds a {member.kind.value}', found=path)
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
            next=f'add "{name}" to "cut", or take it out of "wanted"',
        ) from None
    return [(path, entry) for path, entry in entries.items() if path]


class _Filter:
    """What the spec leaves out, and which of its patterns have not matched anything."""

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
            f'"{spec.file}" edits what is not there so',
            faults,
            where=f"{spec.file}: $.edits",
            next="correct the patterns: the packages have changed",
        )


def _apply_surface(tree: Tree, spec: ImageSpec, policy: Optional[AbiPolicy]) -> None:
    assert spec.surface is not None
    if policy is None:
        raise SlipwayError(
            f'"{spec.file}" has a link surface, but the image has no ABI policy',
            where=f"{spec.file}: $.link_surface",
            next='write abi.toml, and name it in the target: abi_policy="abi.toml"',
        )
    apply_surface(tree, spec.surface, policy, spec.file)


def _check_links(tree: Tree, spec: ImageSpec) -> None:
    dead = [f"{path} -> {spec.links[path]}" for path in spec.links if tree.follow(path) is None]
    if dead:
        raise SlipwayErrors(
            f'"{spec.file}" has links that lead nowhere',
            dead,
            where=f"{spec.file}: $.links",
            next="correct the targets, or remove the links",
        )


def _check_libraries(tree: Tree, spec: ImageSpec) -> None:
    """Every library that a file asks for is there: in a usual folder, or beside the file."""
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
            "programs or libraries of the image lack libraries",
            faults,
            where=spec.file,
            next='remove the package from "cut", or name what needs it in "leave_out"',
        )
