"""Packs a Node runtime: alone, with `bin include lib share` at its top, or as a release's layer."""

from __future__ import annotations

from typing import Any, Dict

from slipway.archive import layers
from slipway.elf import facts
from slipway.step.frame import run_untyped

_TOP = "node_runtime"
_OF_RELEASE = ("bin", "include", "lib")


def pack(arguments: Dict[str, Any]) -> None:
    if arguments["as_layer"]:
        entries = layers.walk(_TOP, f"{_TOP}/", keep=lambda path: path.split("/")[0] in _OF_RELEASE)
        layers.write_layer("out/runtime.layer", "runtime", entries)
        facts.write("out/runtime.elf.json", facts.facts_of_layer(entries))
    else:
        layers.write_whole("out/nodejs.tar.gz", layers.walk(_TOP))


if __name__ == "__main__":
    run_untyped(pack)
