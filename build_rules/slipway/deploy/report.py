"""The outcome of a deploy: a table of the hosts for people, and JSON for programs."""

from __future__ import annotations

import enum
import json
import re
from typing import Any, Dict, List, Optional, Sequence

from slipway.core import text_table
from slipway.core.errors import SlipwayError
from slipway.deploy.host import Host, HostState, KeptRelease

FORMAT = 2
"""The version of the JSON; docs/reference/deploy-outcomes.md describes it."""

_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-.+")
_NOT_RUNNING, _NOT_KNOWN = "NOT running", "unknown"


class Exit(enum.IntEnum):
    """How a command ended; if several apply, the highest number counts."""

    DONE = 0
    REFUSED = 1  # no host switched; for `releases`: a service is not running
    USAGE = 2  # an error in the command line, or in a file that it names
    RETURNED = 3  # some hosts went back to the previous release
    INCOMPLETE = 4  # hosts are lost, down or skipped; or a step after the switch failed
    INTERRUPTED = 130
    TERMINATED = 143


def exit_of(hosts: Sequence[Host], command: str, error: Optional[Exception]) -> Exit:
    """The exit status for the states of the hosts and an error that ended the command."""
    failed = {host.status for host in hosts if host.failed}
    if command == "releases":
        return Exit.REFUSED if failed or error or not all(map(_lives, hosts)) else Exit.DONE
    if not any(host.was_switched for host in hosts):
        return Exit.REFUSED if failed or error else Exit.DONE
    if failed - {"returned"} or any(not host.was_switched for host in hosts):
        return Exit.INCOMPLETE
    return Exit.RETURNED if failed else Exit.INCOMPLETE if error else Exit.DONE


def _lives(host: Host) -> bool:
    """Whether the current release has a process, or Slipway cannot know."""
    return host.state is None or _service_of_current(host.state) != _NOT_RUNNING


def _service_of_current(state: HostState) -> str:
    """The process of the current release.

    Slipway finds processes only by the folder of a release. Processes of a release that another tool
    deployed may run from elsewhere, so their absence means nothing.
    """
    current = state.current
    if current is None:
        # An id of ours means that its folder is gone; else `current` points outside releases/.
        is_gone = _ID.fullmatch(state.linked)
        return "" if not state.linked else _NOT_RUNNING if is_gone else _NOT_KNOWN
    return _process(current) or (_NOT_RUNNING if current.facts else _NOT_KNOWN)


def _process(release: KeptRelease) -> str:
    return f"process {release.running[0]} since {release.since}" if release.running else ""


def plan_table(hosts: Sequence[Host]) -> str:
    rows = [["host", "now", "next", "files", "bytes", "what happens"]]
    for host in hosts:
        now = host.before
        plan = host.plan
        if host.failed or plan is None:
            rows.append([host.name, now, "", "", "", f"{host.status}: {host.text}"])
        elif plan.id == now:
            rows.append([host.name, now, plan.id, "0", "0", "nothing, already served"])
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
        linked, current = host.state.linked, host.state.current
        if linked and not current:
            service = _service_of_current(host.state)
            rows.append([host.name, linked, "current", service, "", "", ""])
        elif not host.state.releases:
            rows.append([host.name, "none", "", "", "", "", ""])
        for release in host.state.releases[::-1]:
            by, at = release.facts.get("by", ""), release.facts.get("at", "")
            is_current = release is current
            service = _service_of_current(host.state) if is_current else _process(release)
            mark = _mark(release, is_current)
            rows.append([host.name, release.id, mark, service, release.healthy, by, at])
    parts = [text_table.render(rows), *map(_why_no_release, hosts), drift(hosts)]
    return "\n".join(filter(None, parts))


def _why_no_release(host: Host) -> str:
    """A line for a host whose `current` does not point to a release; else empty."""
    state = host.state
    if state is None or state.current or not state.linked:
        return ""
    if _service_of_current(state) == _NOT_RUNNING:
        why = f'"current" points to releases/{state.linked}, which does not exist: deploy again'
    else:
        why = (
            f'"current" points to {state.linked}, which is not in releases/: '
            "Slipway does not know what runs from it"
        )
    return f"{host.name}: {why}"


def _mark(release: KeptRelease, is_current: bool) -> str:
    if is_current:
        return "current"
    return "failed" if release.failed else "" if release.facts else "not Slipway's"


def drift(hosts: Sequence[Host]) -> str:
    """A line if the hosts serve different releases; else empty."""
    serving: Dict[str, List[str]] = {}
    for host in hosts:
        if host.state is not None:
            current = host.state.current
            # An id that another tool gave does not start with a time, so it is shown whole.
            name = current.name if current and current.facts else host.state.linked
            serving.setdefault(name or "nothing", []).append(host.name)
    groups = [f"{name} on {', '.join(places)}" for name, places in sorted(serving.items())]
    return f"hosts differ: {'; '.join(groups)}" if len(groups) > 1 else ""


def as_json(
    hosts: Sequence[Host], command: str, status: Exit, error: Optional[SlipwayError] = None
) -> str:
    error_record = error and {
        key: getattr(error, key)
        for key in ("what", "where", "found", "next")
        if getattr(error, key)
    }
    document = {
        "format": FORMAT,
        "command": command,
        "exit_status": int(status),
        "error": error_record,
        "hosts": [_record(host) for host in hosts],
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
        record["releases"] = [_kept(release) for release in host.state.releases]
    return record


def _kept(release: KeptRelease) -> Dict[str, Any]:
    return {
        "id": release.id,
        "healthy": release.healthy,
        "failed": release.failed,
        "order": release.order,
        "pids": [int(pid) for pid in release.running],
        "since": release.since,
        **{key: release.facts[key] for key in sorted(release.facts)},
    }


_TABLES = {"plan": plan_table, "releases": releases_table}


def table(hosts: Sequence[Host], command: str) -> str:
    return _TABLES.get(command, outcome_table)(hosts)
