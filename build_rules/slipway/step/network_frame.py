"""The frame of programs with network access: reads arguments and the user's settings."""

from __future__ import annotations

import os
import sys
from typing import Callable, NoReturn, TypeVar

from slipway.fetch.program import guarded
from slipway.fetch.settings import Settings, read_settings
from slipway.step.interface import ARGUMENTS, OUT, StepProgram

A = TypeVar("A")


def run(program: StepProgram[A], main: Callable[[A, Settings], None]) -> NoReturn:
    """Calls `main` with arguments and settings, and exits; prints a SlipwayError as its text."""
    settings = read_settings(sys.argv[1])
    arguments = program.read_file(ARGUMENTS)
    os.makedirs(OUT, exist_ok=True)

    def succeed() -> int:
        main(arguments, settings)
        return 0

    sys.exit(guarded(succeed))
