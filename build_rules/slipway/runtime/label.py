"""The program of a runtime, and the name of the runtime in messages."""

from __future__ import annotations

import os

NODE_BIN = "bin/node"


def label_of(program: str, version: str) -> str:
    """`Node.js 16.20.2`, or `qjs 2025.4.26`."""
    return f"{'Node.js' if program == NODE_BIN else os.path.basename(program)} {version}"
