"""Where the repository is, and the folder that `slipway` is imported from, for tests that name files."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "build_rules"
