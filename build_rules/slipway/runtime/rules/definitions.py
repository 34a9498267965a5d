"""Finds and reads the definition of a Node.js version, in the workspace or in Slipway's data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional, Tuple

from pants.engine.fs import PathGlobs, Paths
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.errors import SlipwayError, nearest
from slipway.core.rules.provided_files import ProvidedFile, ProvidedFileRequest
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.runtime.definition import NodeDefinition, read

FOLDER = "toolchains/node"


@dataclass(frozen=True)
class NodeDefinitionRequest:
    """Requests the definition in `file` (relative to the build root), or else of the version."""

    version: str
    folder: str
    file: Optional[str]
    origin: str


@rule
async def find_node_definition(request: NodeDefinitionRequest) -> NodeDefinition:
    name = f"{request.version}.toml"
    places = (request.file,) if request.file else _places(request, name)
    found = await Get(ProvidedFile, ProvidedFileRequest(places, f"node/{name}"))
    if found.content is not None:
        document = read_toml(found.content, found.path, "Node definition")
        return read(document, found.path, request.version)
    if request.file:
        raise SlipwayError(
            f'the Node definition "{request.file}" does not exist',
            where=f"{request.origin}, field definition",
            found="no such file",
            next="write this file, or correct the field",
        )
    known = await Get(Paths, PathGlobs(_places(request, "*.toml")))
    versions = [os.path.basename(path)[: -len(".toml")] for path in known.files]
    guesses = nearest(request.version, versions) or sorted(versions)
    raise SlipwayError(
        f'no definition of Node.js "{request.version}"',
        where=f"{request.origin}, field version",
        found=", ".join(f"no {place}" for place in places),
        next=f"write this file, or use a defined version: {', '.join(guesses) or 'none'}",
    )


def _places(request: NodeDefinitionRequest, name: str) -> Tuple[str, ...]:
    folders = dict.fromkeys((request.folder, FOLDER))
    return tuple(os.path.join(folder, name) for folder in folders)


def rules() -> Rules:
    return collect_rules()
