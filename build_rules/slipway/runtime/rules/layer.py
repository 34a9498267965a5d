"""Layers of releases, each with the facts about its binaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from pants.engine.fs import Digest, MergeDigests
from pants.engine.rules import Get

from slipway.runtime import layer_outputs
from slipway.step.rules import outputs


@dataclass(frozen=True)
class Layer:
    """A layer; `digest` has its gzip member, and `facts` the facts about its binaries."""

    name: str
    digest: Digest
    facts: Digest


async def take_layer(digest: Digest, name: str) -> Layer:
    """The layer of that name among the outputs of a step."""
    left = layer_outputs.outputs_of(name)
    return Layer(
        name, await outputs.take(digest, left.layer), await outputs.take(digest, left.facts)
    )


async def merge_layers(layers: Iterable[Layer]) -> Digest:
    """The layers side by side, without their facts."""
    return await Get(Digest, MergeDigests([layer.digest for layer in layers]))


async def merge_facts(layers: Iterable[Layer]) -> Digest:
    """The facts about the binaries of the layers, side by side."""
    return await Get(Digest, MergeDigests([layer.facts for layer in layers]))
