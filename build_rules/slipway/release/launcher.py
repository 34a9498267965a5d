"""`bin/app` of a release, and the values for its template."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from slipway.core import placeholders


@dataclass(frozen=True)
class Launcher:
    """`env_file` is a path on the host, or empty; `run_script` runs the application in the foreground.

    `member` is the application's folder in the release, if it is a member of npm workspaces.
    """

    server_env: str
    env_file: str
    run_script: str
    member: str = ""

    def fill(self, template: str) -> str:
        return placeholders.fill(template, asdict(self))
