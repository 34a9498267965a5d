"""The settings of a deployment, such as hosts, paths and limits, and the check of every value.

Values end up in shells on other machines. This module rejects every value that a shell could
misread, and names its field. The agent quotes the values as well.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from slipway.core.errors import SlipwayErrors, nearest

_PATH = re.compile(r"/[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*")
_BELOW = re.compile(r"[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A host with the scheme, user and port that ssh accepts around it; only for a better message.
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)?(?:(?P<user>[^/]+)@)?"
    r"(?P<host>\[[^]/@]*\]|[^][:/@]+)(?::(?P<port>[0-9]+))?/?"
)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PERCENT = re.compile(r"([1-9][0-9]?|100)%")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True)
class Health:
    """How to check that a release is healthy: a URL on the host, or else its script `health`.

    The agent tries up to `retries` times, `interval` seconds apart, with `timeout` seconds per try.
    `hold` seconds after the first success, a second check must also succeed.
    """

    url: str = ""
    retries: int = 10
    interval: int = 1
    timeout: int = 10
    hold: int = 6


@dataclass(frozen=True)
class Hooks:
    """Shell commands: on each host in the release's folder, or once on this machine.

    `on_failure` runs on a host that went back to the old release. `always` runs at the end of each
    switch that started.
    """

    before_switch: str = ""
    after_switch: str = ""
    on_failure: str = ""
    always: str = ""
    before_local: str = ""
    after_local: str = ""
    timeout: int = 300


@dataclass(frozen=True)
class Deployment:
    """The fields of the target `node_deployment`; times in seconds, `static_keep` in days."""

    path: str
    hosts: Tuple[str, ...]
    server_env: str
    user: str = ""
    port: int = 0
    static_hosts: Tuple[str, ...] = ()
    static_path: str = ""
    static_publish: str = ""
    static_keep: int = 30
    keep: int = 5
    batch: str = "1"
    canary: int = 1
    max_unhealthy: int = 0
    start_timeout: int = 60
    stop_timeout: int = 30
    health: Health = Health()
    hooks: Hooks = Hooks()
    shared: Tuple[str, ...] = ()
    boot: str = "auto"
    ssh_options: Tuple[str, ...] = ()

    def batches(self) -> List[Tuple[str, ...]]:
        """The hosts in the order of their switch: the canaries, then the rest in batches."""
        first, rest = self.hosts[: self.canary], self.hosts[self.canary :]
        size = int(self.batch.rstrip("%"))
        if self.batch.endswith("%"):
            size = max(1, math.floor(len(self.hosts) * size / 100))
        canaries = [first] if first else []
        return canaries + [rest[at : at + size] for at in range(0, len(rest), size)]


_Check = Callable[[Any], Optional[str]]


def _matches(pattern: re.Pattern[str], example: str) -> _Check:
    def check(value: Any) -> Optional[str]:
        if not isinstance(value, str):
            return f"write it like {example}"
        if pattern.fullmatch(value):
            return None
        odd = [character for character in dict.fromkeys(value) if character not in example]
        # A character such as a dot may be valid inside a value and invalid at its end.
        odd = [
            repr(character)
            for character in odd
            if not pattern.fullmatch(example + character + example[-1])
        ]
        return f"write it like {example}" + (f"; not allowed: {', '.join(odd)}" if odd else "")

    return check


def _path(pattern: re.Pattern[str], example: str) -> _Check:
    is_absolute = example.startswith("/")
    matches = _matches(pattern, example)

    def check(value: Any) -> Optional[str]:
        wrong = matches(value)
        if not isinstance(value, str):
            return wrong
        causes = {
            "it does not start with a slash": is_absolute and not value.startswith("/"),
            "it starts with a slash": not is_absolute and value.startswith("/"),
            "it ends with a slash": value.endswith("/"),
            "it contains an empty part": "//" in value,
            "it contains the part ..": ".." in value.split("/"),
        }
        listed = [cause for cause, holds in causes.items() if holds]
        if not wrong and not listed:
            return None
        return "; ".join([wrong or f"write it like {example}", *listed])

    return check


def _host(value: Any) -> Optional[str]:
    """Why ssh cannot use this as the name or address of a host; None if it can."""
    if not isinstance(value, str) or not value:
        return "write it like app1.example.com"
    if _is_ipv6(value):
        return None
    address = _ADDRESS.fullmatch(value)
    if address is None or not (address["scheme"] or address["user"] or address["port"]):
        return _matches(_HOST, "app1.example.com")(value)
    parts = [f'write only the host: "{address["host"]}"'] if address["scheme"] else []
    fields = {"user": f'user="{address["user"]}"', "port": f"port={address['port']}"}
    used = [name for name in fields if address[name]]
    if used:
        place = "its own field" if len(used) == 1 else "their own fields"
        values = ", ".join(fields[name] for name in used)
        parts.append(f"set the {' and the '.join(used)} in {place}: {values}")
    return "; ".join(parts)


def _is_ipv6(value: str) -> bool:
    address, _, zone = value.partition("%")
    if value.startswith("["):
        address, zone = value[1:].rstrip("]"), ""
        if not value.endswith("]"):
            return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9._-]*", zone))


def _number(least: int, most: int) -> _Check:
    def check(value: Any) -> Optional[str]:
        sound = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if sound else f"expected a number from {least} to {most}"

    return check


def _each(check: _Check) -> _Check:
    def check_all(value: Any) -> Optional[str]:
        if not isinstance(value, (list, tuple)):
            return "expected a list"
        return next((wrong for wrong in map(check, value) if wrong), None)

    return check_all


def _choice(*known: str) -> _Check:
    return lambda value: None if value in known else f"expected one of {', '.join(known)}"


def _batch(value: Any) -> Optional[str]:
    sound = isinstance(value, str) and (
        re.fullmatch("[1-9][0-9]*", value) or _PERCENT.fullmatch(value)
    )
    return (
        None if sound else 'expected a number of hosts such as "2", or a percentage such as "25%"'
    )


_GROUP = _matches(_USER, "web")
_TEXT = _matches(_PLAIN, "one line of text")
_TIME = _number(0, 3600)
# timeout(1) reads 0 as "no limit", so 0 is not a valid limit here.
_LIMIT = _number(1, 3600)
_CHECKS: Mapping[str, _Check] = {
    "path": _path(_PATH, "/home/app/koa-kkl"),
    "hosts": _each(_host),
    "server_env": _matches(_USER, "prod"),
    "user": _matches(_USER, "app"),
    "port": _number(1, 65535),
    "static_hosts": _each(_host),
    "static_path": _path(_PATH, "/srv/static"),
    "static_publish": _TEXT,
    "static_keep": _number(1, 36_500),
    # The current release and one release to roll back to.
    "keep": _number(2, 1000),
    "batch": _batch,
    "canary": _number(0, 1000),
    "max_unhealthy": _number(0, 10_000),
    "start_timeout": _LIMIT,
    "stop_timeout": _LIMIT,
    "shared": _each(_path(_BELOW, "uploads")),
    "boot": _choice("auto", "off"),
    "ssh_options": _each(_TEXT),
    "health.url": _matches(
        re.compile(r"http://[A-Za-z0-9._:\[\]-]+/[A-Za-z0-9._~/?=&%-]*"),
        "http://127.0.0.1:3000/health",
    ),
    "health.retries": _number(1, 1000),
    "health.interval": _TIME,
    "health.timeout": _number(1, 3600),
    "health.hold": _TIME,
    "hooks.before_switch": _TEXT,
    "hooks.after_switch": _TEXT,
    "hooks.on_failure": _TEXT,
    "hooks.always": _TEXT,
    "hooks.before_local": _TEXT,
    "hooks.after_local": _TEXT,
    "hooks.timeout": _number(1, 3600),
}
_NEEDED = ("path", "hosts", "server_env")
_TABLES = {"health": Health, "hooks": Hooks}


def parse(described: Mapping[str, Any], where: str) -> Deployment:
    """The deployment that a TOML file or a target describes.

    `where` names its source. Raises SlipwayErrors with all invalid settings, each with its value.
    """
    faults: List[str] = []
    document = _without_groups(described, faults)
    flat: Dict[str, Any] = {}
    for key, value in document.items():
        if key in _TABLES and isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": inner_value for inner, inner_value in value.items()})
        else:
            flat[key] = value
    for key, value in flat.items():
        if key not in _CHECKS:
            near = nearest(key, _CHECKS, 1)
            faults.append(
                f"{key}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")
            )
            continue
        wrong = _CHECKS[key](value)
        if wrong:
            faults.append(f"{key} = {value!r}: {wrong}")
    faults.extend(f"{key} is missing" for key in _NEEDED if not document.get(key))
    faults.extend(_doubled("hosts", document.get("hosts")))
    faults.extend(_nested(document.get("shared")))
    if document.get("static_hosts") and not document.get("static_path"):
        faults.append("static_path is missing, and static_hosts needs it")
    if faults:
        raise SlipwayErrors("the deployment has invalid settings", faults, where=where)
    return Deployment(
        **{
            field.name: _value(document[field.name], _TABLES.get(field.name))
            for field in fields(Deployment)
            if field.name in document
        }
    )


def _without_groups(described: Mapping[str, Any], faults: List[str]) -> Dict[str, Any]:
    """Replaces `@web` in lists of hosts with the hosts of that group.

    Without a list, `hosts` becomes the hosts of all groups.
    """
    document = dict(described)
    groups = document.pop("groups", {})
    if not isinstance(groups, Mapping):
        faults.append(f"groups = {groups!r}: expected a table with lists of hosts")
        return document
    for name, members in groups.items():
        wrong = _each(_host)(members) or _GROUP(name)
        if wrong:
            faults.append(f"groups.{name} = {members!r}: {wrong}")
            return document
    if groups:
        document.setdefault("hosts", [f"@{name}" for name in groups])
    for key in ("hosts", "static_hosts"):
        listed = document.get(key)
        if isinstance(listed, (list, tuple)) and any(map(_is_group, listed)):
            document[key] = _members(key, listed, groups, faults)
    return document


def _is_group(entry: Any) -> bool:
    return isinstance(entry, str) and entry.startswith("@")


def _members(
    key: str, listed: Sequence[Any], groups: Mapping[str, Any], faults: List[str]
) -> List[Any]:
    members: List[Any] = []
    for entry in listed:
        if _is_group(entry) and entry[1:] not in groups:
            near = nearest(entry[1:], groups, 1)
            faults.append(
                f"{key}: unknown group {entry}" + (f"; did you mean @{near[0]}?" if near else "")
            )
            continue
        # A host that is in two groups is deployed once.
        more = groups[entry[1:]] if _is_group(entry) else [entry]
        members.extend(host for host in more if host not in members or not _is_group(entry))
    return members


def _value(value: Any, table: Optional[type]) -> Any:
    if table is not None:
        return table(**value)
    return tuple(value) if isinstance(value, list) else value


def _nested(values: Any) -> List[str]:
    listed = _texts(values)
    return [
        f"shared: {path} is inside {other}, which is already shared"
        for path in listed
        for other in listed
        if path.startswith(f"{other}/")
    ]


def _texts(values: Any) -> List[str]:
    listed = values if isinstance(values, (list, tuple)) else ()
    return [value for value in listed if isinstance(value, str)]


def _doubled(key: str, values: Any) -> List[str]:
    listed = _texts(values)
    return [
        f"{key}: {value} is listed twice"
        for value in sorted({value for value in listed if listed.count(value) > 1})
    ]


def config_text(deployment: Deployment, by: str, at: str) -> str:
    """The settings as lines of `key=value`, which the agent keeps on the host.

    A process that completes a switch without the coordinator reads them. `at` is when this deploy
    started by the coordinator's clock, because the clocks of hosts may differ.
    """
    health, hooks = deployment.health, deployment.hooks
    values = {
        "by": by,
        "at": at,
        "server_env": deployment.server_env,
        "shared": " ".join(deployment.shared),
        "start_timeout": deployment.start_timeout,
        "stop_timeout": deployment.stop_timeout,
        "health_url": health.url,
        "health_timeout": health.timeout,
        "health_retries": health.retries,
        "health_interval": health.interval,
        "health_hold": health.hold,
        "before_switch": hooks.before_switch,
        "after_switch": hooks.after_switch,
        "on_failure": hooks.on_failure,
        "always": hooks.always,
        "hook_timeout": hooks.timeout,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
