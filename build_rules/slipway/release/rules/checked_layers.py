"""Layers of a release that are checked once, and not for each edit of a server file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple

from pants.engine.fs import AddPrefix, Digest, DigestSubset, PathGlobs
from pants.engine.rules import Get, collect_rules, rule

from slipway.runtime.release_layers import Scope
from slipway.step.interface import Call
from slipway.step.rules.build_step import Step, StepResult, as_arguments
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
    wanted = await Get(
        Digest,
        DigestSubset(
            request.layers,
            PathGlobs([f"{name}{end}" for name in names for end in (".layer", ".elf.json")]),
        ),
    )
    result = await Get(
        StepResult,
        Step(
            call=Call(
                "slipway.release.programs.checked_layers",
                as_arguments(
                    {
                        "layers": [
                            {"name": scope.name, "kind": scope.kind, "path": scope.path}
                            for scope in request.scopes
                        ]
                    }
                ),
            ),
            trees=base.trees,
            outputs=tuple(f"{name}.checked.json" for name in names),
            description=f"Check layers {', '.join(names)}",
            origin=request.origin,
            inputs=await Get(Digest, AddPrefix(wanted, "layers")),
        ),
    )
    return CheckedLayers(result.digest)


def rules():
    return collect_rules()
