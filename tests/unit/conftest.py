"""A first process for tests that call a step's program, or a part of it, without a step."""

from __future__ import annotations

import os
import socket
from typing import Iterator

import pytest

from slipway.isolation import jail_protocol
from slipway.isolation.first_process import FirstProcess
from slipway.isolation.jails import Jail


@pytest.fixture
def first_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs the test's foreign commands, as this user, until the test is over."""
    ours, theirs = socket.socketpair()
    held, life = os.pipe()
    server = os.fork()
    if server == 0:
        ours.close()
        os.close(life)
        FirstProcess(Jail(), None, held).answer(theirs)
        os._exit(0)
    theirs.close()
    os.close(held)
    monkeypatch.setattr(jail_protocol, "DESCRIPTOR", ours.fileno())
    try:
        yield
    finally:
        os.close(life)
        ours.close()
        os.waitpid(server, 0)
