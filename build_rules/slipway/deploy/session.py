"""One session with the agent on a host: a line of JSON there, one or more lines back.

A session is one process, `ssh` or a shell, for the whole deploy. The values in a line are plain
strings without quotes and backslashes, so that a POSIX sh can parse them. Other data follows its line
as bytes. While the coordinator waits for an answer it sends nothing; at other times it sends a beat,
which shows that it is still connected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import tempfile
import threading
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence

from slipway.core import line_endings
from slipway.deploy.children import Children

BEAT_EVERY = 2.0  # seconds; after six seconds without a line, the agent considers the session lost
_SHOWN = 60  # bytes that a message quotes of an unexpected line
_ENDS_WITHIN = 2.0  # seconds between the last line of a session and its end
_FAULT_OF_SSH = (
    255  # ssh exits with 255 on its own errors, else with the status of the remote command
)
# Lines of ssh that never explain why a session ended. OpenSSH 10 warns about key exchanges without
# post-quantum algorithms in lines that start with stars.
_NO_CAUSE = re.compile(r"warning:|\*\* |debug[1-3]: |[\W_]*$", re.IGNORECASE)
_NO_SHELL = "does the user have a login shell that runs commands?"
_FORBIDDEN = frozenset('"\\') | {chr(code) for code in range(32)}

Answer = Mapping[str, str]


class SessionLost(Exception):
    """The session ended or timed out; the text explains how, if possible in the words of ssh."""


class StepFailed(Exception):
    """A step failed on the host; the text comes from the agent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.get("text") or answer["say"])


def agent_text() -> str:
    return _data("agent.sh").replace("@ask.js@", _data("ask.js"))


def _data(name: str) -> str:
    # pkgutil, because deploy.pyz is a zip archive, where `open` finds no file.
    content = pkgutil.get_data("slipway.deploy.programs", name)
    assert content is not None
    line_endings.require_lf(content.decode(), f"slipway:{name}")
    return content.decode()


def remote_command(path: str, size: int) -> str:
    """The command for the host's login shell; it reads the agent's text, `size` bytes, from stdin."""
    inner = f'exec sh -c "$(head -c {size})" slipway-agent "$0" serve'
    return f"exec sh -c {shlex.quote(inner)} {shlex.quote(path)}"


def local_command(shell: Sequence[str], path: str, size: int) -> List[str]:
    """The same on this machine, with the given shell."""
    inner = (
        f'exec {" ".join(map(shlex.quote, shell))} -c "$(head -c {size})" slipway-agent "$0" serve'
    )
    return [*shell, "-c", inner, path]


def as_line(request: Mapping[str, str]) -> bytes:
    for value in request.values():
        if _FORBIDDEN & set(value):
            raise ValueError(f"{value!r} cannot be in a line for a shell")
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class Session:
    """Starts `command` at once; call `close` in any case, also after an error."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Optional[Mapping[str, str]] = None,
        children: Optional[Children] = None,
    ) -> None:
        self._children = children or Children()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the session)
        self._process = self._children.start(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=env
        )
        self._talking = threading.Lock()
        self._closed = threading.Event()
        self._has_answered = False
        self._printed_before = 0  # bytes on standard error before the first answer
        self._write(agent_text().encode())
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, seconds: float, body: bytes = b"", **fields: Any) -> List[Answer]:
        """Runs one step; returns its answers. Raises StepFailed if the step fails."""
        request = {"do": do, **{key: str(value) for key, value in fields.items()}}
        if body:
            request.setdefault("size", str(len(body)))
            request.setdefault("sha256", hashlib.sha256(body).hexdigest())
        with self._talking, _limited(seconds, self._process):
            self._write(as_line(request) + body)
            answers = [self._read()]
            while answers[-1]["say"] in ("host", "release"):
                answers.append(self._read())
        if answers[-1]["say"] == "error":
            raise StepFailed(answers[-1])
        return answers

    def ask_for_bytes(self, do: str, seconds: float, body: bytes, **fields: Any) -> bytes:
        """Like `ask`, for a step whose answer is followed by `size` bytes."""
        with _limited(seconds, self._process):
            answer = self.ask(do, seconds, body, **fields)[-1]
            assert self._process.stdout is not None
            size = int(answer["size"])
            content = self._process.stdout.read(size)
        if len(content) != size:
            self._lost()
        return content

    def close(self) -> None:
        self._closed.set()
        try:
            with self._talking:
                self._write(as_line({"do": "end"}))
            self._process.communicate(timeout=10)
        except (SessionLost, subprocess.TimeoutExpired, ValueError, OSError):
            pass
        self._process.kill()
        self._process.wait()
        self._children.forget(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # unsent data in the buffer of a broken pipe
                pass

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_EVERY):
            with self._talking:
                try:
                    if not self._closed.is_set():
                        self._write(as_line({"do": "beat"}))
                except SessionLost:
                    return

    def _write(self, content: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except (OSError, ValueError):
            self._lost()

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            # An answer can quote the application's log, which can contain any bytes.
            answer = json.loads(line.decode("utf-8", "surrogateescape"))
            if not isinstance(answer, dict) or "say" not in answer:
                raise ValueError
        except ValueError:
            if line and not self._has_answered:
                raise SessionLost(_not_the_agent(line, self._end())) from None
            if line.endswith(b"\n"):
                self._end()
                raise SessionLost(
                    f"expected an answer from the agent, received {_start_of(line)!r}"
                ) from None
            self._lost()
        if not self._has_answered:
            self._has_answered = True
            self._printed_before = os.fstat(self._errors.fileno()).st_size
        return {str(key): _shown(str(value)) for key, value in answer.items()}

    def _end(self) -> int:
        """The exit status of the session; negative if it had to be killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_WITHIN)
        self._process.kill()
        return self._process.wait()

    def _lost(self) -> NoReturn:
        status = self._end()
        # ssh printed sshd's banner and its warnings before the first answer: they are not the cause.
        self._errors.seek(self._printed_before)
        printed = self._errors.read().decode(errors="replace")
        if self._has_answered:
            raise SessionLost(_last_line(printed) or "the session ended")
        # The session may have ended, with a line on its output, before the first step.
        line = self._unread_line()
        raise SessionLost(_not_the_agent(line, status) if line else _no_answer(printed, status))

    def _unread_line(self) -> bytes:
        assert self._process.stdout is not None
        # Without blocking: another process may hold the other end of the pipe open.
        os.set_blocking(self._process.stdout.fileno(), False)
        return self._process.stdout.readline() or b""


def _shown(text: str) -> str:
    """The text with invalid UTF-8 as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _start_of(line: bytes) -> str:
    return line[:_SHOWN].decode(errors="replace").strip()


def _not_the_agent(line: bytes, status: int) -> str:
    """Why a session printed another line than an answer, and then ended or went on."""
    start = _start_of(line)
    if status < 0:
        return (
            f"expected the agent, received {start!r}: "
            "the user's login shell must print nothing unless its output is a terminal"
        )
    if "not available" in start:
        return f"the user cannot run commands because it has no login shell: {start!r}"
    return (
        f"the session ended after the line {start!r}: "
        "the user is not allowed to run commands, or its login shell prints text and exits"
    )


def _no_answer(printed: str, status: int) -> str:
    """Why a session ended without a line, by its standard error and its exit status."""
    line = _last_line(printed)
    if status == _FAULT_OF_SSH:
        return (
            _fault_of_key(printed)
            or line
            or (f"ssh exited with status {status} without an error message: log in once by hand")
        )
    if status < 0:
        return f"the session ended without an answer{f', after the line {line!r}' if line else ''}"
    if line:
        return f"the session ended immediately, after the line {line!r}: {_NO_SHELL}"
    return f"the session ended immediately and without output: {_NO_SHELL}"


def _fault_of_key(printed: str) -> str:
    """What to do about the host's key; ssh explains that in several lines before its last one."""
    if "Host key verification failed" not in printed:
        return ""
    if re.search("REVOKED HOST KEY|revoked by file", printed):
        return (
            "the host key is revoked: someone may be impersonating this host. Do not log in; "
            "ask the administrator of the host"
        )
    if "IDENTIFICATION HAS CHANGED" in printed:
        return (
            "the host key differs from the key in known_hosts: another machine may be answering. If "
            "the key was replaced: ssh-keygen -R <host>, then log in once by hand"
        )
    return "the host key is not in known_hosts: log in once by hand and compare the key"


def _last_line(printed: str) -> str:
    """The last line that may explain what happened."""
    lines = [line.strip() for line in printed.splitlines()]
    return next((line for line in reversed(lines) if not _NO_CAUSE.match(line)), "")


class _limited:
    """Kills a process if the block takes longer than `seconds`, so that reads from it end."""

    def __init__(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        self._timer = threading.Timer(seconds, process.kill)

    def __enter__(self) -> None:
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def facts_of(text: str) -> Dict[str, str]:
    """The `key=value` words that a host keeps about a release."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
