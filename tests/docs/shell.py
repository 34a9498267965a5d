"""One shell for all commands of a page, as a reader has: it keeps its folder and variables."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
import uuid
from types import TracebackType
from typing import Optional, Tuple, Type

from tests.e2e.harness import Workspace, descendants, end

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Shell:
    """`run` returns a command's exit status and its output."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.path
        self._mark = f"end-{uuid.uuid4().hex}"
        self._process = subprocess.Popen(
            ["sh"],
            cwd=workspace.root,
            env=workspace.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str, time_limit: float) -> Tuple[int, str]:
        assert self._process.stdin is not None
        # Without /dev/null, the command would read the following commands as its input.
        script = f'{{ {command}\n}} </dev/null\nprintf "\\n%s %s\\n" {self._mark} "$?"\n'
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        return self._answer(command, time.monotonic() + time_limit)

    def _answer(self, command: str, deadline: float) -> Tuple[int, str]:
        assert self._process.stdout is not None
        descriptor, seen = self._process.stdout.fileno(), b""
        ending = re.compile(rf"\n{self._mark} (\d+)\n")
        while True:
            text = seen.decode("utf-8", "replace")
            end_mark = ending.search(text)
            if end_mark:
                return int(end_mark.group(1)), _COLOUR.sub("", text[: end_mark.start()])
            left = deadline - time.monotonic()
            ready = select.select([descriptor], [], [], max(left, 0))[0]
            block = os.read(descriptor, 1 << 16) if ready else b""
            if not block:
                what = "took too long" if left <= 0 else "ended the shell"
                raise AssertionError(f"{what}: {command}\n{text}")
            seen += block

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        end(descendants(self._process.pid) | {self._process.pid})
        self._process.communicate()
