"""Renders the result of an ABI audit as a table or as JSON."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict
from typing import List, Mapping, Sequence, Tuple

from slipway.abi.audit import AuditedFile, Breach
from slipway.abi.waivers import ways_out
from slipway.core import text_table

_NAMESPACES = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
_HEAD = ("file", "package", *_NAMESPACES, "needs", "verdict")


class Format(enum.Enum):
    TABLE = "table"
    JSON = "json"


Report = Sequence[AuditedFile]


def render(reports: Mapping[str, Report], form: Format) -> str:
    """The reports as text; `reports` maps releases to their files."""
    if form is Format.JSON:
        plain = {label: [asdict(file) for file in report] for label, report in reports.items()}
        return json.dumps(plain, indent=1, sort_keys=True)
    return "\n\n".join(_section(label, report) for label, report in reports.items())


def breaches_of(report: Report) -> List[Breach]:
    return [breach for file in report for breach in file.breaches]


def _section(label: str, report: Report) -> str:
    breaches = breaches_of(report)
    count = f"{len(report)} binar{'y' if len(report) == 1 else 'ies'}"
    parts = [f"{label}: {count}, {len(breaches)} breach{'' if len(breaches) == 1 else 'es'}"]
    if report:
        parts.append(text_table.render([_HEAD, *(_row(file) for file in report)]))
    if breaches:
        lines = (f"{number}. {breach}" for number, breach in enumerate(breaches, 1))
        parts.append("\n".join(lines))
        parts.append(f"next: {ways_out(breaches)}")
    return "\n".join(parts)


def _row(file: AuditedFile) -> Tuple[str, ...]:
    highest = [file.highest.get(name, "").partition("_")[2] for name in _NAMESPACES]
    verdict = f"{file.verdict}: {file.about}" if file.about else file.verdict
    return (file.path, file.package, *highest, " ".join(file.needed), verdict)
