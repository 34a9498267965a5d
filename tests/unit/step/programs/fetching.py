"""The fetch program, run as the build runs it, in a scratch folder of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from slipway.step.interface import ARGUMENTS
from slipway.step.programs import locked_files
from tests.places import NO_VARIABLES, started
from tests.unit.npm.builders import sha512

LEFT = b"left " * 2000

# Short enough for tests; four tries as in earnest.
PATIENCE = {"connect": 2, "stall": 0.5, "backoff": 0.01, "body": 1, "least_bytes_per_second": 1e9}


class Run:
    """A scratch folder with the files of one run; `fetch` runs the program on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.cache = folder / "cache"
        self.home = folder / "home"
        self.home.mkdir()
        self.settings: Dict[str, Any] = {
            "cache_dir": str(self.cache),
            "home": str(self.home),
            "env": {"PATH": "/nowhere"},
            "patience": PATIENCE,
            "renew_command": "./pants generate-lockfiles --resolve=npm:apps/x",
        }
        self.requests: List[Dict[str, Any]] = []

    def npmrc(self, *lines: str) -> None:
        (self.home / ".npmrc").write_text("\n".join(lines) + "\n")

    def want(self, content: bytes = LEFT, name: str = "left", **fields: Any) -> None:
        self.requests.append(
            {
                "kind": "npm",
                "name": name,
                "version": "1.0.0",
                "integrity": sha512(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "path": f"{name}.tgz",
                **fields,
            }
        )

    def command(self) -> List[str]:
        (self.folder / ARGUMENTS).write_text(json.dumps({"files": self.requests}))
        (self.folder / "settings.json").write_text(json.dumps(self.settings))
        return [
            *(sys.executable, *started(locked_files.__name__)),
            str(self.folder / "settings.json"),
        ]

    def fetch(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(),
            cwd=self.folder,
            env=NO_VARIABLES,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def counts(self) -> Dict[str, int]:
        done = self.fetch()
        assert done.returncode == 0, done.stderr
        counted: Dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return counted

    def fails(self) -> str:
        done = self.fetch()
        assert done.returncode == 1, done.stdout
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr
