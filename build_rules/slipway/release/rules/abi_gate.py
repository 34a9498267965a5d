"""The ABI gate: checks the binaries of a release against the ABI policy of a toolchain.

The steps that write layers also record what their binaries need, so this check unpacks nothing. The
symbols of old hosts are those of the libraries in the image of build steps, if the toolchain is on
top of it; otherwise, those in the toolchain's image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from pants.engine.addresses import Address
from pants.engine.fs import AddPrefix, Digest
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.abi import waivers as abi_waivers
from slipway.abi.audit import AuditedFile
from slipway.abi.policy import AbiPolicy
from slipway.abi.waivers import Verdict
from slipway.bundle.rules.app import AppRequest, DefinitionOfApp, ToolchainOfApp
from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.errors import SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.scripts.decisions import names_to_compile
from slipway.release.programs import abi_gate
from slipway.release.rules.contents import (
    BundleOfRelease,
    ReleaseRequest,
    ReleaseTarballFieldSet,
    layers_of,
)
from slipway.runtime.definitions import needs
from slipway.runtime.label import NODE_BIN
from slipway.runtime.rules.layer import merge_facts
from slipway.runtime.rules.make import PLATFORM
from slipway.runtime.rules.other_nodes import OtherNodes, OtherNodesRequest
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult, Tree
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.image import (
    BaseImage,
    ImageBelow,
    ImageBelowRequest,
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
)


@dataclass(frozen=True)
class LayersAuditRequest:
    """`facts` contains `<name>.elf.json` for each of `layers`; `packages` has the label of each path."""

    label: str
    toolchain: ToolchainFieldSet
    facts: Digest
    layers: Tuple[str, ...]
    packages: FrozenDict[str, str]


@dataclass(frozen=True)
class ReleaseAuditRequest:
    """A request to audit a release; `toolchain` replaces the toolchain of the bundle."""

    field_set: ReleaseTarballFieldSet
    toolchain: Optional[ToolchainFieldSet] = None
    runtime: Optional[str] = None


@dataclass(frozen=True)
class FileAuditRequest:
    """`digest` contains the archive `name`; `label` is its name in messages."""

    label: str
    toolchain: ToolchainFieldSet
    digest: Digest
    name: str


@dataclass(frozen=True)
class Audited:
    """The table of the binaries, one line per file."""

    label: str
    files: Tuple[AuditedFile, ...]


@dataclass(frozen=True)
class _Surface:
    """A root with the libraries of the oldest hosts, and the policy that selects their symbols."""

    layers: Tuple[Tree, ...]
    policy: AbiPolicy


@rule
async def find_surface(toolchain: ToolchainFieldSet) -> _Surface:
    policy, below = await MultiGet(
        Get(AbiPolicy, AbiPolicyRequest(toolchain)),
        Get(ImageBelow, ImageBelowRequest(toolchain)),
    )
    root = toolchain
    if below.field_set is not None:
        base = await Get(BaseImage)
        # Most releases have no addon, so their audit should not need a compiler image, which is
        # large. But programs need not run in any other image below: it can be without Python.
        if below.field_set.address == base.field_set.address:
            root = below.field_set
    image = await Get(ToolchainImage, ToolchainImageRequest(root))
    return _Surface(image.layers, policy)


async def _audited(label: str, step: Step) -> Audited:
    result = await Get(StepResult, Step, step)
    report = await outputs.read_report(result.digest, abi_gate.OUTPUTS.report)
    return Audited(label, report.files)


@rule
async def audit_layers(request: LayersAuditRequest) -> Audited:
    surface = await Get(_Surface, ToolchainFieldSet, request.toolchain)
    step = Step(
        abi_gate.PROGRAM(
            abi_gate.Arguments(surface.policy, layers=request.layers, packages=request.packages)
        ),
        trees=surface.layers,
        outputs=abi_gate.OUTPUTS,
        description=_describe(request.label),
        origin=request.label,
        inputs=await Get(Digest, AddPrefix(request.facts, "facts")),
    )
    return await _audited(request.label, step)


@rule
async def audit_file(request: FileAuditRequest) -> Audited:
    surface = await Get(_Surface, ToolchainFieldSet, request.toolchain)
    step = Step(
        abi_gate.PROGRAM(abi_gate.Arguments(surface.policy, archive=request.name)),
        trees=surface.layers,
        outputs=abi_gate.OUTPUTS,
        description=_describe(request.label),
        origin=request.label,
        large=FrozenDict({"release": request.digest}),
    )
    return await _audited(request.label, step)


@rule
async def audit_release(request: ReleaseAuditRequest) -> Audited:
    found = await Get(BundleOfRelease, ReleaseRequest(request.field_set, request.runtime))
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    layers = layers_of(request.field_set, bundle)
    return await Get(
        Audited,
        LayersAuditRequest(
            str(request.field_set.address),
            request.toolchain or bundle.toolchain.field_set,
            await merge_facts(layers),
            tuple(layer.name for layer in layers),
            FrozenDict({one.path: f"{one.name}@{one.version}" for one in bundle.packages}),
        ),
    )


@dataclass(frozen=True)
class NodeFits:
    """The Node of a release loads on its oldest hosts, as far as its definition says."""


async def _advice(program: str, version: str, toolchain: Address) -> OtherNodes:
    if program != NODE_BIN:
        return OtherNodes(
            "build the runtime from source with this toolchain: a definition with [source]"
        )
    return await Get(OtherNodes, OtherNodesRequest(version, toolchain))


@rule
async def judge_node_first(request: ReleaseRequest) -> NodeFits:
    """Refuses a Node before anything is fetched; the gate itself reads the binary."""
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    wanted = AppRequest(found.field_set)
    found_definition, toolchain = await MultiGet(
        Get(DefinitionOfApp, AppRequest, wanted), Get(ToolchainOfApp, AppRequest, wanted)
    )
    definition = found_definition.definition
    binary = dict(definition.binaries).get(PLATFORM) if definition else None
    if definition is None or binary is None or not binary.needs:
        return NodeFits()
    if entries_of(request.field_set.abi_waivers):
        return NodeFits()
    policy = await Get(AbiPolicy, AbiPolicyRequest(toolchain.field_set))
    missing = needs.missing(binary.needs, policy)
    if not missing:
        return NodeFits()
    address = toolchain.field_set.address
    advice = await _advice(definition.traits.bin, definition.version, address)
    raise SlipwayErrors(
        f"{definition.label} does not load on the oldest hosts of its toolchain",
        [f"needs {need}; {_most(policy, need)}" for need in missing],
        where=f"{request.field_set.address}, with the toolchain {address}",
        next=abi_waivers.ways_out_for_node(advice.text),
    )


def _most(policy: AbiPolicy, need: str) -> str:
    ceiling = policy.ceiling_of(need)
    return f"the oldest host has up to {ceiling}" if ceiling else "the oldest host lacks it"


@rule
async def pass_abi_gate(request: ReleaseRequest) -> Verdict:
    field_set = request.field_set
    audited = await Get(Audited, ReleaseAuditRequest(field_set, runtime=request.runtime))
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    advice = OtherNodes("")
    if any(file.breaches and abi_waivers.is_of_node(file) for file in audited.files):
        address = bundle.toolchain.field_set.address
        advice = await _advice(bundle.runtime.bin, bundle.runtime.version, address)
    return abi_waivers.judge(
        audited.files,
        entries_of(field_set.abi_waivers),
        str(field_set.address),
        names_to_compile(bundle.report.install_scripts, bundle.packages),
        other_nodes=advice.text,
    )


def _describe(label: str) -> str:
    return f"Audit the binaries of {label}"


def rules() -> Rules:
    return collect_rules()
