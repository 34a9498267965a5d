"""Fetches a binary to pin, and writes its SHA-256 and size.

Can take a local file instead of the mirror's, and stores it in the download cache for later steps.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Optional

from slipway.core.errors import SlipwayError
from slipway.fetch.download import Content, ContentCache, Stored, disk_problem
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.settings import Settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.step.interface import ReportFile, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Arguments:
    """The binary of the package `name`, at `path` relative to the URL in `variable`; or the local `file`."""

    name: str
    variable: str
    path: str
    file: Optional[str] = None


@dataclass(frozen=True)
class Report:
    sha256: str
    size: int


PROGRAM = StepProgram(__name__, Arguments)
REPORT = ReportFile("pin.json", Report)


def pin(arguments: Arguments, settings: Settings) -> None:
    try:
        cache = ContentCache(settings.cache_dir)
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None
    client = LazyClient(settings, cache)

    def fetch() -> Stored:
        if arguments.file:
            return _keep(arguments.file, cache)
        return client.fetch_binary(arguments.name, arguments.variable, arguments.path, Content())

    (stored,) = run_jobs([Job(arguments.name, 0, fetch)])
    REPORT.write(Report(stored.sha256, stored.size))


def _keep(path: str, cache: ContentCache) -> Stored:
    try:
        with open(path, "rb") as file:
            return cache.store(Content(), lambda sink: shutil.copyfileobj(file, sink))
    except OSError as error:
        raise SlipwayError(
            f'cannot read the file "{path}"',
            where="the option --from-file",
            found=str(error.strerror),
            next=f"ls -l {path}",
        ) from None


if __name__ == "__main__":
    run(PROGRAM, pin)
