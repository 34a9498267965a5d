"""The outcome of an ABI audit, for people and for programs."""

from __future__ import annotations

import enum
import json
from typing import Any, Dict, List, Mapping, Tuple

from slipway.abi.waivers import describe, ways_out
from slipway.core import text_table

_NAMESPACES = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")
_HEAD = ("file", "package", *_NAMESPACES, "needs", "verdict")


class Format(enum.Enum):
    TABLE = "table"
    JSON = "json"


Report = List[Dict[str, Any]]


def render(reports: Mapping[str, Report], form: Format) -> str:
    """`reports` are lists of AuditedFile, as dictionaries, by release."""
    if form is Format.JSON:
        return json.dumps(reports, indent=1, sort_keys=True)
    return "\n\n".join(_section(label, report) for label, report in reports.items())


def breaches_of(report: Report) -> List[Dict[str, Any]]:
    return [breach for one in report for breach in one["breaches"]]


def _section(label: str, report: Report) -> str:
    breaches = breaches_of(report)
    count = f"{len(report)} binar{'y' if len(report) == 1 else 'ies'}"
    parts = [f"{label}: {count}, {len(breaches)} breach{'' if len(breaches) == 1 else 'es'}"]
    if report:
        parts.append(text_table.render([_HEAD, *(_row(one) for one in report)]))
    if breaches:
        told = (f"{number}. {describe(one)}" for number, one in enumerate(breaches, 1))
        parts.append("\n".join(told))
        parts.append(f"next: {ways_out(breaches)}")
    return "\n".join(parts)


def _row(one: Mapping[str, Any]) -> Tuple[str, ...]:
    highest = [one["highest"].get(name, "").partition("_")[2] for name in _NAMESPACES]
    verdict = f"{one['verdict']}: {one['about']}" if one["about"] else one["verdict"]
    return (one["path"], one["package"], *highest, " ".join(one["needed"]), verdict)
