"""Finds and reads Node definitions along the search path: first hit wins."""

from __future__ import annotations

import errno
import glob
import logging
import os
import stat
from dataclasses import dataclass
from typing import List, Optional, Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.fs import DigestContents, PathGlobs, Paths
from pants.engine.internals.session import SessionValues
from pants.engine.rules import Get, MultiGet, _uncacheable_rule, collect_rules, rule

from slipway.core.errors import SlipwayError
from slipway.core.rules.provided_files import ProvidedFile, ProvidedFileRequest
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.data import bundled
from slipway.runtime.definitions import search_path
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.lines import nearest_versions, order
from slipway.runtime.definitions.search_path import SUFFIX, Entry
from slipway.subsystem import Slipway

logger = logging.getLogger(__name__)
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class NodeDefinitionRequest:
    """Requests the definition in `file` (relative to the build root), or else of the version."""

    version: str
    folder: str
    file: Optional[str]
    origin: str


@dataclass(frozen=True)
class SearchPathRequest:
    """Requests the search path for a `node_runtime` in `folder`."""

    folder: str


@dataclass(frozen=True)
class SearchPath:
    entries: Tuple[Entry, ...]


@dataclass(frozen=True)
class FolderRequest:
    """Requests files of a folder on the path: `names`, as far as they exist, or else all definitions."""

    entry: Entry
    names: Optional[Tuple[str, ...]] = None


@dataclass(frozen=True)
class FoundFile:
    """A definition's file; `path` is its name in messages."""

    entry: Entry
    name: str
    content: bytes

    @property
    def path(self) -> str:
        return self.entry.shown(self.name)


@dataclass(frozen=True)
class FoundFiles:
    files: Tuple[FoundFile, ...]


@dataclass(frozen=True)
class _OutsideRequest:
    request: FolderRequest


@dataclass(frozen=True)
class _OutsideFiles:
    files: Tuple[FoundFile, ...]


@rule
async def find_search_path(
    request: SearchPathRequest, session: SessionValues, slipway: Slipway
) -> SearchPath:
    variable, root = session[CompleteEnvironmentVars].get(search_path.VARIABLE, ""), get_buildroot()
    for path in sorted(glob.glob(os.path.join(root, search_path.OF_TOOLCHAINS))):
        _refuse_loop(Entry(os.path.relpath(path, root), search_path.TOOLCHAIN), path)
    # Only these folders are listed: a definition must not depend on the files of applications.
    of_toolchains = await Get(Paths, PathGlobs([f"{search_path.OF_TOOLCHAINS}/*{SUFFIX}"]))
    entries = search_path.entries(
        variable,
        slipway.definition_paths,
        root,
        request.folder,
        {os.path.dirname(path) for path in of_toolchains.files},
    )
    for entry in entries:
        if entry.is_named and not entry.is_outside:
            _refuse_loop(entry, os.path.join(root, entry.folder))
    return SearchPath(entries)


def _refuse_loop(entry: Entry, path: str) -> None:
    # Pants overflows its stack in a loop of symlinks.
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unreadable(entry, error) from None


def _unreadable(entry: Entry, error: OSError) -> SlipwayError:
    return SlipwayError(
        f'cannot read the folder "{entry.folder}" of Node definitions',
        where=entry.origin,
        found=f"{error.filename}: {error.strerror}",
        next="correct this entry, or remove it",
    )


# Pants does not watch folders outside of the build root, so these are read in each session.
@_uncacheable_rule
async def read_outside_folder(request: _OutsideRequest) -> _OutsideFiles:
    entry, names = request.request.entry, request.request.names
    files = []
    try:
        present = os.listdir(entry.folder)
        wanted = [one for one in present if one.endswith(SUFFIX)]
        for name in wanted if names is None else sorted(set(present) & set(names)):
            files.append(FoundFile(entry, name, read_file(os.path.join(entry.folder, name))))
    except OSError as error:
        raise _unreadable(entry, error) from None
    return _OutsideFiles(tuple(files))


