"""Unpacks archives that Slipway wrote, without trusting their content.

A build step, or anyone with write access to a remote cache, can replace an archive with other
bytes, and Slipway unpacks some archives outside of any sandbox. So this module reads all such
archives, and checks every entry before it writes the first byte:

- An entry is a file, a folder, a symlink or, in a root file system, a hard link to a file of the
  same archive. Its mode is a mode that Slipway uses, and its header is as Slipway writes it.
- Its name is relative, normalized, not too long or deep, and unique unless it is a folder.
- Its parent is a folder of this archive or of an archive below it, so that nothing is written
  through a symlink or below a file.

The target of a symlink is not checked, because roots and `node_modules` have symlinks of all kinds.
No code here follows them. The kernel does not follow them either, because the folders on the way to
an entry are opened one by one with O_NOFOLLOW. An existing entry in the way is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

from slipway.archive.decompression import Stream
from slipway.archive.tar_reading import Kind, Member, Source, read_own_members
from slipway.core.errors import SlipwayError, suggesting

if TYPE_CHECKING:  # not in the `typing` of CPython 3.7
    from typing import Protocol
else:
    Protocol = object

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The start of a gzip member that Slipway writes: no name, no time, unknown system."""

MOST_BYTES = 16 << 30
_LONGEST_NAME, _LONGEST_PART, _DEEPEST = 4000, 255, 200
_CHUNK = 1 << 18
# Errors of Linux for names that are valid in an archive, but not in the target's file system.
_NAME_ERRORS = (
    *(errno.ELOOP, errno.ENOTDIR, errno.ENOENT),
    *(errno.ENAMETOOLONG, errno.EMLINK, errno.EILSEQ),
)
BUILD_AGAIN = (
    "a build step or a remote cache left this file; to build it again:\n"
    "./pants --no-local-cache --no-remote-cache-read package <the target>"
)


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


class Form(Enum):
    """The format of an archive."""

    TAR = "a plain tar"
    LAYER = "one gzip member, without the blocks that end a tar"
    TARBALL = "gzip members, the last of which ends the tar"


@dataclass(frozen=True)
class Rules:
    """Which entries an archive may contain.

    Only root file systems may have hard links, world-writable folders, and names with any
    characters, because the authors of an image choose its names.
    """

    of_root: bool = False

    def modes(self, kind: Kind) -> Tuple[int, ...]:
        if kind is Kind.SYMLINK:
            return (0o777,)
        if kind is Kind.FOLDER:
            return (0o755, 0o1777) if self.of_root else (0o755,)
        return (0o755, 0o644)


PACKED = Rules()
ROOT = Rules(of_root=True)


class Archive:
    """An archive that is read forwards: read each content before you take the next member."""

    def __init__(self, source: Source, size: Optional[int], label: str, form: Form) -> None:
        self._source, self._size = source, size
        self._label, self._form = label, form

    def members(self, tree: Optional[Tree] = None) -> Iterator[Member]:
        """The members, each checked; `tree` is the result of the archives below this archive."""
        tree = Tree() if tree is None else tree
        tree.begin()
        ends = self._form is not Form.LAYER
        members = read_own_members(self._source, self._label, self._size, ends=ends)
        with suggesting(BUILD_AGAIN):
            for member, is_ours in members:
                fault = tree.fault_of(member)
                if not fault and not is_ours:
                    fault = "its header differs from what Slipway writes"
                if fault:
                    raise refused(self._label, member.name, fault)
                yield member

    def file(self, member: Member) -> Content:
        return Content(self._source, member, self._label)

    def read(self, member: Member, most: int) -> bytes:
        """The whole content; raises SlipwayError if it has more than `most` bytes."""
        if member.size > most:
            raise refused(self._label, member.name, f"more than {most} bytes")
        return self.file(member).read()


class Content:
    """The bytes of a member, as a file that is read forwards."""

    def __init__(self, source: Source, member: Member, label: str) -> None:
        self._source, self._member, self._label = source, member, label
        self._at, self._left = member.offset, member.size

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = self._source.read(size) if self._source.seek(self._at) == self._at else b""
        if len(data) != size:
            raise refused(self._label, self._member.name, "its content is truncated")
        self._at += size
        self._left -= size
        return data

    def __iter__(self) -> Iterator[bytes]:
        return blocks_of(self)


