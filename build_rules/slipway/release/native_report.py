"""The list of a release's binaries: their package, their origin, and what they need."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, Mapping

from slipway.abi.audit import FOREIGN, AuditedFile
from slipway.npm.install_report import InstalledPackage, ScriptedPackage
from slipway.npm.scripts.decisions import Decision

FORMAT = 1
_HOW = {
    Decision.SOURCE.value: "compiled",
    Decision.PREBUILT.value: "prebuilt",
    Decision.RUN.value: "by its script",
}


def render(
    files: Iterable[AuditedFile],
    packages: Iterable[InstalledPackage],
    scripts: Iterable[ScriptedPackage],
    toolchain: str,
) -> str:
    """The report as JSON.

    `packages` have the decision for each path, if there is one. `scripts` are the packages with install
    scripts. `toolchain` is the address of the node_toolchain.
    """
    decided = {package.path: package.decision for package in packages if package.decision}
    records = [_record(file, decided, toolchain) for file in files if file.verdict != FOREIGN]
    ran = [
        {
            "name": package.name,
            "version": package.version,
            "path": package.path,
            "scripts": package.scripts,
            "decision": decided[package.path],
        }
        for package in scripts
        if package.path in decided
    ]
    report = {"format": FORMAT, "files": records, "install_scripts": ran}
    return json.dumps(report, indent=1, sort_keys=True) + "\n"


def _record(file: AuditedFile, decided: Mapping[str, str], toolchain: str) -> Dict[str, Any]:
    decision = next((decided[path] for path in decided if file.path.startswith(f"{path}/")), None)
    how = _HOW[decision] if decision else "carried"
    return {
        "path": file.path,
        "package": file.package,
        "sha256": file.sha256,
        "how": how,
        "compilers": file.compilers,
        "highest": file.highest,
        **({"toolchain": toolchain} if how == "compiled" else {}),
    }
