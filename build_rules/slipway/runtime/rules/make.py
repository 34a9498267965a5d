"""Makes Node runtimes from a definition's archives, and packs them for steps and releases."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Optional, Tuple

from pants.core.goals.package import (
    BuiltPackage,
    BuiltPackageArtifact,
    OutputPathField,
    PackageFieldSet,
)
from pants.engine.addresses import Address, Addresses, UnparsedAddressInputs
from pants.engine.fs import AddPrefix, Digest, MergeDigests, Snapshot
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import WrappedTarget, WrappedTargetRequest
from pants.engine.unions import UnionRule

from slipway.core.errors import SlipwayError
from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.programs import make, pack
from slipway.runtime.rules.build import SourceRuntimeRequest
from slipway.runtime.rules.definitions import NodeDefinitionRequest
from slipway.runtime.rules.layer import Layer, take_layer
from slipway.runtime.rules.node import Runtime, digest_of, locked
from slipway.runtime.rules.version_lock import LockedVersion, LockedVersionRequest
from slipway.runtime.targets import (
    BuildRuntimeField,
    NodeDefinitionField,
    NodeRuntime,
    NodeVersionField,
    NpmVersionField,
    RuntimeToolchainField,
)
from slipway.step.rules import outputs
from slipway.step.rules.build_step import RUNTIME, Step, StepResult, Tree
from slipway.step.rules.locked_files import LockedFiles, SizedFiles, SizesRequest
from slipway.toolchain.rules.image import BaseRoot, OutputTreeRequest

PLATFORM = "linux-x64"


@dataclass(frozen=True)
class NodeRuntimeFieldSet(PackageFieldSet):
    required_fields = (NodeVersionField,)

    version: NodeVersionField
    definition: NodeDefinitionField
    npm_version: NpmVersionField
    toolchain: RuntimeToolchainField
    build_runtime: BuildRuntimeField
    output_path: OutputPathField


@dataclass(frozen=True)
class RuntimeRequest:
    field_set: NodeRuntimeFieldSet


@dataclass(frozen=True)
class RuntimesNamed:
    """Requests the `node_runtime` targets in the field `where`; messages call them `what`."""

    inputs: UnparsedAddressInputs
    what: str
    where: str


@dataclass(frozen=True)
class Runtimes:
    """The requested runtimes, in the order of their addresses."""

    runtimes: Tuple[Runtime, ...]


@dataclass(frozen=True)
class NamedRuntimes:
    """The targets of the requested runtimes, in the order of their addresses."""

    field_sets: Tuple[NodeRuntimeFieldSet, ...]


@dataclass(frozen=True)
class RuntimeLayerRequest:
    """Asks for the layer that brings a runtime to releases."""

    runtime: Runtime
    origin: str = field(compare=False)


@dataclass(frozen=True)
class RuntimeOfDefinitionRequest:
    """Requests the runtime of a definition for the target `address`."""

    definition: NodeDefinition
    npm_version: Optional[str]
    toolchain: RuntimeToolchainField
    address: Address


@rule
async def find_definition_of_runtime(request: RuntimeRequest) -> NodeDefinition:
    field_set = request.field_set
    locked_version = await Get(
        LockedVersion,
        LockedVersionRequest(
            field_set.version.value or "", field_set.address.spec_path, str(field_set.address)
        ),
    )
    return await Get(
        NodeDefinition,
        NodeDefinitionRequest(
            locked_version.version,
            folder=field_set.address.spec_path,
            file=field_set.definition.file_path if field_set.definition.value else None,
            origin=str(field_set.address),
        ),
    )


async def _build_runtime(field_set: NodeRuntimeFieldSet, definition: NodeDefinition) -> Runtime:
    field, where = field_set.build_runtime, f"{field_set.address}, field build_runtime"
    assert field.value
    if definition.traits.npm:
        raise SlipwayError(
            f'the runtime "{field_set.address}" has an npm, so it needs no other runtime for builds',
            where=where,
            found=f"{field.value[0]}, and no `npm = false` in {definition.path}",
            next="remove the field; or set `npm = false` under [runtime] in the definition",
        )
    named = RuntimesNamed(
        field.to_unparsed_address_inputs(), "the runtime for the builds of another runtime", where
    )
    found = await Get(NamedRuntimes, RuntimesNamed, named)
    other = await Get(NodeDefinition, RuntimeRequest(found.field_sets[0]))
    if not other.traits.npm:
        raise SlipwayError(
            f'the runtime "{field.value[0]}" has no npm',
            where=where,
            found=f"`npm = false` in {other.path}",
            next="name a runtime with npm, such as //toolchains/node:16.20.2",
        )
    return await Get(Runtime, RuntimeRequest(found.field_sets[0]))


@rule
async def make_runtime(request: RuntimeRequest) -> Runtime:
    field_set = request.field_set
    definition = await Get(NodeDefinition, RuntimeRequest, request)
    runtime = await Get(
        Runtime,
        RuntimeOfDefinitionRequest(
            definition, field_set.npm_version.value, field_set.toolchain, field_set.address
        ),
    )
    if not field_set.build_runtime.value:
        return runtime
    return dataclasses.replace(runtime, build=await _build_runtime(field_set, definition))


@rule(desc="Make Node runtime")
async def make_runtime_of_definition(request: RuntimeOfDefinitionRequest) -> Runtime:
    definition = request.definition
    if definition.source is not None:
        return await Get(
            Runtime,
            SourceRuntimeRequest(
                definition, request.npm_version, request.toolchain, request.address
            ),
        )
    node, traits = definition.binary(PLATFORM), definition.traits
    label = definition.label
    archives, hashes, npm_version = [locked(node, "node.archive", definition)], [node.sha256], ""
    if definition.npms:
        npm_version, npm = definition.npm(request.npm_version)
        archives.append(locked(npm, "npm.tgz", definition))
        hashes.append(npm.sha256)
    elif request.npm_version:
        definition.npm(request.npm_version)
    base = await Get(BaseRoot)
    sized = await Get(SizedFiles, SizesRequest(LockedFiles(tuple(archives))))
    result = await Get(
        StepResult,
        Step(
            make.PROGRAM(
                make.Arguments(
                    label,
                    traits.bin,
                    traits.npm,
                    traits.node,
                    npm_version,
                    traits.check,
                    traits.says,
                )
            ),
            trees=base.trees,
            outputs=make.OUTPUTS,
            description=f"Make {label}{f' with npm {npm_version}' if npm_version else ''}",
            origin=str(request.address),
            locked=sized.files,
        ),
    )
    tree = await Get(Tree, OutputTreeRequest(result.digest, make.OUTPUTS.runtime, RUNTIME))
    if traits.npm and not npm_version:
        report = await outputs.read_report(result.digest, make.OUTPUTS.report)
        npm_version = report.npm
    return Runtime(
        definition.version,
        npm_version,
        digest_of(*hashes),
        tree,
        traits.bin,
        traits.node,
        traits.headers,
        end_of_life=definition.end_of_life,
        built_by=node.built_by,
    )


@rule
async def find_named_runtimes(named: RuntimesNamed) -> NamedRuntimes:
    addresses = await Get(Addresses, UnparsedAddressInputs, named.inputs)
    targets = await MultiGet(
        Get(WrappedTarget, WrappedTargetRequest(address, description_of_origin=named.where))
        for address in addresses
    )
    return NamedRuntimes(
        tuple(
            take_as(
                NodeRuntimeFieldSet,
                NodeRuntime.alias,
                wrapped.target,
                what=named.what,
                where=named.where,
                example="//toolchains/node:16.20.2",
            )
            for wrapped in targets
        )
    )


@rule
async def make_named_runtimes(named: RuntimesNamed) -> Runtimes:
    found = await Get(NamedRuntimes, RuntimesNamed, named)
    return Runtimes(await MultiGet(Get(Runtime, RuntimeRequest(one)) for one in found.field_sets))


# A separate step, because compressing a runtime takes seconds, and packages are installed
# meanwhile.
@rule(desc="Pack Node runtime as a layer")
async def make_runtime_layer(request: RuntimeLayerRequest, base: BaseRoot) -> Layer:
    runtime = request.runtime
    result = await Get(
        StepResult,
        Step(
            pack.PROGRAM(pack.Arguments(as_layer=True)),
            trees=(*base.trees, runtime.tree),
            outputs=pack.LAYER,
            description=f"Compress {runtime.label}",
            origin=request.origin,
        ),
    )
    return await take_layer(result.digest, pack.RUNTIME)


@rule(desc="Package Node runtime")
async def package_runtime(field_set: NodeRuntimeFieldSet) -> BuiltPackage:
    runtime = await Get(Runtime, RuntimeRequest(field_set))
    base = await Get(BaseRoot)
    result = await Get(
        StepResult,
        Step(
            pack.PROGRAM(pack.Arguments(as_layer=False)),
            trees=(*base.trees, runtime.tree),
            outputs=(pack.ARCHIVE,),
            description=f"Pack {runtime.label}",
            origin=str(field_set.address),
        ),
    )
    folder = field_set.output_path.value_or_default(file_ending=None)
    whole = await Get(Digest, MergeDigests([result.digest, runtime.log]))
    snapshot = await Get(Snapshot, AddPrefix(whole, folder))
    artifacts = tuple(BuiltPackageArtifact(path) for path in sorted(snapshot.files, reverse=True))
    return BuiltPackage(snapshot.digest, artifacts)


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PackageFieldSet, NodeRuntimeFieldSet)]
