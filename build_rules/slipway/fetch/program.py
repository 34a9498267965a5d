"""The frame of a program that fetches: one message for a mistake, results whole or not at all."""

from __future__ import annotations

import os
import sys
from typing import Callable

from slipway.core.errors import SlipwayError


def guarded(run: Callable[[], int]) -> int:
    """Runs a program so that a user's mistake ends in its message, never in a traceback."""
    try:
        return run()
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def write_text(path: str, text: str) -> None:
    """Writes a result whole or not at all."""
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)
