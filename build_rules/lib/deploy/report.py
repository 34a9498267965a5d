"""What people see of a deploy: a line for each event, and a table of the hosts at its end."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from build_rules.lib import text_table
from build_rules.lib.deploy.host import Host

FORMAT = 1


def plan_table(hosts: Sequence[Host]) -> str:
    rows = [["host", "now", "next", "files", "bytes", "what happens"]]
    for host in hosts:
        now = host.state.linked if host.state else ""
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
    rows = [["host", "release", "", "healthy since", "deployed by", "at"]]
    for host in hosts:
        if host.state is None:
            rows.append([host.name, "", host.status, "", "", host.text])
            continue
        if not host.state.releases:
            rows.append([host.name, "none", "", "", "", ""])
        for one in host.state.releases[::-1]:
            mark = "current" if one.id == host.state.linked else "failed" if one.failed else ""
            by, at = one.facts.get("by", ""), one.facts.get("at", "")
            rows.append([host.name, one.id, mark, one.healthy, by, at])
    return "\n".join(filter(None, (text_table.render(rows), drift(hosts))))


def drift(hosts: Sequence[Host]) -> str:
    """A line where not all hosts serve the same."""
    serving: Dict[str, List[str]] = {}
    for host in hosts:
        if host.state is not None:
            current = host.state.current
            serving.setdefault(current.name if current else "nothing", []).append(host.name)
    told = [f"{name} on {', '.join(places)}" for name, places in sorted(serving.items())]
    return f"hosts differ: {'; '.join(told)}" if len(told) > 1 else ""


def as_json(hosts: Sequence[Host]) -> str:
    return json.dumps({"format": FORMAT, "hosts": [_record(one) for one in hosts]}, indent=1)


def _record(host: Host) -> Dict[str, Any]:
    record: Dict[str, Any] = {"host": host.name, "status": host.status, "text": host.text}
    if host.plan is not None:
        plan = host.plan
        record["plan"] = {"release": plan.id, "files": len(plan.missing), "bytes": plan.bytes}
    record["sent"] = host.sent
    if host.state is not None:
        record["current"] = host.state.linked
        record["releases"] = [_kept(one) for one in host.state.releases]
    return record


def _kept(one: Any) -> Dict[str, Any]:
    return {
        "id": one.id,
        "healthy": one.healthy,
        "failed": one.failed,
        "running": bool(one.running),
        **{key: one.facts[key] for key in sorted(one.facts)},
    }


def render(hosts: Sequence[Host], kind: str, form: str) -> str:
    """`kind` is plan, releases or outcome; `form` is json or table."""
    if form == "json":
        return as_json(hosts)
    return {"plan": plan_table, "releases": releases_table}.get(kind, outcome_table)(hosts)
