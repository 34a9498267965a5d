"""Toolchain images: the root file systems of build steps, from packages or ready-made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple, Type

from pants.core.goals.package import OutputPathField
from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.fs import (
    Digest,
    DigestEntries,
    FileEntry,
)
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import Field, FieldSet, WrappedTarget, WrappedTargetRequest

from slipway.core.rules.named_target import take_as
from slipway.core.rules.registration import Rules
from slipway.step.interface import Output
from slipway.step.rules import outputs
from slipway.step.rules.build_step import ROOT, StepResult, Tree
from slipway.subsystem import Slipway
from slipway.toolchain.programs import assemble
from slipway.toolchain.targets import (
    AbiPolicyField,
    ImageArchiveField,
    ImageArchiveSha256Field,
    ImageArchiveSizeField,
    ImageBaseField,
    ImageField,
    NodeToolchain,
    PackagesLockField,
)


@dataclass(frozen=True)
class ToolchainFieldSet(FieldSet):
    required_fields: ClassVar[Tuple[Type[Field], ...]] = (ImageField, PackagesLockField)

    image: ImageField
    packages: PackagesLockField
    base: ImageBaseField
    abi_policy: AbiPolicyField
    archive: ImageArchiveField
    archive_sha256: ImageArchiveSha256Field
    archive_size: ImageArchiveSizeField
    output_path: OutputPathField

    @property
    def is_ready(self) -> bool:
        """Whether the image is ready-made, and not assembled from packages."""
        return bool(self.archive.value or self.image.reference)


@dataclass(frozen=True)
class ToolchainNamed:
    """Requests the `node_toolchain` whose address is in `origin`; messages call it `what`."""

    inputs: UnparsedAddressInputs
    what: str
    origin: str


@dataclass(frozen=True)
class ToolchainImageRequest:
    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class PackagedImageRequest:
    """Requests an image that is assembled from Debian packages."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ReadyImageRequest:
    """Requests the root of a ready image."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ToolchainImage:
    """The layers of a root, lowest first; `image_id` is the ID of the image in an engine."""

    layers: Tuple[Tree, ...]
    image_id: str


@dataclass(frozen=True)
class ImageBelowRequest:
    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ImageBelow:
    """The image below an image, if it has one."""

    field_set: Optional[ToolchainFieldSet]


@dataclass(frozen=True)
class LayersBelow:
    """The layers of the images below an image, lowest first."""

    layers: Tuple[Tree, ...]


@dataclass(frozen=True)
class BaseImage:
    """The image of build steps."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class BaseRoot:
    """The layers of the root of build steps, lowest first."""

    trees: Tuple[Tree, ...]


@dataclass(frozen=True)
class OutputTreeRequest:
    """Requests the `output` of a step, from its outputs in `digest`, as a tree for `target`."""

    digest: Digest
    output: Output
    target: str


@dataclass(frozen=True)
class MadeRoot:
    """The outputs of the step that created a root; see `assemble.OUTPUTS`."""

    result: StepResult


@rule
async def find_named_toolchain(named: ToolchainNamed) -> ToolchainFieldSet:
    (address,) = await Get(Addresses, UnparsedAddressInputs, named.inputs)
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(address, description_of_origin=named.origin)
    )
    return take_as(
        ToolchainFieldSet,
        NodeToolchain.alias,
        wrapped.target,
        what=named.what,
        where=named.origin,
        example="//toolchains/base",
    )


@rule
async def make_image(request: ToolchainImageRequest) -> ToolchainImage:
    if request.field_set.is_ready:
        below = LayersBelow(())
        made = await Get(MadeRoot, ReadyImageRequest(request.field_set))
    else:
        below = await Get(LayersBelow, ImageBelowRequest(request.field_set))
        made = await Get(MadeRoot, PackagedImageRequest(request.field_set))
    layer = await Get(Tree, OutputTreeRequest(made.result.digest, assemble.OUTPUTS.layer, ROOT))
    facts = await outputs.read_report(made.result.digest, assemble.OUTPUTS.facts)
    return ToolchainImage((*below.layers, layer), facts.image_id)


@rule
async def find_image_below(request: ImageBelowRequest) -> ImageBelow:
    field = request.field_set.base
    if not field.value:
        return ImageBelow(None)
    origin = f"{request.field_set.address}, field base"
    inputs = field.to_unparsed_address_inputs()
    named = ToolchainNamed(inputs, "the image below another", origin)
    return ImageBelow(await Get(ToolchainFieldSet, ToolchainNamed, named))


@rule
async def find_layers_below(request: ImageBelowRequest) -> LayersBelow:
    below = await Get(ImageBelow, ImageBelowRequest, request)
    if below.field_set is None:
        return LayersBelow(())
    return LayersBelow((await Get(ToolchainImage, ToolchainImageRequest(below.field_set))).layers)


@rule
async def tree_of_output(request: OutputTreeRequest) -> Tree:
    digest = await outputs.take(request.digest, request.output)
    entry = (await Get(DigestEntries, Digest, digest))[0]
    assert isinstance(entry, FileEntry)
    return Tree(request.output, digest, entry.file_digest, request.target)


@rule
async def find_base_image(slipway: Slipway) -> BaseImage:
    origin = "the option `[slipway] base_image`"
    inputs = UnparsedAddressInputs(
        [slipway.base_image], owning_address=None, description_of_origin=origin
    )
    named = ToolchainNamed(inputs, "the root of build steps", origin)
    return BaseImage(await Get(ToolchainFieldSet, ToolchainNamed, named))


@rule
async def find_base_root(base: BaseImage) -> BaseRoot:
    image = await Get(ToolchainImage, ToolchainImageRequest(base.field_set))
    return BaseRoot(image.layers)


def rules() -> Rules:
    return collect_rules()
