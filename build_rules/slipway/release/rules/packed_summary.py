"""The summary of `package`: sizes, differences, and a command that runs the release."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from typing import Any, Iterable, Tuple

from pants.engine.addresses import Address
from pants.engine.fs import Digest, DigestEntries, FileEntry
from pants.engine.rules import Get, _uncacheable_rule, collect_rules
from pants.option.global_options import GlobalOptions
from pants.util.docutil import bin_name

from slipway.release import packed_sizes
from slipway.release.packed_sizes import PackedFile


@dataclass(frozen=True)
class PackedSummaryRequest:
    """`names` are the archives in `digest` for hosts; each name starts with `stem`."""

    address: Address
    digest: Digest
    stem: str
    names: Tuple[str, ...]


@dataclass(frozen=True)
class PackedSummary:
    """The lines after the one in which Pants names the last file."""

    lines: Tuple[str, ...]


# Uncacheable: for a known content, the Pants daemon would return the comparison of the first run.
@_uncacheable_rule
async def summarise_packed_files(
    request: PackedSummaryRequest, global_options: GlobalOptions
) -> PackedSummary:
    entries = await Get(DigestEntries, Digest, request.digest)
    packed = {one.path: one.file_digest for one in entries if isinstance(one, FileEntry)}
    files = [
        PackedFile(
            name[len(request.stem) :],
            name,
            packed[name].fingerprint,
            packed[name].serialized_bytes_length,
        )
        for name in request.names
    ]
    address = request.address.spec
    record = hashlib.sha256(address.encode()).hexdigest()[:16] + ".json"
    path = os.path.join(global_options.pants_workdir, "slipway", "sizes", record)
    table = packed_sizes.render(files, packed_sizes.update_record(path, files))
    # Without `//`, Pants resolves the address relative to the current folder.
    target = shlex.quote("//" + address.lstrip("/"))
    return PackedSummary(
        (*(f"  {line}" for line in table.split("\n")), f"  try it: {bin_name()} run {target}")
    )


def rules() -> Iterable[Any]:
    return collect_rules()
