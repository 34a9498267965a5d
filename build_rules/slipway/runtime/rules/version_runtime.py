"""A runtime by its version alone, for a trial without a `node_runtime` target."""

from __future__ import annotations

from dataclasses import dataclass

from pants.engine.addresses import Address
from pants.engine.rules import Get, collect_rules, rule

from slipway.core import semver
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.runtime.definitions import search_path
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.lines import order
from slipway.runtime.definitions.render import render
from slipway.runtime.rules.definitions import NodeDefinitionRequest
from slipway.runtime.rules.listed_definitions import Rows, RowsRequest
from slipway.runtime.rules.make import PLATFORM, RuntimeOfDefinitionRequest
from slipway.runtime.rules.new_definitions import (
    NewDefinition,
    NewDefinitionRequest,
    Releases,
    ReleasesRequest,
)
from slipway.runtime.rules.node import Runtime
from slipway.runtime.targets import RuntimeToolchainField
from slipway.toolchain.rules.policies import shown


@dataclass(frozen=True)
class VersionRequest:
    """Requests the version for a trial: `wanted` is a version or a range.

    Among the definitions, those whose binary runs on the hosts of the toolchain come first.
    """

    wanted: str
    toolchain: Address


@dataclass(frozen=True)
class TrialVersion:
    version: str


@dataclass(frozen=True)
class VersionRuntimeRequest:
    """Requests the runtime of a version; without a definition, what the registries have."""

    version: str
    origin: Address


@rule
async def choose_version(request: VersionRequest) -> TrialVersion:
    rows = await Get(Rows, RowsRequest(today=""))
    toolchain = shown(request.toolchain)
    matching = [
        (toolchain in (row.toolchains or ()), order(row.version), row.version)
        for row in rows.rows
        if semver.satisfies(row.version, request.wanted)
    ]
    if matching:
        return TrialVersion(max(matching)[-1])
    releases = await Get(Releases, ReleasesRequest(PLATFORM))
    released = [one for one in releases.node if semver.satisfies(one, request.wanted)]
    if not released:
        raise SlipwayError(
            f'no Node.js matches "{request.wanted}"',
            where="option --to",
            found="no definition, and no release in the npm registry",
            next="./pants node-definitions --all, which lists the definitions",
        )
    return TrialVersion(max(released, key=order))


@rule
async def make_version_runtime(request: VersionRuntimeRequest) -> Runtime:
    version = request.version
    rows = await Get(Rows, RowsRequest(today=""))
    if any(row.version == version for row in rows.rows):
        definition = await Get(
            NodeDefinition,
            NodeDefinitionRequest(version, search_path.FOLDER, None, "option --to"),
        )
    else:
        new = await Get(NewDefinition, NewDefinitionRequest(version, PLATFORM, ""))
        text = render(version, {PLATFORM: new.node}, new.npms, "a trial")
        path = f"{search_path.FOLDER}/{version}{search_path.SUFFIX}"
        definition = read(read_toml(text.encode(), path, "Node definition"), path, version)
    toolchain = RuntimeToolchainField(None, request.origin)
    return await Get(
        Runtime, RuntimeOfDefinitionRequest(definition, None, toolchain, request.origin)
    )


def rules() -> Rules:
    return collect_rules()
