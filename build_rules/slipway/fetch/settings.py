"""The settings of a run for fetching, which its programs read from a file.

They are in a file because arguments and environment of a process are part of its cache key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.fetch.http_transport import Patience

# Variables that are meant for registries. The default of `[slipway] npmrc_variables`.
PROJECT_VARIABLES = ("*NPM*", "NODE_AUTH_TOKEN", "CI_JOB_TOKEN")


@dataclass(frozen=True)
class Settings:
    """The settings of a run that must not be in any cache key.

    `env` is the user's environment, because the process itself starts with an almost empty one.
    `pip` is the command that starts pip; empty if there is none.
    """

    cache_dir: str
    registry: Optional[str] = None
    project_npmrc: Optional[str] = None
    home: Optional[str] = None
    debian_mirror: Optional[str] = None
    debian_archives: Tuple[str, ...] = ()
    trusted_suites: Tuple[str, ...] = ()
    npmrc_variables: Tuple[str, ...] = PROJECT_VARIABLES
    mirrors: Mapping[str, str] = field(default_factory=dict)
    binary_mirrors: Mapping[str, str] = field(default_factory=dict)
    renew_command: str = "./pants generate-lockfiles"
    pip: Tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: Patience = Patience()

    def mirrored(self, url: str) -> str:
        """`url` on its mirror: the longest prefix of it in `mirrors` is replaced."""
        prefixes = [prefix for prefix in self.mirrors if url.startswith(prefix)]
        longest = max(prefixes, key=len, default="")
        return self.mirrors[longest] + url[len(longest) :] if longest else url


def read_settings(path: str) -> Settings:
    """Reads the settings file of a run. A rule wrote it, so it is not checked for mistakes."""
    with open(path, encoding="utf-8") as file:
        raw: Dict[str, Any] = json.load(file)
    raw["patience"] = Patience(**raw.get("patience") or {})
    return Settings(**{name: value for name, value in raw.items() if value is not None})
