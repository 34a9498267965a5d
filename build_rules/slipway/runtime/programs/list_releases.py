"""Lists the releases of packages in the user's npm registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Tuple

from slipway.fetch.download import ContentCache, disk_problem
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.settings import Settings
from slipway.npm_registry.client import Release
from slipway.npm_registry.lazy_client import LazyClient
from slipway.step.interface import ReportFile, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Arguments:
    packages: Tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The releases of each package by version."""

    packages: Mapping[str, Mapping[str, Release]]


PROGRAM = StepProgram(__name__, Arguments)
REPORT = ReportFile("releases.json", Report)


def list_releases(arguments: Arguments, settings: Settings) -> None:
    try:
        client = LazyClient(settings, ContentCache(settings.cache_dir))
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None

    def job(name: str) -> Job[Mapping[str, Release]]:
        return Job(name, 0, lambda: client.get().releases(name))

    found = run_jobs([job(name) for name in arguments.packages])
    REPORT.write(Report(dict(zip(arguments.packages, found))))


if __name__ == "__main__":
    run(PROGRAM, list_releases)
