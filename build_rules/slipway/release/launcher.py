"""`bin/app` of a release, and what its template leaves open."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from slipway.core import placeholders


@dataclass(frozen=True)
class Launcher:
    """`env_file` is a path on the host, or empty; `run_script` is the npm script that it runs."""

    server_env: str
    env_file: str
    run_script: str

    def fill(self, template: str) -> str:
        return placeholders.fill(template, asdict(self))