def read_file(path: str) -> bytes:
    """The content of a regular file of at most 1 MB; raises OSError."""
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    with open(descriptor, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


# Above its rule: Pants does not find the requests of functions that are below it.
async def _require_folder(entry: Entry) -> None:
    beside = await Get(Paths, PathGlobs([os.path.join(entry.folder, "*")]))
    if not beside.files and not beside.dirs:
        raise SlipwayError(
            f'the folder "{entry.folder}" of Node definitions does not exist, or is empty',
            where=entry.origin,
            next="correct this entry, or remove it",
        )


@rule
async def read_definition_folder(request: FolderRequest) -> FoundFiles:
    entry, names = request.entry, request.names
    if entry.is_bundled:
        present = [name for name in bundled.names(entry.folder) if name.endswith(SUFFIX)]
        contents = {
            name: bundled.read(os.path.join(entry.folder, name)) or b""
            for name in (present if names is None else names)
            if name in present
        }
    elif entry.is_outside:
        outside = await Get(_OutsideFiles, _OutsideRequest(request))
        return FoundFiles(outside.files)
    else:
        wanted = [os.path.join(entry.folder, name) for name in names or (f"*{SUFFIX}",)]
        found = await Get(DigestContents, PathGlobs(wanted))
        contents = {os.path.basename(file.path): file.content for file in found}
        if entry.is_named and not contents:
            await _require_folder(entry)
    return FoundFiles(tuple(FoundFile(entry, *item) for item in sorted(contents.items())))


@dataclass(frozen=True)
class _NamedDefinition:
    request: NodeDefinitionRequest


@rule
async def read_named_definition(named: _NamedDefinition) -> NodeDefinition:
    request, file = named.request, named.request.file
    assert file is not None
    bundled_name = os.path.join("node", os.path.basename(file))
    found = await Get(ProvidedFile, ProvidedFileRequest((file,), bundled_name))
    if found.content is None:
        raise SlipwayError(
            f'the Node definition "{file}" does not exist',
            where=f"{request.origin}, field definition",
            found="no such file",
            next="write this file, or remove the field, so that the definition is found by its version",
        )
    return read(
        read_toml(found.content, found.path, "Node definition"), found.path, request.version
    )


def _tell_shadowed(version: str, found: List[FoundFile]) -> None:
    """Says so if a folder of this machine, or of a toolchain, replaces another definition."""
    first, *rest = found
    others = [one.path for one in rest if one.content != first.content]
    if first.entry.origin in (search_path.VARIABLE, search_path.TOOLCHAIN) and others:
        logger.warning(
            f"Node.js {version}: {first.path} ({first.entry.origin}) replaces {', '.join(others)}"
        )


async def _unknown_version(
    request: NodeDefinitionRequest, path: SearchPath, name: str
) -> SlipwayError:
    listed = await MultiGet(Get(FoundFiles, FolderRequest(entry)) for entry in path.entries)
    known = {file.name[: -len(SUFFIX)] for folder in listed for file in folder.files}
    guesses = nearest_versions(request.version, known) or sorted(known, key=order)
    return SlipwayError(
        f'no definition of Node.js "{request.version}"',
        where=f"{request.origin}, field version",
        found=", ".join(f"no {entry.shown(name)}" for entry in path.entries),
        next=f"./pants node-definitions --add={request.version}\n"
        f"or use a defined version: {', '.join(guesses) or 'none'}",
    )


@rule
async def find_node_definition(request: NodeDefinitionRequest) -> NodeDefinition:
    if request.file:
        return await Get(NodeDefinition, _NamedDefinition(request))
    name = search_path.file_name(request.version, f"{request.origin}, field version")
    path = await Get(SearchPath, SearchPathRequest(request.folder))
    folders = await MultiGet(
        Get(FoundFiles, FolderRequest(entry, (name,))) for entry in path.entries
    )
    found = [file for folder in folders for file in folder.files]
    if not found:
        raise await _unknown_version(request, path, name)
    _tell_shadowed(request.version, found)
    document = read_toml(found[0].content, found[0].path, "Node definition")
    return read(document, found[0].path, request.version)


def rules() -> Rules:
    return collect_rules()
