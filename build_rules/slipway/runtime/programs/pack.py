"""Packs a Node runtime: as an archive with `bin include lib share`, or as a release's layer."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.archive import layers
from slipway.elf import facts
from slipway.runtime import layer_outputs
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram

_TOP = "node_runtime"
_OF_RELEASE = ("bin", "include", "lib")


@dataclass(frozen=True)
class Arguments:
    """With `as_layer`, the result is a layer of a release; otherwise, it is an archive."""

    as_layer: bool


PROGRAM = StepProgram(__name__, Arguments)
RUNTIME = "runtime"
LAYER = layer_outputs.outputs_of(RUNTIME)
ARCHIVE = Output("nodejs.tar.gz")


def pack(arguments: Arguments) -> None:
    if arguments.as_layer:
        entries = layers.walk(_TOP, f"{_TOP}/", keep=lambda path: path.split("/")[0] in _OF_RELEASE)
        layers.write_layer(LAYER.layer.path, RUNTIME, entries)
        facts.write(LAYER.facts.path, facts.facts_of_layer(entries))
    else:
        layers.write_whole(ARCHIVE.path, layers.walk(_TOP))


if __name__ == "__main__":
    run(PROGRAM, pack)
