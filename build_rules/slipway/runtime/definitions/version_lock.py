"""The lock of Node versions: which version each range of a folder's `node_runtime` targets stands for.

It is a TOML file beside the BUILD file, so that a build never depends on which definitions are new.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterable, Mapping, Optional

from slipway.core import semver
from slipway.core.errors import SlipwayError
from slipway.runtime.definitions.lines import order

FILE_NAME = "node-versions.lock"
_EXACT = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?", re.ASCII)
_TABLE = "versions"


def is_range(version: str) -> bool:
    """Whether a version is a range such as ^22, and not one version."""
    return not _EXACT.fullmatch(version) and semver.satisfies("1.0.0", version) is not None


def choose(wanted: str, known: Iterable[str], where: str) -> str:
    """The newest known version in a range. Raises SlipwayError if there is none."""
    versions = sorted(known, key=order)
    matching = [one for one in versions if semver.satisfies(one, wanted)]
    if not matching:
        raise SlipwayError(
            f'no definition of Node.js matches "{wanted}"',
            where=where,
            found=", ".join(versions) or "no definitions",
            next="./pants node-definitions --add=<version>\nor correct the range",
        )
    return matching[-1]


def render(versions: Mapping[str, str], command: str) -> str:
    """The text of a lock; `command` writes it again."""
    lines = [f"{json.dumps(one)} = {json.dumps(versions[one])}" for one in sorted(versions)]
    return "\n".join([f"# Written by: {command}", f"[{_TABLE}]", *lines, ""])


def read(document: Mapping[str, Any], path: str, command: str) -> Dict[str, str]:
    """The versions of a parsed lock by range. Raises SlipwayError if the lock contradicts itself."""
    table = document.get(_TABLE)
    fault = _fault(table) if set(document) == {_TABLE} else "other keys than [versions]"
    if fault or not isinstance(table, dict):
        raise SlipwayError(
            f'the lock "{path}" is not valid', where=path, found=fault or "", next=command
        )
    return {str(wanted): str(version) for wanted, version in table.items()}


def _fault(table: Any) -> Optional[str]:
    if not isinstance(table, dict):
        return "no table [versions]"
    for wanted, version in table.items():
        if not isinstance(version, str) or not _EXACT.fullmatch(version):
            return f"{wanted}: {version!r} is not a version"
        if not semver.satisfies(version, wanted):
            return f"{wanted}: {version} is not in this range"
    return None
