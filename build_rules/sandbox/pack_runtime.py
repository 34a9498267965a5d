"""Packs a Node runtime alone, with `bin include lib share` at its top."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import layers
from build_rules.lib.step_program import run


def pack(arguments: Dict[str, Any]) -> None:
    layers.write_whole("out/nodejs.tar.gz", layers.walk("node_runtime"))


if __name__ == "__main__":
    run(pack)
