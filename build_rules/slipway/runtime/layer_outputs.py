"""The names of what is left of a layer of releases, whoever writes it."""

from __future__ import annotations

from typing import NamedTuple

from slipway.step.interface import Output


class LayerOutputs(NamedTuple):
    """The layer itself, a member of releases, and what its binaries need."""

    layer: Output
    facts: Output


def outputs_of(name: str) -> LayerOutputs:
    return LayerOutputs(Output(f"{name}.layer"), Output(f"{name}.elf.json"))
