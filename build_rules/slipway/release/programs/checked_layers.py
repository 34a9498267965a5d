"""Checks finished layers of a release, in a separate step before the release is assembled.

These layers change rarely. With a separate step, a change of a server file does not check them again.
Writes `<layer>.checked.json`, the facts that the release needs about each layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from slipway.elf import facts
from slipway.runtime import layer_outputs, release_layers
from slipway.runtime.release_layers import Scope
from slipway.step.frame import run
from slipway.step.interface import StepProgram


@dataclass(frozen=True)
class Arguments:
    layers: Tuple[Scope, ...]


PROGRAM = StepProgram(__name__, Arguments)


def check(arguments: Arguments) -> None:
    for scope in arguments.layers:
        left = layer_outputs.outputs_of(scope.name)
        checked = release_layers.check_layer(
            f"in/layers/{left.layer}",
            scope,
            facts.read(f"in/layers/{left.facts}"),
        )
        release_layers.checked_of(scope.name).write(checked)


if __name__ == "__main__":
    run(PROGRAM, check)
