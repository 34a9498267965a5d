"""Programs with network access, run as the build runs them, each in a scratch folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Generic, TypeVar

from slipway.step.interface import ARGUMENTS, OUT, ReportFile, StepProgram
from tests.places import NO_VARIABLES, started
from tests.unit.step.programs.fetching import PATIENCE

R = TypeVar("R")


class Run(Generic[R]):
    """The runs of a program with a report; `settings` are those of the user."""

    def __init__(self, folder: Path, program: StepProgram[Any], report: ReportFile[R]) -> None:
        self.folder = folder / "work"
        self.home = folder / "home"
        self.folder.mkdir()
        self.home.mkdir()
        self.cache = folder / "cache"
        self._program, self._report = program, report
        self.settings: Dict[str, Any] = {
            "cache_dir": str(self.cache),
            "home": str(self.home),
            "env": {"PATH": os.defpath},
            "patience": PATIENCE,
        }

    @property
    def out(self) -> Path:
        return self.folder / OUT

    def npmrc(self, *lines: str) -> None:
        (self.home / ".npmrc").write_text("\n".join(lines) + "\n")

    def start(self, arguments: object) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(self.out, ignore_errors=True)
        (self.folder / ARGUMENTS).write_text(self._program(arguments).arguments)
        (self.folder / "settings.json").write_text(json.dumps(self.settings))
        command = (sys.executable, *started(self._program.module))
        return subprocess.run(
            [*command, str(self.folder / "settings.json")],
            cwd=self.folder,
            env=NO_VARIABLES,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def reports(self, arguments: object) -> R:
        done = self.start(arguments)
        assert done.returncode == 0, done.stderr
        return self._report.read((self.out / self._report).read_text())

    def fails(self, arguments: object) -> str:
        """The message of a run that leaves no report."""
        done = self.start(arguments)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert not (self.out / self._report).exists()
        return done.stderr


def packument(name: str, versions: Any) -> bytes:
    """What a registry says about a package."""
    return json.dumps({"name": name, "versions": versions}).encode()
