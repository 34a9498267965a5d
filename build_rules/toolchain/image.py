"""Toolchain images: assembled from a lock of Debian packages, or taken from a ready archive."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    DigestContents,
    DigestEntries,
    DigestSubset,
    FileContent,
    FileEntry,
    PathGlobs,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import WrappedTarget, WrappedTargetRequest
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from build_rules.lib.debian_lock import read_lock
from build_rules.lib.errors import SlipwayError
from build_rules.subsystem import Slipway
from build_rules.target_types import ImageField, OutputPathField, PackagesLockField
from build_rules.toolchain.locked_files import LockedFile, LockedFiles
from build_rules.toolchain.step import ROOT, HostStep, StepResult, Tree

_LAYER = "base.tar"
_FACTS = "base.json"


@dataclass(frozen=True)
class NodeToolchainFieldSet(PackageFieldSet):
    required_fields = (ImageField, PackagesLockField)

    image: ImageField
    packages: PackagesLockField
    output_path: OutputPathField


@dataclass(frozen=True)
class ToolchainImageRequest:
    field_set: NodeToolchainFieldSet


@dataclass(frozen=True)
class ToolchainImage:
    """`layer` is the root's layer; `inputs` hold `image.json` and `packages.lock`."""

    layer: Tree
    inputs: Digest
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


@rule(desc="Assemble toolchain image")
async def assemble_image(request: ToolchainImageRequest) -> ToolchainImage:
    field_set = request.field_set
    spec_path, lock_path = field_set.image.file_path, field_set.packages.path or ""
    contents = {
        file.path: file.content
        for file in await Get(DigestContents, PathGlobs([spec_path, lock_path]))
    }
    renew = f"./pants generate-lockfiles --resolve=toolchain:{field_set.address.target_name}"
    for path, command in ((spec_path, "write that file"), (lock_path, renew)):
        if path not in contents:
            raise SlipwayError(
                f'the image "{field_set.address}" lacks a file', found=f"no {path}", next=command
            )
    lock = read_lock(contents[lock_path].decode("utf-8"), lock_path, next=renew)
    inputs = await Get(
        Digest,
        CreateDigest(
            [
                FileContent("image.json", contents[spec_path]),
                FileContent("packages.lock", contents[lock_path]),
            ]
        ),
    )
    debs = tuple(
        LockedFile(
            f"debs/{package.sha256}.deb",
            package.sha256,
            package.size,
            FrozenDict(kind="debian", filename=package.filename, name=package.name),
        )
        for package in lock.packages
    )
    result = await Get(
        StepResult,
        HostStep(
            program="assemble_image",
            argv=(
                "layer",
                "--spec=image.json",
                "--lock=packages.lock",
                "--debs=debs",
                f"--layer=out/{_LAYER}",
                f"--facts=out/{_FACTS}",
            ),
            outputs=(_LAYER, _FACTS),
            description=f"Assemble {field_set.address} from {len(debs)} Debian packages",
            origin=str(field_set.address),
            inputs=inputs,
            locked=LockedFiles(debs),
        ),
    )
    layer, facts = await MultiGet(
        Get(Tree, OutputTreeRequest(result.digest, _LAYER, ROOT)),
        Get(DigestContents, DigestSubset(result.digest, PathGlobs([_FACTS]))),
    )
    return ToolchainImage(layer, inputs, json.loads(facts[0].content)["image_id"])


@rule
async def tree_of_output(request: OutputTreeRequest) -> Tree:
    digest = await Get(Digest, DigestSubset(request.digest, PathGlobs([request.name])))
    entries = await Get(DigestEntries, Digest, digest)
    entry = entries[0]
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
    if not NodeToolchainFieldSet.is_applicable(wrapped.target):
        raise SlipwayError(
            "the root of build steps must be a node_toolchain",
            where=origin,
            found=f"{slipway.base_image}, a {wrapped.target.alias}",
            next="name a node_toolchain target there, such as //toolchains/base",
        )
    image = await Get(
        ToolchainImage, ToolchainImageRequest(NodeToolchainFieldSet.create(wrapped.target))
    )
    return BaseRoot(image.layer)


@rule(desc="Package toolchain image")
async def package_image(field_set: NodeToolchainFieldSet) -> BuiltPackage:
    image = await Get(ToolchainImage, ToolchainImageRequest(field_set))
    name = f"{field_set.address.target_name}.tar"
    result = await Get(
        StepResult,
        HostStep(
            program="assemble_image",
            argv=(
                "archive",
                "--spec=image.json",
                "--lock=packages.lock",
                f"--below=layers/{image.layer.name}",
                f"--archive=out/{name}",
                f"--facts=out/{_FACTS}",
            ),
            outputs=(name, _FACTS),
            description=f"Write the image archive of {field_set.address}",
            origin=str(field_set.address),
            inputs=image.inputs,
            large=FrozenDict({"layers": image.layer.digest}),
        ),
    )
    folder = field_set.output_path.value_or_default(file_ending=None)
    archive = await Get(Digest, DigestSubset(result.digest, PathGlobs([name])))
    digest = await Get(Digest, AddPrefix(archive, folder))
    artifact = BuiltPackageArtifact(
        os.path.join(folder, name), extra_log_lines=(f"image ID: {image.image_id}",)
    )
    return BuiltPackage(digest, (artifact,))


def rules():
    return [*collect_rules(), UnionRule(PackageFieldSet, NodeToolchainFieldSet)]
