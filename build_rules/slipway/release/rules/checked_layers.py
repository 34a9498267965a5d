"""Checks layers of a release once, and not again after each change of a server file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple

from pants.engine.fs import AddPrefix, Digest, MergeDigests
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.release.programs import checked_layers
from slipway.runtime import release_layers
from slipway.runtime.release_layers import Scope
from slipway.runtime.rules.layer import Layer, merge_facts, merge_layers
from slipway.step.rules.build_step import Step, StepResult
from slipway.toolchain.rules.image import BaseRoot


@dataclass(frozen=True)
class CheckedLayersRequest:
    """A request to check layers; each scope defines the allowed content of its layer."""

    layers: Tuple[Tuple[Layer, Scope], ...]
    origin: str = field(compare=False)


@dataclass(frozen=True)
class CheckedLayers:
    """`digest` contains `<name>.checked.json` for each layer."""

    digest: Digest


@rule(desc="Check layers")
async def check_layers(request: CheckedLayersRequest, base: BaseRoot) -> CheckedLayers:
    if not request.layers:
        return CheckedLayers(EMPTY_DIGEST)
    layers, scopes = zip(*request.layers)
    names = [layer.name for layer in layers]
    wanted = await Get(
        Digest, MergeDigests([await merge_layers(layers), await merge_facts(layers)])
    )
    result = await Get(
        StepResult,
        Step(
            checked_layers.PROGRAM(checked_layers.Arguments(scopes)),
            trees=base.trees,
            outputs=tuple(release_layers.checked_of(name) for name in names),
            description=f"Check layers {', '.join(names)}",
            origin=request.origin,
            inputs=await Get(Digest, AddPrefix(wanted, "layers")),
        ),
    )
    return CheckedLayers(result.digest)


def rules() -> Rules:
    return collect_rules()
