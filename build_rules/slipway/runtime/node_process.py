"""Starts npm and node inside a build step, with an environment that allows no network."""

from __future__ import annotations

import os
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

from slipway.isolation import jailed
from slipway.isolation.jail_protocol import NOBODY, Subject

RUNTIME = "/build/node_runtime"
RELEASED = "/build/released_runtime"
"""The runtime of the release, if it has no npm and another one runs the build."""
NPM = f"{RUNTIME}/lib/node_modules/npm/bin/npm-cli.js"
CACHE = "/build/npm_cache"
# All releases of npm read these settings from variables npm_config_* in lower case.
_NPM_SETTINGS = {
    "audit": "false",
    "cache": CACHE,
    "fetch_retries": "0",
    "fund": "false",
    "globalconfig": "/dev/null",
    "nodedir": RUNTIME,
    "offline": "true",
    "progress": "false",
    "registry": "https://registry.invalid/",
    "unsafe_perm": "true",
    "update_notifier": "false",
    "userconfig": "/build/npmrc",
}


def environment(extra: Mapping[str, str]) -> Dict[str, str]:
    """The environment of node and npm: this process's environment, npm's settings and `extra`."""
    # npm 6 does not accept a device such as /dev/null as userconfig, so this is an empty file.
    with open("/build/npmrc", "ab"):
        pass
    env = {f"npm_config_{name}": value for name, value in _NPM_SETTINGS.items()}
    path = f"{RUNTIME}/bin:{RELEASED}/bin:{os.environ['PATH']}"
    return {**os.environ, **env, "PATH": path, **extra}


def npm(
    arguments: Sequence[str],
    cwd: str,
    extra: Mapping[str, str],
    *,
    app: str,
    subject: Subject = NOBODY,
    started: Callable[[jailed.Stop], None] = lambda stop: None,
) -> Tuple[int, List[str]]:
    """Runs npm in a jail and prints its output; returns its exit status and the last lines.

    npm may write to the folder `app` and to its cache. `subject` is the package whose scripts run.
    `started` is as in jailed.run().
    """
    os.makedirs(CACHE, exist_ok=True)
    argv = [f"{RUNTIME}/bin/node", NPM, *arguments]
    return jailed.run(
        argv,
        cwd,
        environment(extra),
        writable=[app, CACHE],
        subject=subject,
        started=started,
    )
