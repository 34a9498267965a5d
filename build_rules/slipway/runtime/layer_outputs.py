"""The names of the outputs of a step that writes a layer of a release."""

from __future__ import annotations

from typing import NamedTuple

from slipway.step.interface import Output


class LayerOutputs(NamedTuple):
    """The layer, which is a gzip member of a release, and the facts about its binaries."""

    layer: Output
    facts: Output


def outputs_of(name: str) -> LayerOutputs:
    return LayerOutputs(Output(f"{name}.layer"), Output(f"{name}.elf.json"))
