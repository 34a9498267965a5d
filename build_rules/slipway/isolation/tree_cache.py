"""Unpacks layers once per machine; all steps share the trees read-only.

A root file system has thousands of files, and Pants would need seconds to create them for each
step. A tree is either complete or missing. It is verified each time a step uses it. A kernel lock
holds it while a step runs in it, and it is removed if no step has used it for 30 days.

If two processes need the same tree, both take the shared lock and find no tree; both then request
the exclusive lock. The first process unpacks into a `.part` folder and renames it. The second then
finds the tree and continues. A kill at any moment leaves at most a `.part` folder, which the next
process removes.

A layer can come from a remote cache, and this runs as the user who builds: see `unpacking`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence

from slipway.core import own_folder

UNUSED_SECONDS = 30 * 24 * 3600
# Part of each tree's name, so that trees from earlier versions with fewer checks are not used.
_FORMAT = 2


class LayerDamaged(Exception):
    """The bytes of a layer do not match its digest."""


@dataclass(frozen=True)
class Layer:
    """An uncompressed tar at `path`."""

    path: str
    sha256: str


@contextmanager
def all_unpacked(cache: str, trees: Mapping[str, Sequence[Layer]]) -> Iterator[Dict[str, str]]:
    """The paths of several trees by their keys in `trees`, each as in `unpacked`."""
    with ExitStack() as held:
        yield {name: held.enter_context(unpacked(cache, layers)) for name, layers in trees.items()}


@contextmanager
def unpacked(cache: str, layers: Sequence[Layer]) -> Iterator[str]:
    """The path of the tree of stacked `layers`, lowest first, locked during the context.

    Upper layers add and replace entries, but cannot remove any.
    """
    own_folder.make(os.path.realpath(cache))  # realpath, because in a sandbox it is a symlink
    name = name_of(layers)
    tree = os.path.join(cache, name)
    with open(tree + ".lock", "w") as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _recorded(tree) is not None and _recorded(tree) == fingerprint(tree):
                break
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _recorded(tree) is None or _recorded(tree) != fingerprint(tree):
                _replace(tree, layers)
                _remove_unused(cache, keep=name)
        os.utime(tree + ".lock")
        yield tree


def name_of(layers: Sequence[Layer]) -> str:
    """The name of the tree's folder in the cache."""
    lines = [f"slipway tree {_FORMAT}", *(layer.sha256 for layer in layers)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def fingerprint(tree: str) -> Optional[str]:
    """A hash of each entry's name, kind, size, mode and times; None without a tree."""
    if not os.path.isdir(tree):
        return None
    hashed = hashlib.sha256()
    for path in _walk(tree):
        state = os.lstat(path)
        facts = (path[len(tree) :], state.st_mode, state.st_size, state.st_mtime_ns)
        # Programs cannot set the ctime, so every change of an entry shows in it. Hard links inside
        # the tree change it too, but they exist before the fingerprint is recorded.
        hashed.update(repr((*facts, state.st_ctime_ns if path != tree else 0)).encode())
    return hashed.hexdigest()


def _walk(top: str) -> Iterator[str]:
    yield top
    with os.scandir(top) as scan:
        entries: List[os.DirEntry[str]] = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        else:
            yield entry.path


def _recorded(tree: str) -> Optional[str]:
    try:
        with open(tree + ".seen") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _replace(tree: str, layers: Sequence[Layer]) -> None:
    part = tree + ".part"
    for leftover in (part, tree):
        _remove(leftover)
    for layer in layers:
        actual = _file_sha256(layer.path)
        if actual != layer.sha256:
            raise LayerDamaged(f"{layer.path}: sha256 is {actual}, not {layer.sha256}")
    os.mkdir(part)
    # Layers have no entry for the top folder. Steps see its mode, so it must not depend on the
    # umask.
    os.chmod(part, 0o755)
    try:
        # Here, because each step compiles the modules that it imports, and few steps unpack.
        from slipway.archive import unpacking  # noqa: PLC0415

        unpacking.unpack_all(
            [layer.path for layer in layers], part, rules=unpacking.ROOT, keep_times=True
        )
        os.utime(part, (0, 0))
        os.rename(part, tree)
    except BaseException:
        _remove(part)
        raise
    with open(tree + ".seen.part", "w") as file:
        file.write(fingerprint(tree) or "")
    os.rename(tree + ".seen.part", tree + ".seen")


def _file_sha256(path: str) -> str:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hashed.update(block)
    return hashed.hexdigest()


def _remove_unused(cache: str, keep: str) -> None:
    for name in os.listdir(cache):
        tree, ending = os.path.splitext(os.path.join(cache, name))
        # Looks for lock files, because a lock file exists before its tree and is never removed.
        if ending != ".lock" or os.path.basename(tree) == keep:
            continue
        if time.time() - os.stat(tree + ending).st_mtime < UNUSED_SECONDS:
            continue
        with open(tree + ending) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for leftover in (tree, tree + ".part"):
                _remove(leftover)
            for record in (tree + ".seen", tree + ".seen.part"):
                if os.path.exists(record):
                    os.unlink(record)


def _remove(tree: str) -> None:
    if not os.path.lexists(tree):
        return
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o700)
    shutil.rmtree(tree)
