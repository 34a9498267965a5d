"""What people see of a deploy: a table of the hosts at its end; and what programs read of it."""

from __future__ import annotations

import enum
import json
from typing import Any, Dict, List, Optional, Sequence

from build_rules.lib import text_table
from build_rules.lib.deploy.host import Host, KeptRelease
from build_rules.lib.errors import SlipwayError

FORMAT = 2
"""Of the JSON; docs/reference/deploy-outcomes.md describes it."""


class Exit(enum.IntEnum):
    """How a command ended; the higher number counts where several hold."""

    DONE = 0
    REFUSED = 1  # nothing was switched; of `releases`: a service does not live
    USAGE = 2  # the command line, or a file that it names
    RETURNED = 3  # hosts went back to the release before
    INCOMPLETE = 4  # hosts are lost or down, or were left out; or what follows the switch failed
    INTERRUPTED = 130
    TERMINATED = 143


def exit_of(hosts: Sequence[Host], command: str, error: Optional[Exception]) -> Exit:
    """From what the hosts came to, and an error that ended the command."""
    failed = {host.status for host in hosts if host.failed}
    if command == "releases":
        return Exit.REFUSED if failed or error or not all(map(_lives, hosts)) else Exit.DONE
    if not any(host.was_switched for host in hosts):
        return Exit.REFUSED if failed or error else Exit.DONE
    if failed - {"returned"} or any(not host.was_switched for host in hosts):
        return Exit.INCOMPLETE
    return Exit.RETURNED if failed else Exit.INCOMPLETE if error else Exit.DONE


def _lives(host: Host) -> bool:
    """Whether something runs from what is linked; of what is not in releases/, nothing is known."""
    current = host.state.current if host.state else None
    return bool(current.running) if current else not host.before or "/" in host.before


def plan_table(hosts: Sequence[Host]) -> str:
    rows = [["host", "now", "next", "files", "bytes", "what happens"]]
    for host in hosts:
        now = host.before
        plan = host.plan
        if host.failed or plan is None:
            rows.append([host.name, now, "", "", "", f"{host.status}: {host.text}"])
        elif plan.id == now:
            rows.append([host.name, now, plan.id, "0", "0", "nothing, it is served"])
        else:
            what = "stop, switch, start" if now else "start"
            rows.append([host.name, now, plan.id, str(len(plan.missing)), str(plan.bytes), what])
    return text_table.render(rows)


def outcome_table(hosts: Sequence[Host]) -> str:
    rows = [["host", "status", "release", "sent", "why"]]
    for host in hosts:
        rows.append([host.name, host.status, host.served, str(host.sent), host.text])
    return text_table.render(rows)


def releases_table(hosts: Sequence[Host]) -> str:
    rows = [["host", "release", "", "service", "healthy since", "deployed by", "at"]]
    for host in hosts:
        if host.state is None:
            rows.append([host.name, "", host.status, "", "", "", host.text])
            continue
        if not host.state.releases:
            rows.append([host.name, "none", "", "", "", "", ""])
        for one in host.state.releases[::-1]:
            by, at = one.facts.get("by", ""), one.facts.get("at", "")
            is_current = one.id == host.state.linked
            rows.append(
                [host.name, one.id, _mark(one, is_current), _service(one, is_current)]
                + [one.healthy, by, at]
            )
    return "\n".join(filter(None, (text_table.render(rows), drift(hosts))))


def _mark(one: KeptRelease, is_current: bool) -> str:
    if is_current:
        return "current"
    return "failed" if one.failed else "" if one.facts else "not Slipway's"


def _service(one: KeptRelease, is_current: bool) -> str:
    if one.running:
        return f"process {one.running[0]} since {one.since}"
    return "NOT running" if is_current else ""


def drift(hosts: Sequence[Host]) -> str:
    """A line where not all hosts serve the same."""
    serving: Dict[str, List[str]] = {}
    for host in hosts:
        if host.state is not None:
            current = host.state.current
            serving.setdefault(current.name if current else "nothing", []).append(host.name)
    told = [f"{name} on {', '.join(places)}" for name, places in sorted(serving.items())]
    return f"hosts differ: {'; '.join(told)}" if len(told) > 1 else ""


def as_json(
    hosts: Sequence[Host], command: str, status: Exit, error: Optional[SlipwayError] = None
) -> str:
    told = error and {
        key: getattr(error, key)
        for key in ("what", "where", "found", "next")
        if getattr(error, key)
    }
    document = {
        "format": FORMAT,
        "command": command,
        "exit_status": int(status),
        "error": told,
        "hosts": [_record(one) for one in hosts],
    }
    return json.dumps(document, indent=1)


def _record(host: Host) -> Dict[str, Any]:
    record: Dict[str, Any] = {
        "host": host.name,
        "status": host.status,
        "text": host.text,
        "before": host.before,
        "target": host.target or (host.plan.id if host.plan else ""),
        "served": host.served,
        "sent": host.sent,
    }
    if host.plan is not None:
        plan = host.plan
        record["plan"] = {"release": plan.id, "files": len(plan.missing), "bytes": plan.bytes}
    if host.state is not None:
        record["releases"] = [_kept(one) for one in host.state.releases]
    return record


def _kept(one: KeptRelease) -> Dict[str, Any]:
    return {
        "id": one.id,
        "healthy": one.healthy,
        "failed": one.failed,
        "order": one.order,
        "pids": [int(pid) for pid in one.running],
        "since": one.since,
        **{key: one.facts[key] for key in sorted(one.facts)},
    }


_TABLES = {"plan": plan_table, "releases": releases_table}


def table(hosts: Sequence[Host], command: str) -> str:
    return _TABLES.get(command, outcome_table)(hosts)
