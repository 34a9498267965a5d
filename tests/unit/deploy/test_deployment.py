"""Descriptions of deployments: what is taken, and what could be misread by a shell elsewhere."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.deploy import deployment
from slipway.deploy.deployment import Deployment
from slipway.deploy.session import as_line, remote_command

SOUND: Dict[str, Any] = {
    "path": "/home/app/koa-kkl",
    "hosts": ["app1.example.com", "10.0.0.27"],
    "server_env": "prod",
}


def test_missing_settings_have_the_defaults_of_the_target() -> None:
    read = deployment.parse(SOUND, "prod.toml")
    assert read == Deployment("/home/app/koa-kkl", ("app1.example.com", "10.0.0.27"), "prod")
    assert (read.keep, read.batch, read.canary, read.max_unhealthy) == (5, "1", 1, 0)


def test_tables_are_read() -> None:
    health = {"url": "http://127.0.0.1:3000/healthz", "hold": 0}
    read = deployment.parse({**SOUND, "health": health}, "prod.toml")
    assert (read.health.url, read.health.hold, read.health.retries) == (health["url"], 0, 10)


BOTH = "set the user and the port in their own fields"
GROUPS = {"web": ["w1", "w2"], "jobs": ["j1", "w2"]}


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (None, ("w1", "w2", "j1")),
        (["@jobs"], ("j1", "w2")),
        (["canary", "@web"], ("canary", "w1", "w2")),
        (["@jobs", "@web"], ("j1", "w2", "w1")),
    ],
)
def test_groups_stand_for_their_hosts(hosts: Any, found: tuple[str, ...]) -> None:
    document = {**SOUND, "groups": GROUPS, "hosts": hosts}
    if hosts is None:
        del document["hosts"]
    assert deployment.parse(document, "prod.toml").hosts == found


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hosts": ["@wbe"]}, "hosts: unknown group @wbe; did you mean @web?"),
        ({"static_hosts": ["@cdn"]}, "static_hosts: unknown group @cdn"),
        ({"groups": {"web": ["a; rm -rf /"]}}, "groups.web = ['a; rm -rf /']: write it like"),
        ({"groups": {"web": "a"}}, "groups.web = 'a': expected a list"),
        ({"groups": {"w b": ["a"]}}, "groups.w b = ['a']: write it like web"),
        ({"groups": ["a"]}, "groups = ['a']: expected a table with lists of hosts"),
    ],
)
def test_wrong_groups_are_reported(more: Dict[str, Any], words: str) -> None:
    with pytest.raises(SlipwayErrors) as raised:
        deployment.parse({**SOUND, "groups": GROUPS, **more}, "prod.toml")
    assert words in str(raised.value)


HOSTILE: Dict[str, List[Any]] = {
    "hosts": ["a; rm -rf /", "-oProxyCommand=x", "a\nb", "$(id)", "", "a b", "`x`"],
    "path": ["relative", "/", "/a/../b", "/a b", "/a;b", "/a\n", "/$HOME", "/a'b", '/a"b'],
    "user": ["-x", "a b", "root;x", "$USER"],
    "server_env": ["prod;x", "a b", "--prod"],
    "static_path": ["relative", "/a/../../etc", "/a;b"],
    "shared": ["../up", "/absolute", "a;b", "a/../../b"],
    "batch": ["0", "0%", "101%", "many", "", "-1", "²", "٣%", 2],
    "keep": [0, "5", -1, True],
    "port": [0, 70_000, "22"],
    "boot": ["maybe", True],
    "canary": [-1, "1"],
}
CASES = [(key, value) for key, values in HOSTILE.items() for value in values]


@pytest.mark.parametrize(("key", "value"), CASES, ids=str)
def test_hostile_values_are_refused_by_name(key: str, value: Any) -> None:
    listed = [value] if key in ("hosts", "shared") else value
    with pytest.raises(SlipwayErrors) as raised:
        deployment.parse({**SOUND, key: listed}, "prod.toml")
    assert key in str(raised.value)
    assert "prod.toml" in str(raised.value)


@pytest.mark.parametrize(
    "host", ["::1", "[::1]", "2001:db8::27", "fe80::1%eth0", "10.0.0.27", "h_1"]
)
def test_addresses_and_names_of_hosts(host: str) -> None:
    assert deployment.parse({**SOUND, "hosts": [host]}, "prod.toml").hosts == (host,)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hosts", ["h2:22"], "hosts = ['h2:22']: set the port in its own field: port=22"),
        ("hosts", ["dep@h2"], "hosts = ['dep@h2']: set the user in its own field: user=\"dep\""),
        (
            *("hosts", ["[2001:db8::1]:22"]),
            "hosts = ['[2001:db8::1]:22']: set the port in its own field: port=22",
        ),
        ("hosts", ["dep@[::1]"], ': set the user in its own field: user="dep"'),
        (
            *("hosts", ["dep@corp.example@h2:22"]),
            f': {BOTH}: user="dep@corp.example", port=22',
        ),
        (
            *("hosts", ["ssh://dep@h2:22"]),
            f'write only the host: "h2"; {BOTH}: user="dep", port=22',
        ),
        ("hosts", ["ssh://[::1]/"], "hosts = ['ssh://[::1]/']: write only the host: \"[::1]\""),
        ("hosts", ["h2/"], "hosts = ['h2/']: write it like app1.example.com; not allowed: '/'"),
        ("hosts", ["a b/c"], "write it like app1.example.com; not allowed: ' ', '/'"),
        ("hosts", ["[::1"], "write it like app1.example.com; not allowed: '[', ':'"),
        ("shared", ["a", "b", "a/b/c"], "shared: a/b/c is inside a, which is already shared"),
        ("stop_timeout", 0, "stop_timeout = 0: expected a number from 1 to 3600"),
        ("path", "/srv/my app", "write it like /home/app/koa-kkl; not allowed: ' '"),
        (
            *("path", "/srv/../x"),
            "path = '/srv/../x': write it like /home/app/koa-kkl; it contains the part ..",
        ),
        (
            *("path", "/home/app/"),
            "path = '/home/app/': write it like /home/app/koa-kkl; it ends with a slash",
        ),
        (
            "path",
            "/a//b",
            "path = '/a//b': write it like /home/app/koa-kkl; it contains an empty part",
        ),
        ("path", "app", "write it like /home/app/koa-kkl; it does not start with a slash"),
        (
            *("path", "~/app"),
            "write it like /home/app/koa-kkl; not allowed: '~'; it does not start with a slash",
        ),
        ("shared", ["up/"], "shared = ['up/']: write it like uploads; it ends with a slash"),
        ("shared", ["/up"], "shared = ['/up']: write it like uploads; it starts with a slash"),
        ("user", "CORP\\me", "write it like app; not allowed: '\\\\'"),
    ],
)
def test_invalid_values_are_reported_with_the_reason(key: str, value: Any, words: str) -> None:
    with pytest.raises(SlipwayErrors) as raised:
        deployment.parse({**SOUND, key: value}, "prod.toml")
    assert f"{words}\n" in f"{raised.value}\n"


def test_hooks_may_have_any_path() -> None:
    hooks = {"before_switch": "node a/../b"}
    assert deployment.parse({**SOUND, "hooks": hooks}, "x").hooks.before_switch == "node a/../b"


def test_all_faults_come_at_once_with_guesses() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        deployment.parse({"path": "x", "hots": ["a"], "hosts": ["a", "a"]}, "prod.toml")
    said = str(raised.value)
    for words in (
        "hots: unknown setting; did you mean hosts?",
        "path = 'x'",
        "server_env is missing",
        "hosts: a is listed twice",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("batch", "canary", "sizes"),
    [("1", 1, [1] * 8), ("25%", 1, [1, 2, 2, 2, 1]), ("100%", 0, [8]), ("3", 2, [2, 3, 3])],
)
def test_canaries_come_first_then_batches(batch: str, canary: int, sizes: list[int]) -> None:
    hosts = [f"h{number}" for number in range(8)]
    read = deployment.parse({**SOUND, "hosts": hosts, "batch": batch, "canary": canary}, "x")
    batches = read.batches()
    assert [len(one) for one in batches] == sizes
    assert [name for one in batches for name in one] == hosts


@given(st.text())
def test_no_text_gets_into_a_line_that_a_shell_would_misread(text: str) -> None:
    try:
        line = as_line({"do": "x", "value": text})
    except ValueError:
        return
    assert line.count(b"\n") == 1
    assert b'"value":"' + text.encode("utf-8", "surrogatepass") + b'"}' in line


def test_a_path_is_quoted_for_the_login_shell() -> None:
    assert remote_command("/home/app/x", 10).endswith(" /home/app/x")
    with pytest.raises(SlipwayError):
        deployment.parse({**SOUND, "path": "/x'; rm -rf /"}, "prod.toml")
