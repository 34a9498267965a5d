"""Starting npm and node inside a build step: one environment, closed by default."""

from __future__ import annotations

import os
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

from build_rules.lib import process_output

RUNTIME = "/build/node_runtime"
NPM = f"{RUNTIME}/lib/node_modules/npm/bin/npm-cli.js"
# npm reads configuration from the environment in lower case; every release of it knows these.
_NPM_SETTINGS = {
    "audit": "false",
    "cache": "/build/npm_cache",
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
    """What node and npm see: this process's clean environment, npm's settings and `extra`."""
    # npm 6 refuses to read a device as its user configuration.
    with open("/build/npmrc", "ab"):
        pass
    env = {f"npm_config_{name}": value for name, value in _NPM_SETTINGS.items()}
    path = f"{RUNTIME}/bin:{os.environ['PATH']}"
    return {**os.environ, **env, "PATH": path, **extra}


def npm(
    arguments: Sequence[str],
    cwd: str,
    extra: Mapping[str, str],
    started: Callable[[process_output.Stop], None] = lambda stop: None,
) -> Tuple[int, List[str]]:
    """Runs npm, passes its output on, and gives its exit status and the last lines."""
    argv = [f"{RUNTIME}/bin/node", NPM, *arguments]
    return process_output.run(argv, cwd, environment(extra), started)
