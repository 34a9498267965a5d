"""Runs the user's `docker` program, which knows the user's contexts, addresses and logins."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Mapping

from slipway.core.errors import SlipwayError

_ANSWERS_WITHIN = 30.0
"""Seconds to wait for an answer that needs no work from the engine."""

_FULL = "no space left on device"


class EngineRefused(Exception):
    """The engine does not answer; the text says why."""


@dataclass(frozen=True)
class Client:
    """The `docker` program, and the environment that it needs to find the user's engine."""

    program: str
    env: Mapping[str, str]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.program, *arguments],
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ANSWERS_WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineRefused(f"timed out after {_ANSWERS_WITHIN:g} seconds") from None
        except OSError as error:
            raise EngineRefused(f"{self.program}: {error.strerror}") from None


def check_disk(output: str) -> None:
    """Raises SlipwayError if the engine's output says that its disk is full."""
    if _FULL in output.lower():
        raise SlipwayError(
            "no space left on the disk of the Docker engine",
            found=last_line(output),
            next="free space there: docker system prune",
        )


def last_line(text: str) -> str:
    """The last line of the client's output that contains a reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # docker ends many errors with the line "See 'docker … --help'."
    lines = [line for line in lines if not line.startswith("See 'docker")]
    return lines[-1] if lines else "no reason given"
