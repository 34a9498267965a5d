"""The download cache: files named by their SHA-256, safe after a kill or a full disk.

A download is written to a temporary file, which gets its name only when it is complete. Every read
hashes the file again. So a kill, a full disk or a concurrent run leaves at worst a file that is
discarded. Results are copied and never hard-linked, because a process that may write to a result
must not be able to change the cache.
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
    """What a lock says about a file before it is fetched; `limit` applies without a `size`."""

    sha256: Optional[str] = None
    size: Optional[int] = None
    hashes: Tuple[sri.Hash, ...] = ()
    limit: int = 1 << 29

    @property
    def most(self) -> int:
        return self.limit if self.size is None else self.size


@dataclass(frozen=True)
class Stored:
    """A file in the cache; `downloaded` is False if the cache had it already."""

    sha256: str
    size: int
    sha512: sri.Hash
    downloaded: bool


class WrongContent(Exception):
    """A hash mismatch or a wrong size; `what` names the difference."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"wrong {what}: expected {expected}, found {found}")


class Sink:
    """A temporary file that computes hashes and size of the bytes that are written to it."""

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
        for hasher in self._hashes.values():
            hasher.update(chunk)

    def digest(self, algorithm: str) -> bytes:
        return self._hashes[algorithm].digest()

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        try:
            self._file.close()
            os.unlink(self.path)
        except OSError:
            pass  # sweep() removes it later


class ContentCache:
    """The cache folder; many threads and processes can use it at the same time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._partial = os.path.join(folder, "partial")
        self._contents = os.path.join(folder, "sha256")
        self._names = os.path.join(folder, "names")
        for part in (self._partial, self._contents, self._names):
            own_folder.make(part)

    def sweep(self) -> None:
        """Removes temporary files that are older than a day: killed runs left them."""
        before = time.time() - _ABANDONED
        for entry in os.scandir(self._partial):
            try:
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
            except OSError:
                pass  # a concurrent run has removed it

    def copy_to(self, content: Content, target: str) -> bool:
        """Copies a file to `target`; False if the cache lacks it, or if it was damaged.

        Raises WrongContent if the file with this SHA-256 matches none of `content.hashes`: then the
        lock contradicts itself.
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
            algorithms = {"sha256", *(expected.algorithm for expected in content.hashes)}
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
            # The cached file is damaged. Without it, the caller fetches it again.
            for path in (source, target):
                if os.path.lexists(path):
                    os.unlink(path)
            return False
        try:
            _verify_integrity(content, {name: hasher.digest() for name, hasher in hashers.items()})
        except WrongContent:
            os.unlink(target)
            raise
        return True

    def find(self, hashes: Tuple[sri.Hash, ...]) -> Optional[Stored]:
        """The verified file that was stored under one of these hashes; None if it is missing."""
        for known in hashes:
            try:
                with _open_file(self._name(known)) as file:
                    sha256 = file.read(65).decode("ascii")
                if not _SHA256.fullmatch(sha256):
                    continue
                names = {"sha256", "sha512", known.algorithm}
                hashers = {name: hashlib.new(name) for name in names}
                size = 0
                with _open_file(self._path(sha256)) as content:
                    for chunk in iter(lambda c=content: c.read(_CHUNK), b""):  # type: ignore[misc]
                        size += len(chunk)
                        for hasher in hashers.values():
                            hasher.update(chunk)
            except (OSError, ValueError):
                continue
            sound = hashers["sha256"].hexdigest() == sha256
            digest = hashers[known.algorithm].digest()
            if sound and sri.of_digest(known.algorithm, digest) == known:
                sha512 = sri.of_digest("sha512", hashers["sha512"].digest())
                return Stored(sha256, size, sha512, downloaded=False)
        return None

    def digests(self, sha256: str, algorithms: Set[str]) -> Optional[Dict[str, bytes]]:
        """The hashes of a cached file by algorithm; None if it is missing or damaged."""
        hashers = {name: hashlib.new(name) for name in {"sha256", *algorithms}}
        try:
            with _open_file(self._path(sha256)) as file:
                for chunk in iter(lambda: file.read(_CHUNK), b""):
                    for hasher in hashers.values():
                        hasher.update(chunk)
        except OSError:
            return None
        sound = hashers["sha256"].hexdigest() == sha256
        return {name: hasher.digest() for name, hasher in hashers.items()} if sound else None

    def store(self, content: Content, fill: Callable[[Sink], None]) -> Stored:
        """Stores the file that `fill` writes, after it was checked against `content`.

        Raises WrongContent if it differs, and SlipwayError if the disk cannot be written.
        """
        sink = Sink(self._partial, (expected.algorithm for expected in content.hashes))
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
            for expected in content.hashes[:1]:
                self._remember(expected, sha256)
            return stored
        except OSError as error:
            sink.discard()
            raise disk_problem(error, self.folder) from None
        except BaseException:
            sink.discard()
            raise

    def _remember(self, known: sri.Hash, sha256: str) -> None:
        name = self._name(known)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._partial)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(sha256)
        os.replace(temporary, name)

    def _path(self, sha256: str) -> str:
        return os.path.join(self._contents, sha256[:2], sha256)

    def _name(self, known: sri.Hash) -> str:
        return os.path.join(self._names, known.algorithm, known.hex[:2], known.hex)


def _open_file(path: str) -> IO[bytes]:
    """Opens a regular file of the cache; raises FileNotFoundError for anything else.

    A read from a pipe or a device in its place might never end. O_NONBLOCK, because open() of a
    pipe without a writer would wait.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "is not a regular file", path)
    return os.fdopen(descriptor, "rb")


def verify(content: Content, sink: Sink) -> None:
    """Raises WrongContent if size, integrity or SHA-256 differ, in this order."""
    if content.size is not None and sink.size != content.size:
        raise WrongContent("size", f"{content.size} bytes", f"{sink.size} bytes")
    _verify_integrity(
        content,
        {expected.algorithm: sink.digest(expected.algorithm) for expected in content.hashes},
    )
    sha256 = sink.digest("sha256").hex()
    if content.sha256 is not None and sha256 != content.sha256:
        raise WrongContent("SHA-256", content.sha256, sha256)


def _verify_integrity(content: Content, digests: Mapping[str, bytes]) -> None:
    actual = [
        sri.of_digest(expected.algorithm, digests[expected.algorithm])
        for expected in content.hashes
    ]
    if content.hashes and not set(actual) & set(content.hashes):
        raise WrongContent("integrity", sri.render(content.hashes), str(actual[0]))


def disk_problem(error: OSError, folder: str) -> SlipwayError:
    """The error for a cache or an output that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SlipwayError(
        f'cannot write below "{folder}": {error.strerror or error}',
        where=folder,
        next=f"df -h {folder}" if full else f"ls -ld {folder}",
    )


def count(stored: Iterable[Stored]) -> Dict[str, int]:
    """The summary of a run: numbers of downloaded and cached files, and downloaded bytes."""
    files = list(stored)
    return {
        "downloaded": sum(file.downloaded for file in files),
        "cached": sum(not file.downloaded for file in files),
        "bytes": sum(file.size for file in files if file.downloaded),
    }
