"""Sessions with something else than an agent at their other end."""

from __future__ import annotations

import contextlib

import pytest

from slipway.deploy.session import Session, SessionLost

BANNER = "****************\\n* Authorized use only *\\n****************"
POST_QUANTUM = (
    "** WARNING: connection is not using a post-quantum key exchange algorithm.\\n"
    "** This session may be vulnerable to store now, decrypt later attacks."
)
ADDED = "Warning: Permanently added h1 (ED25519) to the list of known hosts."
REVOKED = (
    "@@@@@@@@\\n@ WARNING: REVOKED HOST KEY DETECTED! @\\n@@@@@@@@\\n"
    "The ED25519 host key for h1 is marked as revoked.\\nHost key verification failed."
)
AT_ONCE = "the session ended immediately"
NO_SHELL = "does the user have a login shell that runs commands?"
TERMINALS = "the user's login shell must print nothing unless its output is a terminal"
NO_LOGIN = "the user cannot run commands because it has no login shell"
SFTP = "This service allows sftp connections only."
IMPERSONATING = (
    "the host key is revoked: someone may be impersonating this host. Do not log in; "
    "ask the administrator of the host"
)
NO_COMMANDS = "the user is not allowed to run commands, or its login shell prints text and exits"


def say(text: str) -> str:
    """A command that prints lines on standard error."""
    return f"printf '{text}\\n' >&2"


def lost(script: str, times: int = 1) -> str:
    """How a session with this script ends, which is asked so many times."""
    try:
        with contextlib.closing(Session(["sh", "-c", script])) as session:
            for _ in range(times):
                session.ask("look", 1)
    except SessionLost as error:
        return str(error)
    raise AssertionError("the session goes on")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        # It goes on after a line.
        (
            "echo Welcome to h1; cat >/dev/null",
            f"expected the agent, received 'Welcome to h1': {TERMINALS}",
        ),
        # It ends after a line.
        (
            f"echo {SFTP}; exit 1",
            f"the session ended after the line '{SFTP}': {NO_COMMANDS}",
        ),
        (
            "echo This account is currently not available.; exit 1",
            f"{NO_LOGIN}: 'This account is currently not available.'",
        ),
        # Also where nothing could be sent to it.
        (
            "exec <&-; echo Account disabled by IT; exit 1",
            f"the session ended after the line 'Account disabled by IT': {NO_COMMANDS}",
        ),
        # Faults of ssh.
        (f"{say(BANNER)}; {say('no such host')}; exit 255", "no such host"),
        (f"{say('no such host')}; {say(POST_QUANTUM)}; exit 255", "no such host"),
        (
            f"{say(ADDED)}; exit 255",
            "ssh exited with status 255 without an error message: log in once by hand",
        ),
        (f"{say(REVOKED)}; exit 255", IMPERSONATING),
        # Any other exit status is that of a command on the host.
        ("exit 1", f"{AT_ONCE} and without output: {NO_SHELL}"),
        (f"{say(ADDED)}; exit 1", f"{AT_ONCE} and without output: {NO_SHELL}"),
        (f"{say(POST_QUANTUM)}; exit 1", f"{AT_ONCE} and without output: {NO_SHELL}"),
        (
            f"{say(BANNER)}; exit 1",
            f"{AT_ONCE}, after the line '* Authorized use only *': {NO_SHELL}",
        ),
        # No answer in time.
        ("exec sleep 60", "the session ended without an answer"),
        (
            f"{say(BANNER)}; exec sleep 60",
            "the session ended without an answer, after the line '* Authorized use only *'",
        ),
    ],
)
def test_an_unexpected_end_of_a_session_is_explained(script: str, words: str) -> None:
    assert lost(script) == words


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("exit 255", "the session ended"),
        ("exit 1", "the session ended"),
        (f"{say(ADDED)}; exit 255", "the session ended"),
        (f"{say('Connection reset')}; {say('')}; exit 255", "Connection reset"),
        (
            "echo a line of something else; exit 1",
            "expected an answer from the agent, received 'a line of something else'",
        ),
        ("printf '{\"say\":'; exit 1", "the session ended"),
    ],
)
def test_warnings_before_the_first_answer_do_not_explain_a_later_end(end: str, words: str) -> None:
    assert lost(f'{say(BANNER)}; echo \'{{"say":"ok"}}\'; sleep 0.3; {end}', times=2) == words
