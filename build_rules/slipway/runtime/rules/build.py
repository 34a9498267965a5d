"""Builds runtimes from their source release, inside a toolchain image."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from dataclasses import dataclass
from typing import Optional, Tuple

from pants.engine.addresses import Address
from pants.engine.fs import (
    CreateDigest,
    Digest,
    DigestEntries,
    FileEntry,
    PathGlobs,
    RemovePrefix,
    Snapshot,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.option.global_options import GlobalOptions
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.runtime.definitions.definition import NodeDefinition, PinnedArchive, SourceBuild
from slipway.runtime.programs import build, replace_npm
from slipway.runtime.recipe import Recipe
from slipway.runtime.rules.node import Runtime, digest_of, locked
from slipway.runtime.targets import RuntimeToolchainField
from slipway.step import records
from slipway.step.rules import outputs
from slipway.step.rules.build_step import (
    RUNTIME,
    FallibleStepResult,
    Step,
    StepResult,
    Tree,
)
from slipway.step.rules.locked_files import LockedFile, LockedFiles, SizedFiles, SizesRequest
from slipway.toolchain.rules.image import (
    BaseRoot,
    OutputTreeRequest,
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
    ToolchainNamed,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceRuntimeRequest:
    definition: NodeDefinition
    npm_version: Optional[str]
    toolchain: RuntimeToolchainField
    address: Address


@dataclass(frozen=True)
class PinnedNpmRequest:
    """Requests a runtime with another npm than the npm of its source release."""

    runtime: Tree
    npm: PinnedArchive
    version: str
    definition: NodeDefinition
    address: Address


@dataclass(frozen=True)
class SourceInputsRequest:
    definition: NodeDefinition


@dataclass(frozen=True)
class SourceInputs:
    """Patches below `patches`, and `source.archive` if it is a file beside the definition."""

    digest: Digest


@dataclass(frozen=True)
class RuntimeToolchainRequest:
    field: RuntimeToolchainField
    address: Address


def _locked_source(source: SourceBuild) -> Tuple[LockedFile, ...]:
    where: FrozenDict[str, str] = FrozenDict(kind="url", url=source.url)
    if source.debian:
        name = os.path.basename(source.debian)
        where = FrozenDict(kind="debian", filename=source.debian, name=name)
    if source.file:
        return ()
    return (LockedFile("source.archive", source.sha256, source.size, where),)


def _recipe(source: SourceBuild) -> Recipe:
    """The parts of a definition that change the result of the build."""
    values = {field.name: getattr(source, field.name) for field in dataclasses.fields(Recipe)}
    return Recipe(**values)


@rule
async def find_source_inputs(request: SourceInputsRequest) -> SourceInputs:
    definition, source = request.definition, request.definition.source
    assert source is not None
    folder = os.path.dirname(definition.path)
    wanted = [*source.patches, *([source.file] if source.file else [])]
    paths = [os.path.join(folder, name) for name in wanted]
    snapshot = await Get(Snapshot, PathGlobs(paths))
    missing = [path for path in paths if path not in snapshot.files]
    if missing:
        raise SlipwayErrors(
            f'files of the definition "{definition.path}" do not exist',
            missing,
            where=f"{definition.path}: source",
            next="add these files, or correct the definition",
        )
    beside = await Get(Digest, RemovePrefix(snapshot.digest, folder))
    placed = []
    for entry in await Get(DigestEntries, Digest, beside):
        assert isinstance(entry, FileEntry)
        if entry.path != source.file:
            placed.append(FileEntry(f"patches/{entry.path}", entry.file_digest))
            continue
        if entry.file_digest.fingerprint != source.sha256:
            raise SlipwayError(
                f'the source archive "{os.path.join(folder, source.file)}" has another SHA-256',
                where=f"{definition.path}: source.sha256",
                found=f"{entry.file_digest.fingerprint}, not {source.sha256}",
                next="replace the archive, or correct the definition",
            )
        placed.append(FileEntry("source.archive", entry.file_digest))
    return SourceInputs(await Get(Digest, CreateDigest(placed)))


@rule
async def find_runtime_toolchain(request: RuntimeToolchainRequest) -> ToolchainImage:
    field = request.field
    where = f"{request.address}, field toolchain"
    if not field.value:
        raise SlipwayError(
            f'the runtime "{request.address}" is built from source, but has no toolchain',
            where=where,
            next='set the field, for example: toolchain="//toolchains/gcc48"',
        )
    inputs = field.to_unparsed_address_inputs()
    named = ToolchainNamed(inputs, "the toolchain of a runtime", where)
    field_set = await Get(ToolchainFieldSet, ToolchainNamed, named)
    return await Get(ToolchainImage, ToolchainImageRequest(field_set))


def _keep_log(content: bytes, address: Address, settings: GlobalOptions) -> str:
    """Writes the log of a failed build below the workdir of Pants; returns its path."""
    folder = os.path.join(settings.pants_workdir, "slipway")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{address.path_safe_spec}.build.log")
    with open(path, "wb") as file:
        file.write(content)
    return path


@rule(desc="Build Node runtime from source")
async def build_runtime(request: SourceRuntimeRequest, settings: GlobalOptions) -> Runtime:
    definition, source = request.definition, request.definition.source
    assert source is not None
    label = definition.label
    image, inputs, archive = await MultiGet(
        Get(ToolchainImage, RuntimeToolchainRequest(request.toolchain, request.address)),
        Get(SourceInputs, SourceInputsRequest(definition)),
        Get(SizedFiles, SizesRequest(LockedFiles(_locked_source(source)))),
    )
    recipe = _recipe(source)
    result = await Get(
        FallibleStepResult,
        Step(
            build.PROGRAM(
                build.Arguments(recipe, label, definition.traits.bin, definition.traits.node)
            ),
            trees=image.layers,
            outputs=build.OUTPUTS,
            description=f"Build {definition.path} from source",
            origin=str(request.address),
            inputs=inputs.digest,
            locked=archive.files,
            log=build.OUTPUTS.log,
        ),
    )
    if result.exit_code != 0:
        content = await outputs.read_content(result.digest, build.OUTPUTS.log)
        where = "not written" if content is None else _keep_log(content, request.address, settings)
        raise SlipwayError(f"{request.address}: {result.said}\n  log:   {where}")
    tree = await Get(Tree, OutputTreeRequest(result.digest, build.OUTPUTS.runtime, RUNTIME))
    log = await outputs.take(result.digest, build.OUTPUTS.log)
    report = await outputs.read_report(result.digest, build.OUTPUTS.report)
    if report.tests == "failed":
        logger.warning(f"{request.address}: make test failed; build.log lists the failed tests")
    made_of = [
        source.sha256,
        json.dumps(records.as_plain(recipe), sort_keys=True),
        image.image_id,
    ]
    npm_version = report.npm
    if definition.npms:
        npm_version, npm = definition.npm(request.npm_version)
        made_of.append(npm.sha256)
        tree = await Get(
            Tree, PinnedNpmRequest(tree, npm, npm_version, definition, request.address)
        )
    return Runtime(
        definition.version,
        npm_version,
        digest_of(*made_of),
        tree,
        definition.traits.bin,
        definition.traits.node,
        definition.traits.headers,
        tests=report.tests,
        log=log,
        end_of_life=definition.end_of_life,
    )


@rule
async def pin_npm(request: PinnedNpmRequest, base: BaseRoot) -> Tree:
    result = await Get(
        StepResult,
        Step(
            replace_npm.PROGRAM(replace_npm.Arguments(request.version)),
            trees=(*base.trees, request.runtime),
            outputs=(replace_npm.RUNTIME,),
            description=f"Replace the npm of {request.address} with {request.version}",
            origin=str(request.address),
            locked=LockedFiles((locked(request.npm, "npm.tgz", request.definition),)),
        ),
    )
    return await Get(Tree, OutputTreeRequest(result.digest, replace_npm.RUNTIME, RUNTIME))


def rules() -> Rules:
    return collect_rules()
