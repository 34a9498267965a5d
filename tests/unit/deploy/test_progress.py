"""What a terminal shows while hosts are at work."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import time

from slipway.deploy.children import Children
from slipway.deploy.host import Host
from slipway.deploy.progress import Progress, overview
from slipway.deploy.session import Session


def unreachable(name: str) -> Session:
    raise AssertionError(name)


def hosts(count: int) -> list[Host]:
    made = [Host(f"h{number}", unreachable, Children()) for number in range(1, count + 1)]
    for one in made:
        one.step = "ship"
    return made


def read_all(terminal: int) -> str:
    os.set_blocking(terminal, False)
    said = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += os.read(terminal, 10_000)
    return said.decode()


def test_each_host_has_a_line() -> None:
    one, two = hosts(2)
    two.fail("refused", "no room" + "\x1b[2J")
    assert overview([one, two], 80, 24) == [
        "h1  ship  waiting",
        "h2  ship  refused  no room [2J",
    ]
    assert [len(line) for line in overview([one, two], 10, 24)] == [9, 9]


def test_more_hosts_than_lines_are_counted() -> None:
    many = hosts(50)
    many[7].status = "healthy"
    assert overview(many, 80, 24) == ["1   ship  healthy", "49  ship  waiting"]


def test_on_a_terminal_the_table_is_drawn_in_place_and_leaves_nothing() -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        progress = Progress(terminal)
        progress.hosts = hosts(2)
        time.sleep(0.8)
        progress.tell("ship: waiting", "h1")
        progress.tell("hook before_local", "")
        time.sleep(0.4)
        progress.close()
        said = read_all(ours)
    os.close(ours)
    # Drawn, and up and cleared as often.
    assert said.count("h2  ship  waiting") == said.count("\x1b[2A\x1b[J") >= 2
    assert "hook before_local" in said
    assert "ship: waiting" not in said


def test_elsewhere_there_is_a_line_for_each_event() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.tell("ship: waiting", "h1")
    progress.close()
    assert stream.getvalue() == "h1: ship: waiting\n"
