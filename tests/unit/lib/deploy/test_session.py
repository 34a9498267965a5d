"""Sessions with something else than an agent at their other end."""

from __future__ import annotations

import contextlib

import pytest

from build_rules.lib.deploy.session import Session, SessionLost


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo Welcome to h1; cat >/dev/null", "instead of the agent it says 'Welcome to h1'"),
        ("echo no such host >&2; exit 255", "no such host"),
        ("exit 1", "the session ended"),
        ("exec sleep 60", "the session ended"),
    ],
)
def test_what_comes_instead_of_an_answer_is_told(script: str, words: str) -> None:
    with pytest.raises(SessionLost) as raised, contextlib.closing(
        Session(["sh", "-c", script])
    ) as session:
        session.ask("look", 1)
    assert words in str(raised.value)
