"""Renders the report of the network guard as text."""

from __future__ import annotations

from typing import Dict, List

from slipway.core.printable import one_line
from slipway.isolation.network_guard import Attempt, Report

_MOST = 10


def who(attempt: Attempt) -> str:
    """The package and its script; without a package, only the command."""
    if not attempt.package:
        return one_line(attempt.command)
    label = f"{attempt.package}@{attempt.version}" if attempt.version else attempt.package
    if not attempt.event:
        return f'{label} ("{one_line(attempt.command)}")'
    return f'{label} ({attempt.event} script "{one_line(attempt.script)}")'


def listed(report: Report) -> List[str]:
    """A line for each script or command, with all targets that it tried to reach."""
    targets: Dict[str, List[str]] = {}
    for attempt in report.attempts:
        reached = targets.setdefault(who(attempt), [])
        if attempt.target not in reached:
            reached.append(attempt.target)
    lines = [
        f"{label} tried to reach {one_line(', '.join(sorted(reached)))}"
        for label, reached in targets.items()
    ]
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"… and {len(lines) - _MOST} more"]
