"""A cache of downloads, named by their SHA-256, that can be trusted after any accident.

A file appears under its name only when it is whole (written beside it, then renamed), and is
hashed again each time it is read: a kill, a full disk or a second run at the same time leave at
worst a file that is thrown away. Results are copied out, never linked, since whoever may write to
a result must not be able to write into the cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
import time
from dataclasses import dataclass
from typing import IO, Callable, Dict, Iterable, Mapping, Optional, Set, Tuple

from slipway.core import own_folder
from slipway.core.errors import SlipwayError
from slipway.fetch import integrity as sri

_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ABANDONED = 24 * 3600.0


@dataclass(frozen=True)
class Content:
    """What is known of a content before it is fetched. Without a size, `limit` bounds it."""

    sha256: Optional[str] = None
    size: Optional[int] = None
    hashes: Tuple[sri.Hash, ...] = ()
    limit: int = 1 << 29

    @property
    def most(self) -> int:
        return self.limit if self.size is None else self.size


@dataclass(frozen=True)
class Stored:
    """A content that is in the cache now."""

    sha256: str
    size: int
    sha512: sri.Hash
    downloaded: bool


class WrongContent(Exception):
    """What came is not what was asked for: what differs, expected and found."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"wrong {what}: expected {expected}, found {found}")


class Sink:
    """A file in the making: bytes go in, hashes and size come out."""

    def __init__(self, folder: str, algorithms: Iterable[str]) -> None:
        descriptor, self.path = tempfile.mkstemp(prefix=f"{os.getpid()}.", dir=folder)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._algorithms = tuple(dict.fromkeys(("sha256", "sha512", *algorithms)))
        self.restart()

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self._hashes = {name: hashlib.new(name) for name in self._algorithms}

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.size += len(chunk)
        for one in self._hashes.values():
            one.update(chunk)

    def digest(self, algorithm: str) -> bytes:
        return self._hashes[algorithm].digest()

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        try:
            self._file.close()
            os.unlink(self.path)
        except OSError:
            pass  # Nothing rests on it, and old ones are swept later.


