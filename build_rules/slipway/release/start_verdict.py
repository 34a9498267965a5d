"""Judges what became of a release that was started to try it.

A release is at fault for what it lacks: modules, files, programs, symbols. It is not at fault for what
only its hosts have, such as a database or a configuration; without these, nobody can tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Sequence

from slipway.release.programs.watch_start import Watched

LISTEN, RUN, OFF = "listen", "run", "off"

# Statuses of processes that the kernel ended for faults in machine code, directly or below a shell.
_MACHINE_CODE = frozenset(
    sign
    for number in (4, 7, 8, 11)
    for sign in (-number, 128 + number)  # ILL, BUS, FPE, SEGV
)
_RELEASE = re.compile(
    r"""
    MODULE_NOT_FOUND | Cannot\ find\ (?:module|package)\ ['"](?!/(?!build/release/))
    | \bERR_(?:REQUIRE_ESM|REQUIRE_ASYNC_MODULE|UNKNOWN_FILE_EXTENSION|UNKNOWN_MODULE_FORMAT
        |PACKAGE_PATH_NOT_EXPORTED|PACKAGE_IMPORT_NOT_DEFINED|UNSUPPORTED_DIR_IMPORT
        |INVALID_PACKAGE_CONFIG|INVALID_PACKAGE_TARGET|DLOPEN_FAILED|UNKNOWN_BUILTIN_MODULE)\b
    | \bSyntaxError\b (?!.*\bJSON\b)
    | invalid\ ELF\ header | wrong\ ELF\ class | undefined\ symbol: | cannot\ open\ shared\ object
    | version\ [`'][A-Z]+_[\w.]+'\ not\ found | was\ compiled\ against\ a\ different\ Node
    | ^(?:/bin/|/usr/bin/)?(?:sh|dash|bash|env|exec):.*(?:not\ found|No\ such\ file|Permission\ denied)
    | \bMissing\ script: | \bbad\ option\b
    | \bENOENT:[^'"]*['"](?:/build/release/|(?!/))(?!(?:[^'"]*/)?\.env)
    """,
    re.VERBOSE,
)
_SURROUNDINGS = re.compile(
    r"""
    \b(?:ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EACCES
        |EADDRINUSE|EADDRNOTAVAIL)\b
    | Cannot\ find\ module\ ['"]/ | \bENOENT:
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Verdict:
    """`is_fault` is False for what may work on a host; `what` is a clause about the release."""

    is_fault: bool
    what: str


def judge(watched: Watched, last: Sequence[str], probe: str) -> Optional[Verdict]:
    """The verdict on a release, or None if it runs; `probe` is LISTEN or RUN."""
    if watched.status:
        is_fault = watched.status in _MACHINE_CODE or lacks_something(last)
        return Verdict(is_fault, f"it ended with {_described(watched.status)}")
    if not watched.processes:
        return Verdict(lacks_something(last), "it ended at once, and left no process")
    if probe == RUN or watched.ports:
        return None
    return Verdict(lacks_something(last), "it runs, but no process listens on a port")


def lacks_something(last: Sequence[str]) -> bool:
    """Whether the last error in the output is about something that the release should contain."""
    for line in reversed(last):
        if _RELEASE.search(line):
            return True
        if _SURROUNDINGS.search(line):
            return False
    return False


def _described(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
