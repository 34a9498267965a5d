"""Images from Debian packages: assembles them from their lock, and writes image archives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional, Tuple

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import Target
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from slipway.abi.policy import AbiPolicy
from slipway.core.errors import SlipwayError
from slipway.core.rules.provided_files import ProvidedFile, ProvidedFileRequest
from slipway.core.rules.registration import Rules
from slipway.debian.lock import DebianLock, LockedPackage, read_lock
from slipway.step.interface import Output
from slipway.step.rules import outputs
from slipway.step.rules.build_step import HostStep, StepResult, Tree
from slipway.step.rules.locked_files import LockedFile, LockedFiles
from slipway.toolchain.image_spec import check_lock_is_current, read_image_spec
from slipway.toolchain.programs import assemble
from slipway.toolchain.programs.assemble import OUTPUTS, Arguments
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.generate_lock import resolve_name
from slipway.toolchain.rules.image import (
    ImageBelowRequest,
    LayersBelow,
    MadeRoot,
    PackagedImageRequest,
    ToolchainFieldSet,
    ToolchainImage,
    ToolchainImageRequest,
)
from slipway.toolchain.targets import ImageArchiveField, ImageField, PackagesLockField


@dataclass(frozen=True)
class NodeToolchainFieldSet(ToolchainFieldSet, PackageFieldSet):
    required_fields = (ImageField, PackagesLockField)

    @classmethod
    def opt_out(cls, target: Target) -> bool:
        """A ready image needs no packaging."""
        return bool(target[ImageArchiveField].value or target[ImageField].reference)


@dataclass(frozen=True)
class PackageList:
    """The inputs of the step that assembles an image: its JSON file and its lock.

    `lock` is the parsed lock, and `policy` the ABI policy, if the image has one.
    """

    inputs: Digest
    lock: DebianLock
    policy: Optional[AbiPolicy]


@rule
async def read_package_list(request: PackagedImageRequest) -> PackageList:
    field_set = request.field_set
    name = field_set.address.target_name
    renew = f"./pants generate-lockfiles --resolve={resolve_name(name)}"
    spec_path, lock_path = field_set.image.file_path, field_set.packages.path or ""
    spec, lock = await MultiGet(
        Get(ProvidedFile, ProvidedFileRequest((spec_path,), f"images/{name}/image.json")),
        Get(ProvidedFile, ProvidedFileRequest((lock_path,), f"images/{name}/packages.lock")),
    )
    if spec.content is None or lock.content is None:
        path, command = (lock_path, renew) if spec.content else (spec_path, f"write {spec_path}")
        raise SlipwayError(
            f'the image "{field_set.address}" lacks a file', found=f"no {path}", next=command
        )
    wanted = read_image_spec(spec.content.decode("utf-8", "replace"), spec.path)
    packages = read_lock(lock.content.decode("utf-8", "replace"), lock.path, next=renew)
    check_lock_is_current(wanted, packages, lock.path, next=renew)
    files = [
        FileContent(assemble.SPEC, spec.content),
        FileContent(assemble.LOCK, lock.content),
    ]
    policy = None
    if field_set.abi_policy.value:
        policy = await Get(AbiPolicy, AbiPolicyRequest(field_set))
    return PackageList(await Get(Digest, CreateDigest(files)), packages, policy)


@rule(desc="Assemble toolchain image")
async def assemble_image(request: PackagedImageRequest) -> MadeRoot:
    listed, below = await MultiGet(
        Get(PackageList, PackagedImageRequest, request),
        Get(LayersBelow, ImageBelowRequest(request.field_set)),
    )
    debs = tuple(locked(package) for package in listed.lock.packages)
    address = request.field_set.address
    result = await Get(
        StepResult,
        HostStep(
            assemble.PROGRAM(Arguments(layer=assemble.Layer(_below(below.layers), listed.policy))),
            outputs=OUTPUTS,
            description=f"Assemble {address} from {len(debs)} Debian packages",
            origin=str(address),
            inputs=listed.inputs,
            large=_inputs_below(below.layers),
            locked=LockedFiles(debs),
        ),
    )
    return MadeRoot(result)


def _below(layers: Tuple[Tree, ...]) -> Tuple[str, ...]:
    return tuple(f"below/{number}/{layer.name}" for number, layer in enumerate(layers))


def _inputs_below(layers: Tuple[Tree, ...]) -> FrozenDict[str, Digest]:
    return FrozenDict({f"below/{number}": one.digest for number, one in enumerate(layers)})


def locked(package: LockedPackage) -> LockedFile:
    """A package as a file of a step."""
    source: FrozenDict[str, str] = FrozenDict(
        kind="debian", filename=package.filename, name=package.name
    )
    return LockedFile(f"{assemble.DEBS}/{package.sha256}.deb", package.sha256, package.size, source)


@rule(desc="Package toolchain image")
async def package_image(field_set: NodeToolchainFieldSet) -> BuiltPackage:
    image, listed = await MultiGet(
        Get(ToolchainImage, ToolchainImageRequest(field_set)),
        Get(PackageList, PackagedImageRequest(field_set)),
    )
    name = Output(f"{field_set.address.target_name}.tar")
    result = await Get(
        StepResult,
        HostStep(
            assemble.PROGRAM(Arguments(archive=assemble.Archive(_below(image.layers), name))),
            outputs=(name, OUTPUTS.facts),
            description=f"Write the image archive of {field_set.address}",
            origin=str(field_set.address),
            inputs=listed.inputs,
            large=_inputs_below(image.layers),
        ),
    )
    folder = field_set.output_path.value_or_default(file_ending=None)
    archive = await outputs.take(result.digest, name)
    artifact = BuiltPackageArtifact(
        os.path.join(folder, name), extra_log_lines=(f"image ID: {image.image_id}",)
    )
    return BuiltPackage(await Get(Digest, AddPrefix(archive, folder)), (artifact,))


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PackageFieldSet, NodeToolchainFieldSet)]