class ContentCache:
    """The cache folder. Safe for many threads and processes at once."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._partial = os.path.join(folder, "partial")
        self._contents = os.path.join(folder, "sha256")
        self._names = os.path.join(folder, "names")
        for one in (self._partial, self._contents, self._names):
            own_folder.make(one)

    def sweep(self) -> None:
        """Removes what killed runs left half-written."""
        before = time.time() - _ABANDONED
        for entry in os.scandir(self._partial):
            try:
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
            except OSError:
                pass  # Another run was faster.

    def copy_to(self, content: Content, target: str) -> bool:
        """Copies a content to `target` if it is here and sound.

        Raises WrongContent where the content of this SHA-256 is none of `content.hashes`: then it
        is who asks that is wrong.
        """
        if content.sha256 is None:
            return False
        source = self._path(content.sha256)
        try:
            if not os.path.isfile(source):
                return False
            if content.size is not None and os.path.getsize(source) != content.size:
                raise WrongContent("size", str(content.size), str(os.path.getsize(source)))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            algorithms = {"sha256", *(one.algorithm for one in content.hashes)}
            hashers = {name: hashlib.new(name) for name in algorithms}
            with open(source, "rb") as read, open(target, "wb") as write:
                for chunk in iter(lambda: read.read(_CHUNK), b""):
                    for hasher in hashers.values():
                        hasher.update(chunk)
                    write.write(chunk)
            if hashers["sha256"].hexdigest() != content.sha256:
                raise WrongContent("SHA-256", content.sha256, hashers["sha256"].hexdigest())
        except FileNotFoundError:
            return False
        except WrongContent:
            # The disk or somebody changed it: it is fetched again.
            for one in (source, target):
                if os.path.lexists(one):
                    os.unlink(one)
            return False
        try:
            _verify_integrity(content, {name: one.digest() for name, one in hashers.items()})
        except WrongContent:
            os.unlink(target)
            raise
        return True

    def find(self, hashes: Tuple[sri.Hash, ...]) -> Optional[Stored]:
        """A content that was stored under one of these hashes, hashed again."""
        for one in hashes:
            try:
                with _open_file(self._name(one)) as file:
                    sha256 = file.read(65).decode("ascii")
                if not _SHA256.fullmatch(sha256):
                    continue
                hashers = {name: hashlib.new(name) for name in {"sha256", "sha512", one.algorithm}}
                size = 0
                with _open_file(self._path(sha256)) as content:
                    for chunk in iter(lambda c=content: c.read(_CHUNK), b""):  # type: ignore[misc]
                        size += len(chunk)
                        for hasher in hashers.values():
                            hasher.update(chunk)
            except (OSError, ValueError):
                continue
            sound = hashers["sha256"].hexdigest() == sha256
            if sound and sri.of_digest(one.algorithm, hashers[one.algorithm].digest()) == one:
                sha512 = sri.of_digest("sha512", hashers["sha512"].digest())
                return Stored(sha256, size, sha512, downloaded=False)
        return None

    def digests(self, sha256: str, algorithms: Set[str]) -> Optional[Dict[str, bytes]]:
        """The hashes of a content by algorithm; None where it is not here, or damaged."""
        hashers = {name: hashlib.new(name) for name in {"sha256", *algorithms}}
        try:
            with _open_file(self._path(sha256)) as file:
                for chunk in iter(lambda: file.read(_CHUNK), b""):
                    for hasher in hashers.values():
                        hasher.update(chunk)
        except OSError:
            return None
        sound = hashers["sha256"].hexdigest() == sha256
        return {name: one.digest() for name, one in hashers.items()} if sound else None

    def store(self, content: Content, fill: Callable[[Sink], None]) -> Stored:
        """Lets `fill` write a content, holds it against what is known, and keeps it."""
        sink = Sink(self._partial, (one.algorithm for one in content.hashes))
        try:
            fill(sink)
            sink.close()
            verify(content, sink)
            sha256 = sink.digest("sha256").hex()
            target = self._path(sha256)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.chmod(sink.path, 0o444)
            os.replace(sink.path, target)
            stored = Stored(
                sha256, sink.size, sri.of_digest("sha512", sink.digest("sha512")), downloaded=True
            )
            for one in content.hashes[:1]:
                self._remember(one, sha256)
            return stored
        except OSError as error:
            sink.discard()
            raise disk_problem(error, self.folder) from None
        except BaseException:
            sink.discard()
            raise

    def _remember(self, one: sri.Hash, sha256: str) -> None:
        name = self._name(one)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._partial)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(sha256)
        os.replace(temporary, name)

    def _path(self, sha256: str) -> str:
        return os.path.join(self._contents, sha256[:2], sha256)

    def _name(self, one: sri.Hash) -> str:
        return os.path.join(self._names, one.algorithm, one.hex[:2], one.hex)


def _open_file(path: str) -> IO[bytes]:
    """Opens a file of the cache. A pipe or a device in its place could be read for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "is not a regular file", path)
    return os.fdopen(descriptor, "rb")


def verify(content: Content, sink: Sink) -> None:
    """Raises WrongContent, the plainest difference first."""
    if content.size is not None and sink.size != content.size:
        raise WrongContent("size", f"{content.size} bytes", f"{sink.size} bytes")
    _verify_integrity(
        content, {one.algorithm: sink.digest(one.algorithm) for one in content.hashes}
    )
    sha256 = sink.digest("sha256").hex()
    if content.sha256 is not None and sha256 != content.sha256:
        raise WrongContent("SHA-256", content.sha256, sha256)


def _verify_integrity(content: Content, digests: Mapping[str, bytes]) -> None:
    found = [sri.of_digest(one.algorithm, digests[one.algorithm]) for one in content.hashes]
    if content.hashes and not set(found) & set(content.hashes):
        raise WrongContent("integrity", sri.render(content.hashes), str(found[0]))


def disk_problem(error: OSError, folder: str) -> SlipwayError:
    """What to say when the cache or an output cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SlipwayError(
        f'cannot write below "{folder}": {error.strerror or error}',
        where=folder,
        next=f"df -h {folder}" if full else f"ls -ld {folder}",
    )


def count(stored: Iterable[Stored]) -> Dict[str, int]:
    """How much was fetched, for the summary of a run."""
    listed = list(stored)
    return {
        "downloaded": sum(one.downloaded for one in listed),
        "cached": sum(not one.downloaded for one in listed),
        "bytes": sum(one.size for one in listed if one.downloaded),
    }
