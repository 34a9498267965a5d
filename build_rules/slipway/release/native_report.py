"""The binaries of a release, one by one: who brought them, how they were made, what they need."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, Mapping

from slipway.abi.audit import FOREIGN
from slipway.npm.scripts.decisions import Decision

FORMAT = 1
_OF_SCRIPT = ("name", "version", "path", "scripts")
_HOW = {
    Decision.SOURCE.value: "compiled",
    Decision.PREBUILT.value: "prebuilt",
    Decision.RUN.value: "by its script",
}


def render(
    files: Iterable[Mapping[str, Any]],
    packages: Iterable[Mapping[str, Any]],
    scripts: Iterable[Mapping[str, Any]],
    toolchain: str,
) -> str:
    """JSON. `files` are as AuditedFile; `packages` say of each path what was decided on, if at all;
    `scripts` are the install scripts by package; `toolchain` is the address of what compiled."""
    packages = list(packages)
    decided = {one["path"]: one["decision"] for one in packages if "decision" in one}
    records = [_record(one, decided, toolchain) for one in files if one["verdict"] != FOREIGN]
    ran = [
        {**{key: one[key] for key in _OF_SCRIPT}, "decision": decided[one["path"]]}
        for one in scripts
        if one["path"] in decided
    ]
    report = {"format": FORMAT, "files": records, "install_scripts": ran}
    return json.dumps(report, indent=1, sort_keys=True) + "\n"


def _record(one: Mapping[str, Any], decided: Mapping[str, str], toolchain: str) -> Dict[str, Any]:
    decision = next((decided[path] for path in decided if one["path"].startswith(f"{path}/")), None)
    how = _HOW[decision] if decision else "carried"
    return {
        "path": one["path"],
        "package": one["package"],
        "sha256": one["sha256"],
        "how": how,
        "compilers": one["compilers"],
        "highest": one["highest"],
        **({"toolchain": toolchain} if how == "compiled" else {}),
    }
