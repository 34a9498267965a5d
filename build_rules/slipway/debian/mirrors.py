"""Fetches files from the first Debian mirror that has them, and checks their hashes.

Locks name files relative to a mirror. Not every mirror keeps old files, so the mirrors are tried in
order. If all of them fail, the error has the reason of each mirror.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, Callable, List, Optional
from urllib.parse import quote, unquote, urlsplit

from slipway.debian.apt_config import ARCHIVES_OPTION, OPTION, AptConfig
from slipway.fetch.download import Content, ContentCache, Sink, Stored, WrongContent
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.http_transport import HttpProblem, Patience, Transport, shown

Write = Callable[[bytes], Any]


class DebianMirrors:
    """Fetches from the mirrors of `config`, then from its archives, with its proxies, logins and CAs, on many threads."""

    def __init__(self, config: AptConfig, patience: Optional[Patience] = None) -> None:
        self.config = config
        self._transport = Transport(config, patience)

    def fetch(self, name: str, filename: str, content: Content, cache: ContentCache) -> Stored:
        """Stores the package `name` in `cache`; `filename` is relative to a mirror.

        Raises FetchFailed.
        """
        problems: List[HttpProblem] = []
        for mirror in (*self.config.mirrors, *self.config.archives):
            url = f"{mirror}/{quote(filename, safe='/+~%')}"

            def fill(sink: Sink, url: str = url) -> None:
                self._get(url, sink.write, sink.restart, content.most)

            try:
                return cache.store(content, fill)
            except HttpProblem as problem:
                problems.append(problem)
            except WrongContent as wrong:
                text = f"the file from {shown(url)} does not match the lock: {wrong}"
                problems.append(HttpProblem("wrong", text))
        raise FetchFailed(self._fault(name, problems))

    def read(self, path: str, most: int) -> bytes:
        """The content of a file relative to a mirror, at most `most` bytes; raises FetchFailed."""
        problems: List[HttpProblem] = []
        for mirror in self.config.mirrors:
            parts: List[bytes] = []
            try:
                self._get(f"{mirror}/{path}", parts.append, parts.clear, most)
                return b"".join(parts)
            except HttpProblem as problem:
                problems.append(problem)
        raise FetchFailed(self._fault(path, problems))

    def _get(self, url: str, write: Write, restart: Callable[[], None], most: int) -> None:
        if urlsplit(url).scheme == "file":
            restart()
            _copy_local(unquote(urlsplit(url).path), write, most)
            return
        self._transport.get(url, write, limit=most, restart=restart, login=self.config.login)

    def _fault(self, subject: str, problems: List[HttpProblem]) -> FetchFault:
        shared = all(problem.kind in ("unreachable", "untrusted") for problem in problems)
        if all(problem.status in (404, 410) for problem in problems):
            # Mirrors delete old releases. Archives of old releases have the same files.
            way_out = (
                f"set a mirror that still has it; in pants.toml: {OPTION}\n"
                f"or a folder of ./pants toolchain-archive: {ARCHIVES_OPTION}"
            )
        elif any(problem.kind == "untrusted" for problem in problems):
            way_out = 'set its CA file in /etc/apt/apt.conf.d: Acquire::https::CaInfo "FILE";'
        elif shared:
            way_out = (
                f"check the mirrors of {self.config.origin}, or set one; in pants.toml: {OPTION}"
            )
        elif any(problem.status in (401, 403, 407) for problem in problems):
            way_out = "add a login to /etc/apt/auth.conf.d, see man apt_auth.conf"
        else:
            way_out = "run the same command again"
        return FetchFault(subject, "; ".join(p.text for p in problems), way_out, shared)


def _copy_local(path: str, write: Write, most: int) -> None:
    try:
        size = os.path.getsize(path)
        if size > most:
            raise HttpProblem("too-long", f"{path}: {size} bytes, more than {most}")
        with open(path, "rb") as file:
            shutil.copyfileobj(file, _Writer(write))
    except OSError as error:
        status = 404 if isinstance(error, FileNotFoundError) else 0
        raise HttpProblem("status", f"{path}: {error.strerror}", status) from None


class _Writer:
    def __init__(self, write: Write) -> None:
        self.write = write
