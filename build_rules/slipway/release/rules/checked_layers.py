"""Layers of a release that are checked once, and not for each edit of a server file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple

from pants.engine.fs import AddPrefix, Digest
from pants.engine.rules import Get, collect_rules, rule

from slipway.release.programs import checked_layers
from slipway.runtime import layer_outputs, release_layers
from slipway.runtime.release_layers import Scope
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult
from slipway.toolchain.rules.image import BaseRoot


@dataclass(frozen=True)
class CheckedLayersRequest:
    """`layers` holds, among others, `<name>.layer` and `<name>.elf.json` for each of `scopes`."""

    layers: Digest
    scopes: Tuple[Scope, ...]
    origin: str = field(compare=False)


@dataclass(frozen=True)
class CheckedLayers:
    """`digest` holds `<name>.checked.json` for each layer."""

    digest: Digest


@rule(desc="Check layers")
async def check_layers(request: CheckedLayersRequest, base: BaseRoot) -> CheckedLayers:
    names = [scope.name for scope in request.scopes]
    files = (output for name in names for output in layer_outputs.outputs_of(name))
    wanted = await outputs.take(request.layers, *files)
    result = await Get(
        StepResult,
        Step(
            checked_layers.PROGRAM(checked_layers.Arguments(request.scopes)),
            trees=base.trees,
            outputs=tuple(release_layers.checked_of(name) for name in names),
            description=f"Check layers {', '.join(names)}",
            origin=request.origin,
            inputs=await Get(Digest, AddPrefix(wanted, "layers")),
        ),
    )
    return CheckedLayers(result.digest)


def rules():
    return collect_rules()
