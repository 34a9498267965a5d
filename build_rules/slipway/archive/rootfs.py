"""Assembles a root file system as a tree of entries by path, from any kind of archive.

Debian packages, the layers of a ready image and the files of an image spec become a single tree. It
is written as a layer with the same bytes on every machine: sorted, owned by root, with a fixed time
and the modes 755 or 644 (1777 for scratch folders). Ordinary users unpack and enter such a root, so
owners, set-uid bits, extended attributes and devices are useless there, and are dropped.

Symlinks are resolved as the kernel resolves them with this tree as its root: none leads out.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from dataclasses import dataclass, field, replace
from typing import AbstractSet, BinaryIO, Callable, Dict, Iterable, Iterator, List, Optional

from slipway.archive import tar_writing
from slipway.archive.tar_reading import Kind, Member, read_members
from slipway.core.errors import SlipwayError

MTIME = 946684800
"""2000-01-01 in seconds, for roots whose archive has no date."""

_CHUNK = 1 << 20
_MOST_LINKS = 40  # Linux gives up with ELOOP after 40 symlinks in a path
_LONGEST_PATH = 4096  # PATH_MAX of Linux

MOUNT_POINTS = ("build", "dev", "home", "proc", "run", "sys", "tmp", "var/tmp")
"""Folders that every root has, because Slipway mounts the file systems of a step there."""


@dataclass(frozen=True, eq=False)
class Content:
    """The bytes of a file: a part of `data`, or of the file `path` if they are too large.

    Entries that share the same Content object are hard links of each other.
    """

    size: int
    offset: int = 0
    data: bytes = b""
    path: Optional[str] = None

    def chunks(self) -> Iterator[bytes]:
        if self.path is None:
            yield self.data[self.offset : self.offset + self.size]
            return
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            left = self.size
            while left:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    raise SlipwayError(f'"{self.path}" became shorter while Slipway read it')
                left -= len(chunk)
                yield chunk

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or fewer."""
        return next(self.chunks(), b"")[:size]

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def sha256(self) -> str:
        hashed = hashlib.sha256()
        for chunk in self.chunks():
            hashed.update(chunk)
        return hashed.hexdigest()


@dataclass(frozen=True)
class Entry:
    kind: Kind
    mode: int
    content: Optional[Content] = None
    target: str = ""

    def same_as(self, other: Entry) -> bool:
        """Whether programs inside the root see no difference between the entries."""
        if (self.kind, self.mode, self.target) != (other.kind, other.mode, other.target):
            return False
        if self.content is None or other.content is None or self.content is other.content:
            return True
        same_size = self.content.size == other.content.size
        return same_size and self.content.sha256() == other.content.sha256()


FOLDER = Entry(Kind.FOLDER, 0o755)
SCRATCH_FOLDER = Entry(Kind.FOLDER, 0o1777)


def file_entry(content: Content, executable: bool = False) -> Entry:
    return Entry(Kind.FILE, 0o755 if executable else 0o644, content)


def text_entry(text: str) -> Entry:
    """A file with this text, executable if the text starts with `#!`."""
    data = text.encode()
    return file_entry(Content(len(data), data=data), executable=text.startswith("#!"))


def link_entry(target: str) -> Entry:
    return Entry(Kind.SYMLINK, 0o777, target=target)


