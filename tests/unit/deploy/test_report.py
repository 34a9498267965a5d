"""What `releases` says of hosts, whatever their link leads to."""

from __future__ import annotations

import pytest

from slipway.deploy import report
from slipway.deploy.children import Children
from slipway.deploy.host import Host, HostState, KeptRelease
from slipway.deploy.session import Session

ID = "20261124T101500Z-1.3.9-prod-0c1d2e3f"
ELSEWHERE = "which is not in releases/: Slipway does not know what runs from it"


def unreachable(name: str) -> Session:
    raise AssertionError(name)


def release(id: str, digest: str = "", running: tuple[str, ...] = ()) -> KeptRelease:
    facts = {"digest": digest} if digest else {}
    return KeptRelease(id, "", False, facts, 1, running, "today" if running else "", {})


def host(linked: str, *releases: KeptRelease, name: str = "h1") -> Host:
    made = Host(name, unreachable, Children())
    made.state = HostState({"linked": linked}, releases)
    made.before = made.served = linked
    return made


@pytest.mark.parametrize(
    ("made", "row", "line", "status"),
    [
        (host(ID, release(ID, "0c", ("7", "8"))), f"{ID}  current  process 7 since today", "", 0),
        (host(ID, release(ID, "0c")), f"{ID}  current  NOT running", "", 1),
        # What was deployed with another tool.
        (host("20240101", release("20240101")), "20240101  current  unknown", "", 0),
        (host("v1", release("v1", running=("7",))), "v1  current  process 7 since today", "", 0),
        (
            host("/srv/app"),
            "/srv/app  current  unknown",
            f'h1: "current" points to /srv/app, {ELSEWHERE}',
            0,
        ),
        (
            host("live"),
            "live  current  unknown",
            f'h1: "current" points to live, {ELSEWHERE}',
            0,
        ),
        # Its folder was removed.
        (
            host(ID),
            f"{ID}  current  NOT running",
            f'h1: "current" points to releases/{ID}, which does not exist: deploy again',
            1,
        ),
        (host(""), "none", "", 0),
    ],
)
def test_the_service_of_what_is_linked(made: Host, row: str, line: str, status: int) -> None:
    _, first, *lines = report.releases_table([made]).splitlines()
    assert " ".join(first.split()) == " ".join(f"h1 {row}".split())
    assert lines == ([line] if line else [])
    assert report.exit_of([made], "releases", None) == status


def test_hosts_that_serve_foreign_releases_are_named_with_them() -> None:
    hosts = [
        host(ID, release(ID, "0c", ("7",))),
        host("20240101", release("20240101"), name="h2"),
        host("/srv/app", name="h3"),
        host("", name="h4"),
    ]
    assert report.drift(hosts) == (
        "hosts differ: /srv/app on h3; 1.3.9-prod-0c1d2e3f on h1; 20240101 on h2; nothing on h4"
    )
