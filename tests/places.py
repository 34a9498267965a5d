"""Where the repository is, and the folder that `slipway` is imported from, for tests that name files."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "build_rules"
NO_VARIABLES: Dict[str, str] = {}  # the environment of a program that sees no variables
LAUNCHER = "slipway/step/programs/launch.py"


def started(module: str) -> Tuple[str, ...]:
    """What follows Python in a command that starts a program of Slipway."""
    return ("-I", "-S", "-B", str(SOURCES / LAUNCHER), module)
