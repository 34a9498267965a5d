"""New Node definitions as files of the workspace, which are never overwritten."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Sequence, Tuple

from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.runtime.definitions import lines, search_path
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.definitions.lines import order
from slipway.runtime.definitions.render import render
from slipway.runtime.definitions.search_path import SUFFIX, Entry
from slipway.runtime.rules.definitions import (
    FolderRequest,
    FoundFiles,
    SearchPath,
    SearchPathRequest,
)
from slipway.runtime.rules.listed_definitions import parsed
from slipway.runtime.rules.make import PLATFORM
from slipway.runtime.rules.new_definitions import (
    NewDefinition,
    NewDefinitionRequest,
    Releases,
    ReleasesRequest,
)
from slipway.runtime.targets import NodeVersionField


@dataclass(frozen=True)
class AddRequest:
    version: str
    kind: str
    folder: str
    source: str
    sha256: str


@dataclass(frozen=True)
class Added:
    """The files of a new definition, none if the same definition exists; `told` says what happened."""

    digest: Digest
    told: str


@rule
async def add_definition(request: AddRequest) -> Added:
    version, name = request.version, f"{request.version}{SUFFIX}"
    if order(version)[0][0] < 0:
        raise SlipwayError(
            f'"{version}" is not a version of Node.js',
            where="option --add",
            next="give a full version, such as: ./pants node-definitions --add=22.23.3",
        )
    existing, new = await MultiGet(
        Get(FoundFiles, FolderRequest(Entry(request.folder, search_path.WORKSPACE), (name,))),
        Get(
            NewDefinition,
            NewDefinitionRequest(version, PLATFORM, request.kind, request.source, request.sha256),
        ),
    )
    path = os.path.join(request.folder, name)
    for file in existing.files:
        before = dict(parsed(file).binaries).get(PLATFORM)
        if before is not None and before.sha256 == new.node.sha256:
            return Added(EMPTY_DIGEST, f"{path}: exists, with the same archive")
        raise SlipwayError(
            f'the definition "{path}" exists, and names another archive',
            where="option --add",
            found=f"SHA-256 {before.sha256 if before else 'of no binary'}, now {new.node.sha256}",
            next="find out why: was this version released again? Then remove the file, and add it again",
        )
    kind = f" --kind={request.kind}" if request.kind else ""
    # A folder of this machine belongs in no file that others read.
    place = "<folder>" if os.path.isabs(request.source) else request.source
    source = f" --from={place}" if place else ""
    command = f"./pants node-definitions --add={version}{kind}{source}"
    text = render(version, {PLATFORM: new.node}, new.npms, command)
    definition, beside = await MultiGet(
        Get(Digest, CreateDigest([FileContent(path, text.encode())])),
        Get(Digest, AddPrefix(new.beside, request.folder)),
    )
    told = f"{path}: written; {new.node.hash_from}, built by {new.node.built_by}"
    return Added(await Get(Digest, MergeDigests([definition, beside])), told)


@dataclass(frozen=True)
class UpdateRequest:
    folder: str


@dataclass(frozen=True)
class Update:
    """The versions to add: the newest of each line in use that is not defined yet."""

    versions: Tuple[str, ...]


@rule
async def find_update(request: UpdateRequest) -> Update:
    targets, folder, path, releases = await MultiGet(
        Get(DeclaredTargets, DeclaredTargetsRequest((NodeVersionField,))),
        Get(FoundFiles, FolderRequest(Entry(request.folder, search_path.WORKSPACE))),
        Get(SearchPath, SearchPathRequest(request.folder)),
        Get(Releases, ReleasesRequest(PLATFORM)),
    )
    _require_same_bytes([parsed(file) for file in folder.files], releases)
    listed = await MultiGet(Get(FoundFiles, FolderRequest(entry)) for entry in path.entries)
    known = {file.name[: -len(SUFFIX)] for one in listed for file in one.files}
    used = {one[NodeVersionField].value or "" for one in targets}
    wanted = lines.newest_in_use(releases.node, used)
    return Update(tuple(version for version in wanted if version not in known))


def _require_same_bytes(definitions: Sequence[NodeDefinition], releases: Releases) -> None:
    faults = []
    for definition in definitions:
        archive = dict(definition.binaries).get(PLATFORM)
        now = releases.node.get(definition.version) if archive and archive.package else None
        if archive and now and now.integrity and now.integrity != archive.integrity:
            faults.append(f"{definition.path}: {archive.integrity}, now {now.integrity}")
    if faults:
        raise SlipwayErrors(
            "the registry has other bytes for versions that are defined",
            faults,
            where="option --update",
            next="find out why: were they released again? Nothing was written",
        )


def rules() -> Rules:
    return collect_rules()
