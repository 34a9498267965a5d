"""What a run says about fetching: handed to its programs in a file, and in no cache key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.fetch.http_transport import Patience

# Names that are for registries; `[slipway] npmrc_variables` has the same default.
PROJECT_VARIABLES = ("*NPM*", "NODE_AUTH_TOKEN", "CI_JOB_TOKEN")


@dataclass(frozen=True)
class Settings:
    """What must not be in any cache key, handed over in a file per run.

    `env` holds those of the user's variables that configure fetching; the process itself starts
    with next to none.
    """

    cache_dir: str
    registry: Optional[str] = None
    project_npmrc: Optional[str] = None
    home: Optional[str] = None
    debian_mirror: Optional[str] = None
    trusted_suites: Tuple[str, ...] = ()
    npmrc_variables: Tuple[str, ...] = PROJECT_VARIABLES
    mirrors: Mapping[str, str] = field(default_factory=dict)
    binary_mirrors: Mapping[str, str] = field(default_factory=dict)
    renew_command: str = "./pants generate-lockfiles"
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: Patience = Patience()

    def mirrored(self, url: str) -> str:
        """Where `url` is fetched from: `mirrors` maps beginnings of addresses to others."""
        fitting = [one for one in self.mirrors if url.startswith(one)]
        longest = max(fitting, key=len, default="")
        return self.mirrors[longest] + url[len(longest) :] if longest else url


def read_settings(path: str) -> Settings:
    """The settings file of a run. The rules write it, so that faults in it are no user's."""
    with open(path, encoding="utf-8") as file:
        raw: Dict[str, Any] = json.load(file)
    raw["patience"] = Patience(**raw.get("patience") or {})
    return Settings(**{name: value for name, value in raw.items() if value is not None})
