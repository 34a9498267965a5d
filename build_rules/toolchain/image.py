"""Toolchain images: the root file systems of build steps, whatever they are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import (
    Digest,
    DigestContents,
    DigestEntries,
    DigestSubset,
    FileEntry,
    PathGlobs,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import FieldSet, WrappedTarget, WrappedTargetRequest

from build_rules.lib.errors import SlipwayError
from build_rules.subsystem import Slipway
from build_rules.target_types import (
    ImageArchiveField,
    ImageArchiveSha256Field,
    ImageArchiveSizeField,
    ImageField,
    OutputPathField,
    PackagesLockField,
)
from build_rules.toolchain.step import ROOT, StepResult, Tree

LAYER = "base.tar"
FACTS = "base.json"
"""What the programs that make a root leave: its layer, and facts about it as JSON."""


@dataclass(frozen=True)
class ToolchainFieldSet(FieldSet):
    required_fields = (ImageField, PackagesLockField)

    image: ImageField
    packages: PackagesLockField
    archive: ImageArchiveField
    archive_sha256: ImageArchiveSha256Field
    archive_size: ImageArchiveSizeField
    output_path: OutputPathField


@dataclass(frozen=True)
class ToolchainImageRequest:
    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class PackagedImageRequest:
    """Asks for an image made of Debian packages."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ReadyImageRequest:
    """Asks for the root of a ready image archive."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ToolchainImage:
    """`layer` is the root's layer; `image_id` is what an engine would call the image."""

    layer: Tree
    image_id: str


@dataclass(frozen=True)
class BaseRoot:
    """The tree that build steps have as their root."""

    tree: Tree


@dataclass(frozen=True)
class OutputTreeRequest:
    """The file `name` of a step's outputs, to be used as a tree at `target`."""

    digest: Digest
    name: str
    target: str


@dataclass(frozen=True)
class MadeRoot:
    """The outputs LAYER and FACTS of the step that made a root."""

    result: StepResult


@rule
async def make_image(request: ToolchainImageRequest) -> ToolchainImage:
    if request.field_set.archive.value:
        made = await Get(MadeRoot, ReadyImageRequest(request.field_set))
    else:
        made = await Get(MadeRoot, PackagedImageRequest(request.field_set))
    layer, facts = await MultiGet(
        Get(Tree, OutputTreeRequest(made.result.digest, LAYER, ROOT)),
        Get(DigestContents, DigestSubset(made.result.digest, PathGlobs([FACTS]))),
    )
    return ToolchainImage(layer, json.loads(facts[0].content)["image_id"])


@rule
async def tree_of_output(request: OutputTreeRequest) -> Tree:
    digest = await Get(Digest, DigestSubset(request.digest, PathGlobs([request.name])))
    entry = (await Get(DigestEntries, Digest, digest))[0]
    assert isinstance(entry, FileEntry)
    return Tree(request.name, digest, entry.file_digest, request.target)


@rule
async def find_base_root(slipway: Slipway) -> BaseRoot:
    origin = "the option `[slipway] base_image`"
    addresses = await Get(
        Addresses,
        UnparsedAddressInputs(
            [slipway.base_image], owning_address=None, description_of_origin=origin
        ),
    )
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(addresses[0], description_of_origin=origin)
    )
    if not ToolchainFieldSet.is_applicable(wrapped.target):
        raise SlipwayError(
            "the root of build steps must be a node_toolchain",
            where=origin,
            found=f"{slipway.base_image}, a {wrapped.target.alias}",
            next="name a node_toolchain target there, such as //toolchains/base",
        )
    field_set = ToolchainFieldSet.create(wrapped.target)
    image = await Get(ToolchainImage, ToolchainImageRequest(field_set))
    return BaseRoot(image.layer)


def rules():
    return collect_rules()
