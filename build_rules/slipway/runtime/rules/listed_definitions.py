"""Lists the Node definitions on the search path, and explains which file defines a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core import text_table
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.runtime.definitions import listing, search_path
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.lines import bundled_lines
from slipway.runtime.definitions.listing import Row
from slipway.runtime.rules.definitions import (
    FolderRequest,
    FoundFile,
    FoundFiles,
    SearchPath,
    SearchPathRequest,
)
from slipway.runtime.rules.make import PLATFORM
from slipway.toolchain.rules.policies import Policies, PoliciesRequest


@dataclass(frozen=True)
class RowsRequest:
    """Requests a row for each definition on the search path; `today` is a date."""

    today: str


@dataclass(frozen=True)
class Rows:
    rows: Tuple[Row, ...]


def parsed(file: FoundFile) -> NodeDefinition:
    """The definition in a file, whose version is what the file says it is."""
    document = read_toml(file.content, file.path, "Node definition")
    version = document.get("version")
    return read(document, file.path, version if isinstance(version, str) else "")


@rule
async def list_definitions(request: RowsRequest) -> Rows:
    path, policies = await MultiGet(
        Get(SearchPath, SearchPathRequest(search_path.FOLDER)), Get(Policies, PoliciesRequest())
    )
    folders = await MultiGet(Get(FoundFiles, FolderRequest(entry)) for entry in path.entries)
    by_name: Dict[str, List[FoundFile]] = {}
    for folder in folders:
        for file in folder.files:
            by_name.setdefault(file.name, []).append(file)
    known, rows = bundled_lines(), []
    for first, *rest in by_name.values():
        shadows = tuple(one.path for one in rest if one.content != first.content)
        definition = parsed(first)
        rows.append(
            listing.row(definition, PLATFORM, policies.by_address, known, request.today, shadows)
        )
    return Rows(tuple(rows))


@dataclass(frozen=True)
class ExplanationRequest:
    version: str
    today: str


@dataclass(frozen=True)
class Explanation:
    """The table of the folders, and what the winning file says."""

    text: str


@rule
async def explain(request: ExplanationRequest) -> Explanation:
    name = search_path.file_name(request.version, "option --explain")
    path = await Get(SearchPath, SearchPathRequest(search_path.FOLDER))
    folders = await MultiGet(
        Get(FoundFiles, FolderRequest(entry, (name,))) for entry in path.entries
    )
    winner: Optional[FoundFile] = None
    cells: List[Tuple[str, ...]] = [("file", "folder from", "result")]
    for entry, folder in zip(path.entries, folders):
        result = "no such file"
        for file in folder.files:
            result = "wins" if winner is None else _shadowed(file, winner)
            winner = winner or file
        cells.append((entry.shown(name), entry.origin, result))
    told = [text_table.render(cells)]
    if winner is not None:
        policies = await Get(Policies, PoliciesRequest())
        one = listing.row(
            parsed(winner), PLATFORM, policies.by_address, bundled_lines(), request.today
        )
        told += ["", text_table.render(listing.cells([one]))]
        if one.missing:
            told.append(f"missing security releases: {', '.join(one.missing)}")
    else:
        told += ["", f"next: ./pants node-definitions --add={request.version}"]
    return Explanation("\n".join(told))


def _shadowed(file: FoundFile, winner: FoundFile) -> str:
    same = "same content" if file.content == winner.content else "other content"
    return f"shadowed, {same}"


def rules() -> Rules:
    return collect_rules()
