"""Starts a release as on a host, and reports what became of it; the start fails on its own.

The release has the network of a build step, in which loopback works, a random port, and the environment
of a host: nothing of the machine that builds.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from dataclasses import dataclass
from typing import List, NamedTuple, Tuple

from slipway.isolation import jailed
from slipway.isolation.job import PYTHON_OPTIONS
from slipway.release.launcher import Launcher
from slipway.release.programs import watch_start
from slipway.release.programs.laid_out import FOLDER, lay_out
from slipway.release.programs.watch_start import Start, Watched
from slipway.step import left_files, records
from slipway.step.frame import run
from slipway.step.interface import ReportFile, StepProgram
from slipway.step.left_files import NotAFile
from slipway.step.records import WrongRecord

_MODULES = "watcher"
_LOGS, _WATCHED = "logs", "watched"
_MOST_LINES = 30
_MOST_LOG = 1 << 20  # bytes
_PORTS = (20000, 30000)


@dataclass(frozen=True)
class Arguments:
    """`patience` is in milliseconds; without `listens`, the release only has to run for that time."""

    launcher: Launcher
    patience: int
    listens: bool


@dataclass(frozen=True)
class Report:
    """What became of the release, and the last lines that it printed, or else wrote to a log."""

    watched: Watched
    last: Tuple[str, ...]


class Outputs(NamedTuple):
    report: ReportFile[Report] = ReportFile("start.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def probe(arguments: Arguments) -> None:
    lay_out(arguments.launcher)
    os.mkdir(_LOGS)
    os.mkdir(_WATCHED)
    start = Start(
        (os.path.abspath(f"{FOLDER}/bin/app"), "run-foreground"),
        arguments.patience,
        arguments.listens,
    )
    report = os.path.abspath(f"{_WATCHED}/start.json")
    # A jail hides the programs of its step.
    shutil.copytree("slipway", _MODULES)
    launcher = os.path.abspath(f"{_MODULES}/slipway/step/programs/launch.py")
    launch = [sys.executable, *PYTHON_OPTIONS, launcher, watch_start.__name__]
    status, last = jailed.run(
        [*launch, records.as_json(start), report],
        ".",
        {
            "HOME": os.environ["HOME"],
            "LANG": "C.UTF-8",
            "LOG_DIR": os.path.abspath(_LOGS),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PORT": str(random.randrange(*_PORTS)),
            "TMPDIR": "/tmp",
        },
        writable=[FOLDER, _LOGS, _WATCHED],
    )
    OUTPUTS.report.write(Report(_read(report, status), tuple(last or _last_of_logs())))


def _read(report: str, status: int) -> Watched:
    """The report; the release can end its watcher, and then all that is known is a status."""
    try:
        return records.read(Watched, left_files.read(report, _WATCHED).decode(errors="replace"))
    except (NotAFile, WrongRecord):
        return Watched(0, (), status or 1)


def _last_of_logs() -> List[str]:
    """The last lines of the log that was written last."""
    paths = [os.path.join(top, name) for top, _, names in os.walk(_LOGS) for name in names]
    for path in sorted(paths, key=lambda one: -os.lstat(one).st_mtime):
        try:
            text = left_files.read(path, _LOGS, _MOST_LOG).decode(errors="replace")
        except NotAFile:
            continue
        if text.strip():
            return text.splitlines()[-_MOST_LINES:]
    return []


if __name__ == "__main__":
    run(PROGRAM, probe)