@dataclass
class Tree:
    """A file tree; `entries` has a folder for every parent of an entry, but not the root."""

    entries: Dict[str, Entry] = field(default_factory=dict)

    def put(self, path: str, entry: Entry) -> None:
        """Replaces the entry at `path`; a folder that replaces a folder keeps its content."""
        path = self.real_place(path)
        old = self.entries.get(path)
        if old and old.kind is Kind.FOLDER and entry.kind is not Kind.FOLDER:
            self.remove({path})
        self.entries[path] = entry

    def get(self, path: str) -> Optional[Entry]:
        """The entry at `path`; resolves symlinks in its parents, but not in the last part."""
        return self.entries.get(self.real_place(path, make_parents=False))

    def follow(self, path: str) -> Optional[Entry]:
        """The entry that a program opens at `path`, with all symlinks resolved."""
        try:
            place = self.real_place(posixpath.join(path, "."), make_parents=False)
        except SlipwayError:
            return None
        return FOLDER if place == "" else self.entries.get(place)

    def remove(self, paths: AbstractSet[str], emptied: AbstractSet[str] = frozenset()) -> None:
        """Removes `paths` with their content, and the content of the folders `emptied`.

        "" in `emptied` is the root: every entry is removed.
        """

        def goes(path: str) -> bool:
            if path in paths or "" in emptied:
                return True
            above = posixpath.dirname(path)
            while above:
                if above in paths or above in emptied:
                    return True
                above = posixpath.dirname(above)
            return False

        for path in [path for path in self.entries if goes(path)]:
            del self.entries[path]

    def real_place(self, path: str, make_parents: bool = True) -> str:
        """`path` with the symlinks in its parents resolved; in all parts if it ends in `/.`."""
        todo = _parts(path)[::-1]
        last_too = path.endswith("/.")
        place: List[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                place = place[:-1]  # the parent of the root is the root itself
                continue
            place.append(part)
            name = "/".join(place)
            entry = self.entries.get(name)
            if not todo and not last_too:
                break
            if entry is None:
                if make_parents:
                    self.entries[name] = FOLDER
            elif entry.kind is Kind.SYMLINK:
                links += 1
                if links > _MOST_LINKS or len(entry.target) > _LONGEST_PATH:
                    raise SlipwayError(f'"{path}" has too many symlinks', found=entry.target)
                place = [] if entry.target.startswith("/") else place[:-1]
                todo += _parts(entry.target)[::-1]
            elif entry.kind is not Kind.FOLDER and todo:
                raise SlipwayError(f'"{path}" is below "{name}", which is not a folder')
        return "/".join(place)

    def without(self, lower: Tree) -> Tree:
        """The entries that a layer above `lower` needs to produce this tree."""
        upper = Tree()
        for path, entry in self.entries.items():
            below = lower.entries.get(path)
            if below is None or not entry.same_as(below):
                upper.entries[path] = entry
        return upper


def _parts(path: str) -> List[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def member_path(member: Member, label: str) -> str:
    """The path of `member` below the root; "" is the root itself.

    Raises SlipwayError for names that leave the root or are too long.
    """
    parts = _parts(member.name)
    if member.name.startswith("/") or ".." in parts or "\0" in member.name:
        raise SlipwayError(f'"{label}" has an entry outside the root', found=member.name)
    path = "/".join(parts)
    if len(path) > _LONGEST_PATH:
        raise SlipwayError(f'"{label}" has an entry with a too long name', found=path[:80] + "…")
    return path


def member_entry(member: Member, content: Content) -> Entry:
    """The entry for `member`, with a plain mode; not for hard links or devices."""
    if member.kind is Kind.FOLDER:
        return SCRATCH_FOLDER if member.mode & 0o1002 == 0o1002 else FOLDER
    if member.kind is Kind.SYMLINK:
        return link_entry(member.target)
    return file_entry(content, executable=bool(member.mode & 0o111))


def read_layer(path: str) -> Tree:
    """The tree of a layer from write_layer()."""
    tree = Tree()
    with open(path, "rb") as file:
        for member in read_members(file, path):
            name = member_path(member, path)
            if member.kind is Kind.HARD_LINK:
                tree.put(name, linked_entry(tree.get, member, path))
            elif name:
                tree.put(name, member_entry(member, Content(member.size, member.offset, path=path)))
    return tree


def linked_entry(find: Callable[[str], Optional[Entry]], member: Member, label: str) -> Entry:
    """The entry that a hard link points to; `find` looks up entries of the archive by path."""
    target = find(member_path(replace(member, name=member.target), label))
    if target is None or target.kind is Kind.FOLDER:
        raise SlipwayError(
            f'"{label}" has a hard link to a missing file',
            found=f"{member.name} -> {member.target}",
        )
    return target


def merge(trees: Iterable[Tree]) -> Tree:
    """Stacks the trees of layers without whiteouts, lowest first."""
    merged = Tree()
    for tree in trees:
        for path, entry in tree.entries.items():
            merged.put(path, entry)
    return merged


def add_mount_points(tree: Tree) -> None:
    for path in MOUNT_POINTS:
        if tree.follow(path) is None:
            tree.put(path, FOLDER)


@dataclass(frozen=True)
class LayerFile:
    """A written layer; its SHA-256 is its diff ID in an image."""

    sha256: str
    size: int
    entries: int


def write_layer(tree: Tree, path: str, mtime: int) -> LayerFile:
    with open(path, "wb") as file:
        out = _HashingFile(file)
        writer = tar_writing.TarWriter(out, mtime)  # type: ignore[arg-type]
        first_names: Dict[int, str] = {}
        for name in sorted(tree.entries, key=os.fsencode):
            _write_entry(writer, name, tree.entries[name], first_names)
        writer.close()
    return LayerFile(out.hashed.hexdigest(), out.size, len(tree.entries))


def _write_entry(
    writer: tar_writing.TarWriter, name: str, entry: Entry, first_names: Dict[int, str]
) -> None:
    if entry.kind is Kind.FOLDER:
        writer.add(name, tar_writing.FOLDER, entry.mode)
    elif entry.kind is Kind.SYMLINK:
        writer.add(name, tar_writing.SYMLINK, entry.mode, target=entry.target)
    elif entry.content is not None:
        first = first_names.setdefault(id(entry.content), name)
        if first != name:
            writer.add(name, tar_writing.HARD_LINK, entry.mode, target=first)
        else:
            content = entry.content
            writer.add(
                name, tar_writing.FILE, entry.mode, size=content.size, chunks=content.chunks()
            )


class _HashingFile:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hashed = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hashed.update(data)
        self.size += len(data)
