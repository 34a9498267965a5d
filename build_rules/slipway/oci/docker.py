"""The user's `docker` program: it knows their contexts, addresses and logins."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Mapping

from slipway.core.errors import SlipwayError

_ANSWERS_WITHIN = 30.0
"""Seconds that an engine has for an answer that is no work."""

_FULL = "no space left on device"


class EngineRefused(Exception):
    """There is no answer to be had from an engine; the text says why."""


@dataclass(frozen=True)
class Client:
    """The `docker` program and the environment that it needs to find the user's engine."""

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
            raise EngineRefused(f"no answer within {_ANSWERS_WITHIN:g} seconds") from None
        except OSError as error:
            raise EngineRefused(f"{self.program}: {error.strerror}") from None


def check_disk(said: str) -> None:
    if _FULL in said.lower():
        raise SlipwayError(
            "no space is left on the disk of the Docker engine",
            found=last_line(said),
            next="free some there, by `docker image prune` or `docker system prune`",
        )


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # The client's own last line is a hint at its help.
    lines = [line for line in lines if not line.startswith("See 'docker")]
    return lines[-1] if lines else "no reason given"
