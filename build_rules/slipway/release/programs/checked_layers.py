"""Reads finished layers of a release again, apart from the step that puts it together.

Those layers change rarely: what is checked once is not unpacked again for each edit of a server
file.  Leaves `<layer>.checked.json`, what a release needs to know of each.
"""

from __future__ import annotations

from typing import Any, Dict

from slipway.elf import facts
from slipway.runtime import release_layers
from slipway.runtime.release_layers import Scope
from slipway.step.frame import run_untyped


def check(arguments: Dict[str, Any]) -> None:
    for described in arguments["layers"]:
        scope = Scope(**described)
        checked = release_layers.check_layer(
            f"in/layers/{scope.name}.layer",
            scope,
            facts.read(f"in/layers/{scope.name}.elf.json"),
        )
        release_layers.write_checked(f"out/{scope.name}.checked.json", checked)


if __name__ == "__main__":
    run_untyped(check)
