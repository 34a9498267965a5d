"""Imports the definitions of node-build from a folder, which is read and never executed."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass

from pants.engine.fs import CreateDigest, Digest, FileContent
from pants.engine.rules import Get, _uncacheable_rule, collect_rules

from slipway.core import semver
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.runtime.definitions import node_build_import
from slipway.runtime.rules.definitions import read_file


@dataclass(frozen=True)
class ImportRequest:
    """Requests the definitions in the absolute folder `source` as files below `into`.

    With a `wanted` range, only versions in it are imported.
    """

    source: str
    into: str
    wanted: str


@dataclass(frozen=True)
class ImportedDefinitions:
    """The new files, and a table of what became of the definitions."""

    digest: Digest
    told: str


# Uncacheable, because the folder can be outside of the build root.
@_uncacheable_rule
async def import_definitions(request: ImportRequest) -> ImportedDefinitions:
    try:
        names = sorted(entry.name for entry in os.scandir(request.source) if entry.is_file())
        texts = {name: read_file(os.path.join(request.source, name)) for name in names}
    except OSError as error:
        raise SlipwayError(
            f'cannot read the folder "{request.source}"',
            where="option --import-from",
            found=f"{error.filename}: {error.strerror}",
            next="give the folder with the definitions, such as share/node-build of node-build",
        ) from None
    command = f"./pants node-definitions --import-from=<node-build> --into={request.into}"
    imported = node_build_import.import_all(texts, command, datetime.date.today().isoformat())
    chosen = {
        name: text
        for name, text in imported.files.items()
        if not request.wanted or semver.satisfies(name.rpartition(".")[0], request.wanted)
    }
    if not chosen:
        raise SlipwayError(
            f'no definition of "{request.source}" can be imported',
            where="option --import-from",
            found=node_build_import.report(imported),
            next="give the folder with the definitions, such as share/node-build of node-build",
        )
    digest = await Get(
        Digest,
        CreateDigest(
            FileContent(os.path.join(request.into, name), text.encode())
            for name, text in chosen.items()
        ),
    )
    told = f"{request.into}: {len(chosen)} definitions written"
    return ImportedDefinitions(digest, f"{node_build_import.report(imported)}\n{told}")


def rules() -> Rules:
    return collect_rules()
