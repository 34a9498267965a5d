"""Compares a fetch lock's hashes with the tarballs in this machine's cache, without network access.

A fetch lock has two hashes of each tarball, sha512 and SHA-256. Only the tarball itself shows whether
both belong to the same content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Optional, Tuple

from slipway.fetch import integrity as sri
from slipway.fetch.download import ContentCache
from slipway.fetch.settings import Settings
from slipway.step.interface import ReportFile, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Entry:
    """One line of a fetch lock; its content must match all `integrities`."""

    name: str
    version: str
    integrities: Tuple[str, ...]
    sha256: str
    size: int


@dataclass(frozen=True)
class Arguments:
    entries: Tuple[Entry, ...]


@dataclass(frozen=True)
class Report:
    """`faults` are tarballs with hashes of different contents; `unknown` is the number of tarballs that
    are not in the cache."""

    faults: Tuple[str, ...]
    unknown: int


PROGRAM = StepProgram(__name__, Arguments)
REPORT = ReportFile("compared.json", Report)


def compare(arguments: Arguments, settings: Settings) -> None:
    folder = settings.cache_dir
    faults: List[str] = []
    unknown = 0
    cache = ContentCache(folder) if os.path.isdir(folder) else None
    for entry in arguments.entries:
        fault = _compare(entry, cache) if cache else None
        if fault is None:
            unknown += 1
        elif fault:
            faults.append(f"{entry.name}@{entry.version}: {fault}")
    REPORT.write(Report(tuple(faults), unknown))


def _compare(entry: Entry, cache: ContentCache) -> Optional[str]:
    """The mismatch; empty if there is none, None if the content is not in the cache."""
    named = [sri.parse(word)[0] for word in entry.integrities]
    digests = cache.digests(entry.sha256, {one.algorithm for one in named})
    if digests is not None:
        for one in named:
            found = sri.of_digest(one.algorithm, digests[one.algorithm])
            if found != one:
                return f"the content of SHA-256 {entry.sha256} is {found}, not {one}"
        return ""
    for one in named:
        stored = cache.find((one,))
        if stored and (stored.sha256, stored.size) != (entry.sha256, entry.size):
            return (
                f"the content of {one} has SHA-256 {stored.sha256} and {stored.size} bytes, not "
                f"{entry.sha256} and {entry.size}"
            )
    return None


if __name__ == "__main__":
    run(PROGRAM, compare)
