"""The frame of programs that fetch: errors as messages, and results that are never partial."""

from __future__ import annotations

import os
import sys
from typing import Callable

from slipway.core.errors import SlipwayError


def guarded(run: Callable[[], int]) -> int:
    """Runs a program and returns its exit status; prints a SlipwayError without a traceback."""
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
    """Writes a file through a temporary file, so that it is never partial."""
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)