class Tree:
    """The kinds of entries by name, of a single archive or of several, lowest first."""

    def __init__(self, rules: Rules = PACKED) -> None:
        self.kinds: Dict[str, Kind] = {}
        self._rules = rules
        self._own: Dict[str, Kind] = {}
        self._sound_folder = ""

    def begin(self) -> None:
        """Starts the next archive, whose entries may replace entries of the archives below."""
        self._own = {}

    def fault_of(self, member: Member) -> str:
        """Why a member is not acceptable; if it is, adds it to the tree and returns ""."""
        fault = (
            name_fault(member.name, any_characters=self._rules.of_root)
            or self._kind_fault(member)
            or self._place_fault(member)
        )
        if not fault:
            if member.kind is not Kind.FOLDER:
                self._sound_folder = ""
            self._own[member.name] = self.kinds[member.name] = member.kind
        return fault

    def _kind_fault(self, member: Member) -> str:
        kind, mode = member.kind, member.mode
        if kind is Kind.DEVICE:
            return f"a {kind.value}"
        if kind is Kind.HARD_LINK:
            if not self._rules.of_root:
                return f'a hard link to "{member.target}"'
            if self._own.get(member.target) is not Kind.FILE:
                return (
                    f'a hard link to "{member.target}", which is not an earlier file of the archive'
                )
        if mode not in self._rules.modes(kind):
            special = "a set-uid, set-gid or sticky bit, " if mode & 0o7000 else ""
            return f"{special}mode {mode:o}"
        if kind is Kind.SYMLINK:
            return target_fault(member.target, any_characters=self._rules.of_root)
        return ""

    def _place_fault(self, member: Member) -> str:
        known = self._own.get(member.name)
        if known is not None and not (known is member.kind is Kind.FOLDER):
            return "an earlier entry has the same name"
        parent = member.name.rpartition("/")[0]
        # Most entries are in the same folder as the previous entry, so this check saves most work.
        if not parent or parent == self._sound_folder:
            return ""
        parts = parent.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            kind = self.kinds.get(folder)
            if kind is None:
                return f'its folder "{folder}" is not an earlier entry'
            if kind is not Kind.FOLDER:
                return f'it is below "{folder}", a {kind.value}'
        self._sound_folder = parent
        return ""


def name_fault(name: str, *, any_characters: bool = False) -> str:
    """Why a name is not acceptable; with `any_characters`, it need not be printable UTF-8."""
    if name.startswith("/"):
        return "an absolute name"
    parts = name.split("/")
    if ".." in parts:
        return "its name leaves the archive"
    if "" in parts or "." in parts or "\0" in name:
        return "a name that is not normalized"
    raw = _raw(name)
    if len(raw) > _LONGEST_NAME or max(len(_raw(part)) for part in parts) > _LONGEST_PART:
        return "a name that is too long"
    if len(parts) > _DEEPEST:
        return "a path with too many folders"
    return "" if any_characters else _text_fault(name)


def target_fault(target: str, *, any_characters: bool = False) -> str:
    if not target or "\0" in target or len(_raw(target)) > _LONGEST_NAME:
        return "a symlink with an empty or too long target"
    return "" if any_characters else _text_fault(target)


