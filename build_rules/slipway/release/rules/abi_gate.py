"""The ABI gate: the binaries of a release, held against the policy of a toolchain.

The steps that write layers note down what their binaries need, so that nothing is unpacked again.
The names that old hosts offer are those of the libraries in the image that the toolchain stands on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from pants.engine.fs import AddPrefix, Digest, DigestContents
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.abi.policy import AbiPolicy
from slipway.step.interface import Call
from slipway.step.rules.build_step import Step, StepResult, Tree, as_arguments
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.image import (
    ImageBelowRequest,
    LayersBelow,
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
)


@dataclass(frozen=True)
class LayersAuditRequest:
    """`facts` holds `<name>.elf.json` for each of `layers`; `packages` is a release.json's list."""

    label: str
    toolchain: ToolchainFieldSet
    facts: Digest
    layers: Tuple[str, ...]
    packages: FrozenDict[str, str]


@dataclass(frozen=True)
class FileAuditRequest:
    """`digest` holds the archive `name`; `label` is what messages call it."""

    label: str
    toolchain: ToolchainFieldSet
    digest: Digest
    name: str


@dataclass(frozen=True)
class Audited:
    """`report` is the JSON list of the files, as in AuditedFile."""

    label: str
    report: str

    @property
    def files(self) -> List[Mapping[str, Any]]:
        found: List[Mapping[str, Any]] = json.loads(self.report)["files"]
        return found


@dataclass(frozen=True)
class _Surface:
    """A root with the libraries of the oldest hosts, and what the policy takes of them."""

    layers: Tuple[Tree, ...]
    policy: AbiPolicy


@rule
async def find_surface(toolchain: ToolchainFieldSet) -> _Surface:
    policy, below = await MultiGet(
        Get(AbiPolicy, AbiPolicyRequest(toolchain)),
        Get(LayersBelow, ImageBelowRequest(toolchain)),
    )
    if below.layers:
        return _Surface(below.layers, policy)
    image = await Get(ToolchainImage, ToolchainImageRequest(toolchain))
    return _Surface(image.layers, policy)


def _step(label: str, surface: _Surface, arguments: Dict[str, Any], **inputs: Any) -> Step:
    return Step(
        call=Call(
            "slipway.release.programs.abi_gate",
            as_arguments({"policy": surface.policy.as_dict(), **arguments}),
        ),
        trees=surface.layers,
        outputs=("audit.json",),
        description=f"Audit the binaries of {label}",
        origin=label,
        **inputs,
    )


async def _audited(label: str, step: Step) -> Audited:
    result = await Get(StepResult, Step, step)
    report = await Get(DigestContents, Digest, result.digest)
    return Audited(label, report[0].content.decode())


@rule
async def audit_layers(request: LayersAuditRequest) -> Audited:
    surface = await Get(_Surface, ToolchainFieldSet, request.toolchain)
    arguments = {"layers": request.layers, "packages": dict(request.packages)}
    inputs = await Get(Digest, AddPrefix(request.facts, "facts"))
    return await _audited(request.label, _step(request.label, surface, arguments, inputs=inputs))


@rule
async def audit_file(request: FileAuditRequest) -> Audited:
    surface = await Get(_Surface, ToolchainFieldSet, request.toolchain)
    large = FrozenDict({"release": request.digest})
    return await _audited(
        request.label, _step(request.label, surface, {"file": request.name}, large=large)
    )


def rules():
    return collect_rules()
