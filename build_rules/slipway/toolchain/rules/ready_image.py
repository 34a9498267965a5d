"""Flattens ready images to a root: image archives with a hash, or image references."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from pants.engine.fs import (
    CreateDigest,
    Digest,
    DigestContents,
    DigestEntries,
    FileEntry,
    PathGlobs,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.oci.lock import Blob, parse_reference, read_image_lock
from slipway.step.rules.build_step import HostStep, StepResult
from slipway.step.rules.locked_files import LockedFile, LockedFiles
from slipway.toolchain.programs import assemble
from slipway.toolchain.programs.assemble import OUTPUTS, Arguments, Root
from slipway.toolchain.rules.generate_lock import resolve_name
from slipway.toolchain.rules.image import (
    MadeRoot,
    ReadyImageRequest,
    ToolchainFieldSet,
)

_ARCHIVE = "image.tar"


@dataclass(frozen=True)
class ReadySource:
    """The source of a ready image; `root` names its files in `given` and `locked`."""

    root: Root
    given: Digest
    locked: LockedFiles


@dataclass(frozen=True)
class ArchiveRequest:
    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ReferenceRequest:
    field_set: ToolchainFieldSet


@rule
async def find_archive(request: ArchiveRequest) -> ReadySource:
    field_set = request.field_set
    place, sha256 = field_set.archive.value or "", field_set.archive_sha256.value or ""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise SlipwayError(
            f'the ready image "{place}" is not pinned by its SHA-256',
            where=f"{field_set.address}, field archive_sha256",
            found=sha256 or "nothing",
            next='archive_sha256="…"   (the 64 digits that sha256sum prints for the archive)',
        )
    root = Root(archive=_ARCHIVE)
    if "://" in place:
        return ReadySource(root, EMPTY_DIGEST, LockedFiles((_remote(field_set, place, sha256),)))
    path = os.path.join(field_set.address.spec_path, place)
    files = [
        entry
        for entry in await Get(DigestEntries, PathGlobs([path]))
        if isinstance(entry, FileEntry)
    ]
    found = files[0].file_digest.fingerprint if files else "no such file"
    if found != sha256:
        raise SlipwayError(
            f'the ready image "{path}" does not match its SHA-256',
            where=f"{field_set.address}, fields archive and archive_sha256",
            found=found,
            next="replace the archive, or correct the fields",
        )
    renamed = FileEntry(_ARCHIVE, files[0].file_digest)
    return ReadySource(root, await Get(Digest, CreateDigest([renamed])), LockedFiles())


def _remote(field_set: ToolchainFieldSet, url: str, sha256: str) -> LockedFile:
    size = field_set.archive_size.value or ""
    if not (size.isascii() and size.isdigit()):
        raise SlipwayError(
            f'the ready image "{url}" is not pinned by its size',
            where=f"{field_set.address}, field archive_size",
            found=size or "nothing",
            next='archive_size="…"   (its number of bytes)',
        )
    source: FrozenDict[str, str] = FrozenDict(kind="url", url=url, name=os.path.basename(url))
    return LockedFile(_ARCHIVE, sha256, int(size), source)


@rule
async def find_referenced_image(request: ReferenceRequest) -> ReadySource:
    field_set = request.field_set
    image = field_set.image.reference or ""
    parse_reference(image, f"{field_set.address}, field image")
    path = field_set.packages.path or ""
    renew = f"./pants generate-lockfiles --resolve={resolve_name(field_set.address.target_name)}"
    files = await Get(DigestContents, PathGlobs([path]))
    if not files:
        raise SlipwayError(
            f'the image "{field_set.address}" has no lock', found=f"no {path}", next=renew
        )
    lock = read_image_lock(files[0].content.decode("utf-8", "replace"), path, next=renew)
    if lock.image != image:
        raise SlipwayError(
            f'"{path}" is the lock of another image', where=path, found=lock.image, next=renew
        )
    layers = tuple(
        _part(f"layer-{number}", image, layer) for number, layer in enumerate(lock.layers)
    )
    config = _part("config.json", image, lock.config)
    root = Root(image=image, config=config.path, parts=tuple(layer.path for layer in layers))
    return ReadySource(root, EMPTY_DIGEST, LockedFiles((config, *layers)))


def _part(name: str, image: str, blob: Blob) -> LockedFile:
    return LockedFile(
        f"parts/{name}", blob.sha256, blob.size, FrozenDict(kind="image", image=image)
    )


@rule(desc="Unpack ready image")
async def flatten_image(request: ReadyImageRequest) -> MadeRoot:
    field_set = request.field_set
    if field_set.image.reference:
        source = await Get(ReadySource, ReferenceRequest(field_set))
    else:
        source = await Get(ReadySource, ArchiveRequest(field_set))
    result = await Get(
        StepResult,
        HostStep(
            assemble.PROGRAM(Arguments(root=source.root)),
            outputs=OUTPUTS,
            description=f"Unpack the ready image of {field_set.address}",
            origin=str(field_set.address),
            inputs=source.given,
            locked=source.locked,
        ),
    )
    return MadeRoot(result)


def rules() -> Rules:
    return collect_rules()