def _text_fault(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "a name that is not UTF-8"
    if any(character < " " or character == "\x7f" for character in text):
        return "a control character in a name"
    return ""


def refused(label: str, name: str, fault: str) -> SlipwayError:
    return SlipwayError(
        f'"{label}" is not an archive that Slipway wrote',
        where=label,
        found=f"{shown(name)}: {fault if fault.isprintable() else ascii(fault)}",
        next=BUILD_AGAIN,
    )


def shown(name: str) -> str:
    shown = f'"{name}"' if name.isprintable() else ascii(name)
    return shown if len(shown) <= 200 else shown[:200] + "…"


@contextlib.contextmanager
def opened(path: str, form: Form) -> Iterator[Archive]:
    """The archive at `path`, for as long as the context lasts."""
    with open(path, "rb") as file:
        if form is Form.TAR:
            yield Archive(file, os.fstat(file.fileno()).st_size, path, form)
        else:
            yield Archive(Stream(inflated(blocks_of(file), path, form)), None, path, form)


def blocks_of(file: Readable) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def inflated(
    packed: Iterable[bytes], label: str, form: Form, most: int = MOST_BYTES
) -> Iterator[bytes]:
    """The content of gzip members that Slipway wrote, one directly after the other."""
    blocks = iter(packed)
    data, total, count = b"", 0, 0
    while True:
        while len(data) < len(GZIP_HEADER):
            block = next(blocks, b"")
            if not block:
                break
            data += block
        if not data and count:
            return
        if not data.startswith(GZIP_HEADER) or (count and form is Form.LAYER):
            raise _not_packed(label, "data that is not a gzip member of Slipway")
        count += 1
        stream = zlib.decompressobj(31)
        while not stream.eof:
            data = data or next(blocks, b"")
            if not data:
                raise _not_packed(label, "the file is truncated")
            try:
                chunk = stream.decompress(data, _CHUNK)
            except zlib.error as error:
                raise _not_packed(label, str(error)) from None
            data = stream.unconsumed_tail
            total += len(chunk)
            if total > most:
                raise _not_packed(label, f"more than {most} bytes after decompression")
            yield chunk
        data = stream.unused_data


def _not_packed(label: str, found: str) -> SlipwayError:
    return SlipwayError(
        f'"{label}" is not an archive that Slipway wrote',
        where=label,
        found=found,
        next=BUILD_AGAIN,
    )


def check(
    paths: Sequence[str], form: Form = Form.TAR, rules: Rules = PACKED
) -> List[Tuple[str, List[Member]]]:
    """Checks archives, lowest first, and returns each path with its members.

    Raises SlipwayError for the first entry that is not acceptable.
    """
    tree = Tree(rules)
    checked: List[Tuple[str, List[Member]]] = []
    for path in paths:
        with opened(path, form) as archive:
            checked.append((path, list(archive.members(tree))))
    return checked


def unpack(
    path: str, target: str, form: Form = Form.TAR, *, keep_times: bool = False
) -> List[Member]:
    """Unpacks an archive into the folder `target`, whose entries it may replace."""
    ((_, members),) = unpack_all([path], target, form, keep_times=keep_times)
    return members


def unpack_all(
    paths: Sequence[str],
    target: str,
    form: Form = Form.TAR,
    rules: Rules = PACKED,
    *,
    keep_times: bool = False,
) -> List[Tuple[str, List[Member]]]:
    """Unpacks archives, lowest first, into a folder that no other process writes to.

    Upper archives add and replace entries. Files belong to the calling user; `keep_times` keeps
    modification times. Returns and raises what `check` does.
    """
    checked = check(paths, form, rules)
    with contextlib.closing(_Writer(target, keep_times)) as writer:
        for path, members in checked:
            with opened(path, form) as archive:
                for member in members:
                    try:
                        writer.add(member, lambda: archive.file(member))  # noqa: B023  (at once)
                    except OSError as error:
                        if error.errno not in _NAME_ERRORS:
                            raise
                        raise refused(path, member.name, os.strerror(error.errno)) from None
        writer.finish()
    return checked


class _Writer:
    """Writes entries below a folder, and follows no symlink on the way."""

    def __init__(self, target: str, keep_times: bool) -> None:
        self._target = _raw(os.path.abspath(target))
        self._keep_times = keep_times
        self._folders: Dict[str, Member] = {}
        self._top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open, self._opened = self._top, b""

    def close(self) -> None:
        self._leave()
        os.close(self._top)

    def add(self, member: Member, content: Callable[[], Iterable[bytes]]) -> None:
        parent, _, name = _raw(member.name).rpartition(b"/")
        folder = self._enter(parent)
        if member.kind is Kind.FOLDER:
            self._folders[member.name] = member
            self._make(lambda: os.mkdir(name, 0o755, dir_fd=folder), member)
        elif member.kind is Kind.SYMLINK:
            self._make(lambda: os.symlink(_raw(member.target), name, dir_fd=folder), member)
        elif member.kind is Kind.HARD_LINK:
            self._make(lambda: self._link(_raw(member.target), name, folder), member)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = self._make(lambda: os.open(name, flags, 0o600, dir_fd=folder), member)
            try:
                self._write(file, member, content())
            finally:
                os.close(file)

    def _write(self, file: int, member: Member, content: Iterable[bytes]) -> None:
        for chunk in content:
            view = memoryview(chunk)
            while view:
                view = view[os.write(file, view) :]
        os.fchmod(file, member.mode)
        if self._keep_times:
            os.utime(file, (member.mtime, member.mtime))

    def finish(self) -> None:
        """Sets modes and times of folders, last, because every new entry changes the time."""
        for name in sorted(self._folders, reverse=True):
            member = self._folders[name]
            try:
                folder = self._enter(_raw(name))
            except OSError as error:
                if error.errno not in _NAME_ERRORS:
                    raise
                continue  # an upper archive has replaced the folder with another entry
            os.fchmod(folder, member.mode)
            if self._keep_times:
                os.utime(folder, (member.mtime, member.mtime))

    def _make(self, make: Callable[[], Optional[int]], member: Member) -> int:
        try:
            return make() or 0
        except FileExistsError:
            if not self._make_room(member):
                return 0
            return make() or 0

    def _make_room(self, member: Member) -> bool:
        """Removes the entry of a lower archive; False if both are folders, which merge."""
        parent, _, name = _raw(member.name).rpartition(b"/")
        folder = self._enter(parent)
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)
            return True
        if member.kind is Kind.FOLDER:
            return False
        shutil.rmtree(os.path.join(self._target, parent, name))
        return True

    def _link(self, target: bytes, name: bytes, folder: int) -> None:
        above, _, file = target.rpartition(b"/")
        source = self._walk(above)
        try:
            os.link(file, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)

    def _enter(self, folder: bytes) -> int:
        """A descriptor of the folder, valid until the next call."""
        if folder != self._opened:
            self._leave()
            self._open = self._walk(folder)
            self._opened = folder
        return self._open

    def _leave(self) -> None:
        if self._open != self._top:
            os.close(self._open)
        self._open, self._opened = self._top, b""

    def _walk(self, folder: bytes) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        place = os.dup(self._top)
        for part in folder.split(b"/") if folder else ():
            try:
                inner = os.open(part, flags, dir_fd=place)
            finally:
                os.close(place)
            place = inner
        return place


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
