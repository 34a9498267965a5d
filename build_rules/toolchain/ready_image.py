"""Images that a team has already: an archive by hash, flattened to one root."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from pants.engine.fs import CreateDigest, Digest, DigestEntries, FileEntry, PathGlobs
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from build_rules.lib.errors import SlipwayError
from build_rules.toolchain.image import FACTS, LAYER, MadeRoot, ReadyImageRequest, ToolchainFieldSet
from build_rules.toolchain.locked_files import LockedFile, LockedFiles
from build_rules.toolchain.step import HostStep, StepResult

_ARCHIVE = "image.tar"


@dataclass(frozen=True)
class ReadyArchive:
    """The archive as `image.tar`: a file of the workspace, or one to fetch."""

    file: Digest
    locked: LockedFiles


@rule
async def find_ready_archive(request: ReadyImageRequest) -> ReadyArchive:
    field_set = request.field_set
    place, sha256 = field_set.archive.value or "", field_set.archive_sha256.value or ""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise SlipwayError(
            f'the ready image "{place}" is not pinned by its SHA-256',
            where=f"{field_set.address}, field archive_sha256",
            found=sha256 or "nothing",
            next='archive_sha256="…" with the 64 digits that sha256sum prints for the archive',
        )
    if "://" in place:
        return ReadyArchive(EMPTY_DIGEST, LockedFiles((_remote(field_set, place, sha256),)))
    path = os.path.join(field_set.address.spec_path, place)
    files = [
        entry
        for entry in await Get(DigestEntries, PathGlobs([path]))
        if isinstance(entry, FileEntry)
    ]
    found = files[0].file_digest.fingerprint if files else "no such file"
    if found != sha256:
        raise SlipwayError(
            f'the ready image "{path}" is not the pinned one',
            where=f"{field_set.address}, fields archive and archive_sha256",
            found=found,
            next="put the right archive there, or correct the fields",
        )
    renamed = FileEntry(_ARCHIVE, files[0].file_digest)
    return ReadyArchive(await Get(Digest, CreateDigest([renamed])), LockedFiles())


def _remote(field_set: ToolchainFieldSet, url: str, sha256: str) -> LockedFile:
    size = field_set.archive_size.value or ""
    if not size.isdigit():
        raise SlipwayError(
            f'the ready image "{url}" is not pinned by its size',
            where=f"{field_set.address}, field archive_size",
            found=size or "nothing",
            next='archive_size="…" with its number of bytes',
        )
    source = FrozenDict(kind="url", url=url, name=os.path.basename(url))
    return LockedFile(_ARCHIVE, sha256, int(size), source)


@rule(desc="Unpack ready image")
async def flatten_image(request: ReadyImageRequest) -> MadeRoot:
    archive = await Get(ReadyArchive, ReadyImageRequest, request)
    address = request.field_set.address
    result = await Get(
        StepResult,
        HostStep(
            program="assemble_image",
            argv=(
                *("flatten", f"--archive={_ARCHIVE}"),
                *(f"--layer=out/{LAYER}", f"--facts=out/{FACTS}"),
            ),
            outputs=(LAYER, FACTS),
            description=f"Unpack the ready image of {address}",
            origin=str(address),
            inputs=archive.file,
            locked=archive.locked,
        ),
    )
    return MadeRoot(result)


def rules():
    return collect_rules()
