"""Fetches the files of a request into a folder; the only step of a build with network access.

The program runs on the runner's CPython, outside any root file system, and reads the user's client
configuration. Its results are only the files that the request names by hash. The user's settings
are in a file that is not part of any cache key.

A request has `kind`, `sha256`, `size` and `path`, and further fields by kind:
    npm     name, version, integrity
    url     url (http, https or file)
    debian  name, filename (relative to a Debian mirror)
    image   image (a reference; the file is a part of this image)
    wheel   name, version (of a project in the Python index)
    binary  name (of a package), variable, file (relative to the address in the variable)
The last line of the output is a JSON object with the counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple
from urllib.parse import unquote

from slipway.debian.apt_config import read_apt_config
from slipway.debian.mirrors import DebianMirrors
from slipway.fetch import integrity as sri
from slipway.fetch import pip_download
from slipway.fetch.download import Content, ContentCache, Stored, WrongContent, count, disk_problem
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.settings import Settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.oci.engine import SavedImage
from slipway.oci.lock import ImageReference, parse_reference
from slipway.oci.registry import ImageRegistry
from slipway.step.interface import OUT, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Request:
    """A file to fetch: its hash and size, and its location; fields of other kinds are empty.

    The size 0 is unknown.
    """

    kind: str
    path: str
    sha256: str
    size: int
    name: str = ""
    version: str = ""
    integrity: str = ""
    url: str = ""
    filename: str = ""
    image: str = ""
    variable: str = ""
    file: str = ""


@dataclass(frozen=True)
class Arguments:
    files: Tuple[Request, ...]


PROGRAM = StepProgram(__name__, Arguments)


def fetch_files(arguments: Arguments, settings: Settings) -> None:
    requests = arguments.files
    try:
        cache = ContentCache(settings.cache_dir)
        cache.sweep()
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None
    wanted = [(request.name, request.version) for request in requests if request.kind == "npm"]
    fetch = Fetcher(settings, cache, OUT, wanted)
    # Requests with the same content share a job, so that it is fetched only once.
    by_content: Dict[str, List[Request]] = {}
    for request in requests:
        by_content.setdefault(request.sha256, []).append(request)
    with contextlib.closing(fetch):
        stored = run_jobs([fetch.job(same) for same in by_content.values()])
    print(json.dumps(count(stored), sort_keys=True))


def _output(out: str, path: str) -> str:
    target = os.path.normpath(os.path.join(out, path))
    if os.path.isabs(path) or not target.startswith(os.path.normpath(out) + os.sep):
        raise ValueError(f"the output {path!r} is not below the output folder")
    return target


class Fetcher:
    """Turns requests into jobs; reads the user's configuration only if a file is not cached."""

    def __init__(
        self,
        settings: Settings,
        cache: ContentCache,
        out: str,
        wanted: Sequence[Tuple[str, str]],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._out = out
        self._client = LazyClient(settings, cache, wanted)
        self._mirrors: Optional[DebianMirrors] = None
        self._registries: Dict[ImageReference, ImageRegistry] = {}
        self._saved: Dict[ImageReference, SavedImage] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        for saved in self._saved.values():
            saved.remove()

    def job(self, same: Sequence[Request]) -> Job[Stored]:
        """A job that copies a content to the paths of all its requests, and checks each hash."""

        def run() -> Stored:
            try:
                first, *_ = [self._bring(request) for request in same]
                return first
            except OSError as error:
                raise disk_problem(error, self._out) from None

        return Job(self._subject(same[0]), same[0].size, run)

    def _bring(self, request: Request) -> Stored:
        content = Content(
            sha256=request.sha256,
            size=request.size or None,
            hashes=sri.parse(request.integrity) if request.integrity else (),
        )
        subject, target = self._subject(request), _output(self._out, request.path)
        try:
            if self._cache.copy_to(content, target):
                return Stored(request.sha256, content.most, sri.Hash("", ""), False)
            kinds = {
                "npm": self._npm,
                "url": self._url,
                "debian": self._debian,
                "image": self._image,
                "binary": self._binary,
                "wheel": self._wheel,
            }
            stored = kinds[request.kind](request, content)()
            # Without the other hashes, because store() has just checked them.
            if self._cache.copy_to(replace(content, hashes=()), target):
                return stored
        except WrongContent as wrong:
            reason = f"its SHA-256 in the lock belongs to another file: {wrong}"
            raise FetchFailed(
                FetchFault(subject, reason, "restore the lock from version control")
            ) from None
        raise FetchFailed(
            FetchFault(subject, "the file is no longer in the cache", "run the same command again")
        )

    def _subject(self, request: Request) -> str:
        if request.kind in ("npm", "wheel"):
            return f"{request.name}@{request.version}"
        return str(request.name if request.kind == "debian" else request.path)

    def _npm(self, request: Request, content: Content) -> Callable[[], Stored]:
        return lambda: self._client.get().fetch(
            request.name, request.version, content, self._settings.renew_command
        )

    def _debian(self, request: Request, content: Content) -> Callable[[], Stored]:
        return lambda: self._debian_mirrors().fetch(
            request.name, request.filename, content, self._cache
        )

    def _debian_mirrors(self) -> DebianMirrors:
        with self._lock:
            if self._mirrors is None:
                settings = self._settings
                config = read_apt_config(
                    settings.env, settings.debian_mirror, archives=settings.debian_archives
                )
                self._mirrors = DebianMirrors(config, settings.patience)
            return self._mirrors

    def _image(self, request: Request, content: Content) -> Callable[[], Stored]:
        reference, subject = parse_reference(request.image, ""), self._subject(request)
        if reference.registry:
            return lambda: self._registry(reference).fetch(subject, content, self._cache)
        return lambda: self._from_engine(reference, subject, content)

    def _registry(self, reference: ImageReference) -> ImageRegistry:
        with self._lock:
            if reference not in self._registries:
                transport = self._client.strict_transport()
                self._registries[reference] = ImageRegistry(
                    reference, transport, self._settings.env
                )
            return self._registries[reference]

    def _from_engine(self, reference: ImageReference, subject: str, content: Content) -> Stored:
        with self._lock:
            if reference not in self._saved:
                self._saved[reference] = SavedImage(
                    reference, self._settings.env, self._cache.folder
                )
            saved = self._saved[reference]
        path = saved.paths.get(content.sha256 or "")
        if path is None:
            reason = f"the image {reference} does not have this part"
            raise FetchFailed(FetchFault(subject, reason, "restore the lock from version control"))
        return self._local(subject, path, content)

    def _binary(self, request: Request, content: Content) -> Callable[[], Stored]:
        return lambda: self._client.fetch_binary(
            request.name, request.variable, request.file, content
        )

    def _wheel(self, request: Request, content: Content) -> Callable[[], Stored]:
        return lambda: pip_download.with_wheel(
            self._settings,
            request.name,
            request.version,
            request.sha256,
            lambda path: self._local(self._subject(request), path, content),
        )

    def _url(self, request: Request, content: Content) -> Callable[[], Stored]:
        url, subject = self._settings.mirrored(request.url), self._subject(request)
        if url.lower().startswith(("http://", "https://")):
            return lambda: self._client.get().fetch_address(
                subject, url, content, self._settings.renew_command
            )
        return lambda: self._local(subject, url, content)

    def _local(self, subject: str, url: str, content: Content) -> Stored:
        path = url
        if url.startswith("file:"):
            path = unquote(re.sub(r"\Afile:(//[^/]*)?", "", url))
        try:
            with open(path, "rb") as file:
                return self._cache.store(content, lambda sink: shutil.copyfileobj(file, sink))
        except OSError as error:
            raise FetchFailed(
                FetchFault(subject, f"{path}: {error.strerror}", f"ls -l {path}")
            ) from None
        except WrongContent as wrong:
            raise FetchFailed(
                FetchFault(subject, f"{path} does not match the lock: {wrong}", f"sha256sum {path}")
            ) from None


if __name__ == "__main__":
    run(PROGRAM, fetch_files)
