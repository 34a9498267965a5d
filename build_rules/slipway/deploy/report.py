"""What people see of a deploy: a table of the hosts at its end; and what programs read of it."""

from __future__ import annotations

import enum
import json
import re
from typing import Any, Dict, List, Optional, Sequence

from slipway.core import text_table
from slipway.core.errors import SlipwayError
from slipway.deploy.host import Host, HostState, KeptRelease

FORMAT = 2
"""Of the JSON; docs/reference/deploy-outcomes.md describes it."""

_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-.+")
_NOT_RUNNING, _NOT_KNOWN = "NOT running", "not known"


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
    """Whether something runs from the current release, or nothing is known of that."""
    return host.state is None or _service_of_current(host.state) != _NOT_RUNNING


def _service_of_current(state: HostState) -> str:
    """Of what Slipway did not deploy, it knows no processes but those from its folder."""
    current = state.current
    if current is None:
        # Else the link leads to a folder that is not in releases/.
        is_gone = _ID.fullmatch(state.linked)
        return "" if not state.linked else _NOT_RUNNING if is_gone else _NOT_KNOWN
    return _process(current) or (_NOT_RUNNING if current.facts else _NOT_KNOWN)


def _process(one: KeptRelease) -> str:
    return f"process {one.running[0]} since {one.since}" if one.running else ""


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
        linked, current = host.state.linked, host.state.current
        if linked and not current:
            service = _service_of_current(host.state)
            rows.append([host.name, linked, "current", service, "", "", ""])
        elif not host.state.releases:
            rows.append([host.name, "none", "", "", "", "", ""])
        for one in host.state.releases[::-1]:
            by, at = one.facts.get("by", ""), one.facts.get("at", "")
            is_current = one is current
            service = _service_of_current(host.state) if is_current else _process(one)
            rows.append([host.name, one.id, _mark(one, is_current), service, one.healthy, by, at])
    told = [text_table.render(rows), *map(_why_no_release, hosts), drift(hosts)]
    return "\n".join(filter(None, told))


def _why_no_release(host: Host) -> str:
    """A line where the link leads to something else than a release."""
    state = host.state
    if state is None or state.current or not state.linked:
        return ""
    if _service_of_current(state) == _NOT_RUNNING:
        why = f'"current" leads to releases/{state.linked}, which is not there: deploy again'
    else:
        why = (
            f'"current" leads to {state.linked}, which is not in releases/: '
            "Slipway does not know what runs from it"
        )
    return f"{host.name}: {why}"


def _mark(one: KeptRelease, is_current: bool) -> str:
    if is_current:
        return "current"
    return "failed" if one.failed else "" if one.facts else "not Slipway's"


def drift(hosts: Sequence[Host]) -> str:
    """A line where not all hosts serve the same."""
    serving: Dict[str, List[str]] = {}
    for host in hosts:
        if host.state is not None:
            current = host.state.current
            # Ids that Slipway did not give have no time in front.
            name = current.name if current and current.facts else host.state.linked
            serving.setdefault(name or "nothing", []).append(host.name)
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
