"""`bin/app` of a release, and the values for its template."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Mapping

from slipway.core import placeholders
from slipway.runtime.label import NODE_BIN

SCRIPTS = "@scripts@\n"
"""The line of `app.sh` for the functions that run scripts of package.json."""


@dataclass(frozen=True)
class Launcher:
    """`env_file` is a path on the host, or empty; `run_script` runs the application in the foreground.

    `member` is the application's folder in the release, if it is a member of npm workspaces. `bin` is
    the program of the runtime. `find_script` is a function for `sh`, and empty for a runtime with npm.
    """

    server_env: str
    env_file: str
    run_script: str
    member: str = ""
    bin: str = NODE_BIN
    # The last field, which is filled in last: scripts of package.json may contain the placeholders of the other fields.
    find_script: str = ""

    def fill(self, template: str) -> str:
        return placeholders.fill(template, asdict(self))


def find_script(name: str, version: str, scripts: Mapping[str, str]) -> str:
    """The function `find_script` for a release without npm; it sets the lines of a script.

    `name` and `version` are those of package.json.
    """
    lines = [
        f"app_known={shlex.quote(', '.join(sorted(scripts)) or 'none')}",
        f"npm_package_name={shlex.quote(name)}",
        f"npm_package_version={shlex.quote(version)}",
        "find_script() {",
        "  case $1 in",
    ]
    for script in sorted(scripts):
        lines += [
            f"  {shlex.quote(script)})",
            f"    app_before={shlex.quote(scripts.get(f'pre{script}', ''))}",
            f"    app_line={shlex.quote(scripts[script])}",
            f"    app_after={shlex.quote(scripts.get(f'post{script}', ''))}",
            "    ;;",
        ]
    return "\n".join([*lines, "  *) return 1 ;;", "  esac", "}"])
