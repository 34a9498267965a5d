"""The goal `node-definitions`: lists Node definitions, and adds new ones.

./pants node-definitions
./pants node-definitions --add=22.23.3
"""

from __future__ import annotations

import datetime
import enum
import json
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.console import Console
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
    Workspace,
)
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule, rule
from pants.option.option_types import BoolOption, EnumOption, StrListOption, StrOption
from pants.util.strutil import softwrap

from slipway.core import text_table
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.fetch import configured_address
from slipway.runtime.definitions import lines, listing, search_path
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.definitions.lines import bundled_lines, order
from slipway.runtime.definitions.listing import Row
from slipway.runtime.definitions.render import render
from slipway.runtime.definitions.search_path import SUFFIX, Entry
from slipway.runtime.rules.definitions import (
    FolderRequest,
    FoundFile,
    FoundFiles,
    SearchPath,
    SearchPathRequest,
)
from slipway.runtime.rules.import_definitions import ImportedDefinitions, ImportRequest
from slipway.runtime.rules.make import PLATFORM
from slipway.runtime.rules.new_definitions import (
    NPM_KIND,
    WHEEL_KIND,
    NewDefinition,
    NewDefinitionRequest,
    Releases,
    ReleasesRequest,
)
from slipway.runtime.targets import NodeVersionField
from slipway.toolchain.rules.policies import Policies, PoliciesRequest


class OutputFormat(enum.Enum):
    TABLE = "table"
    JSON = "json"


class ArchiveKind(enum.Enum):
    ANY = "any"
    NPM = NPM_KIND
    WHEEL = WHEEL_KIND


class NodeDefinitionsSubsystem(LineOriented, GoalSubsystem):
    name = "node-definitions"
    help = "Lists the Node definitions that node_runtime finds, and adds new ones."

    add = StrListOption(
        help=softwrap(
            """
            Writes the definition of this version: Slipway looks it up in your npm registry or
            Python index, fetches the archives, and records their hashes.

            Example: `./pants node-definitions --add=22.23.3`.
            """
        ),
    )
    update = BoolOption(
        default=False,
        help=softwrap(
            """
            Adds the newest release of each line that a `node_runtime` of the workspace uses, and
            checks that your registry has the same bytes for the definitions in `--into`.

            Example: `./pants node-definitions --update`.
            """
        ),
    )
    kind = EnumOption(
        default=ArchiveKind.ANY,
        help=softwrap(
            """
            Sets where `--add` looks: `npm` is the npm registry, and `wheel` the Python index, whose
            wheels may run on older hosts. With `any`, the npm registry is asked first.

            Example: `./pants node-definitions --add=22.20.0 --kind=wheel`.
            """
        ),
    )
    from_ = StrOption(
        "--from",
        default="",
        help=softwrap(
            """
            Takes the archive of `--add` from this distribution: the address or the folder of a copy
            of Node's release folder, with archives, `SHASUMS256.txt` and its signature. Slipway
            accepts the list if one of Node's release keys, or a key in `toolchains/node/keys`,
            has signed it. From a folder, the archive is copied beside the definition.

            Example: `./pants node-definitions --add=22.23.3 --from=https://mirror.example.com/node`.
            """
        ),
    )
    sha256 = StrOption(
        default="",
        help=softwrap(
            """
            With `--from`: the SHA-256 of the checksum list or of the archive, from a source that you
            trust. Slipway then needs no signature.

            Example: `--sha256=33188eb11b977113adb65b2e09d71bddd63f12168ba73ceadae6c27938dc9e93`.
            """
        ),
    )
    import_from = StrOption(
        default="",
        help=softwrap(
            """
            Imports the definitions of node-build from this folder into the folder `--into`. Slipway
            parses them as text and runs nothing. It prints how many it imported, and the reason for
            each that it refused. With `--filter`, only versions in this range are imported.

            Example: `./pants node-definitions --import-from=/opt/node-build/share/node-build
            --into=vendor/node-build`.
            """
        ),
    )
    into = StrOption(
        default=search_path.FOLDER,
        help=softwrap(
            """
            Sets the folder for new definitions, relative to the build root.

            Example: `--into=vendor/node`.
            """
        ),
    )
    filter = StrOption(
        default="",
        help=softwrap(
            """
            Lists only these versions: a range, `lts`, or `supported`, which leaves out versions past
            their end of life.

            Example: `./pants node-definitions --filter='>=18 <21'`.
            """
        ),
    )
    all = BoolOption(
        default=False,
        help=softwrap(
            """
            Lists all versions. Without it, Slipway lists the newest version of each line and kind.

            Example: `./pants node-definitions --all`.
            """
        ),
    )
    explain = StrOption(
        default="",
        help=softwrap(
            """
            Says which file defines this version, where Slipway looked, and which files it shadows.

            Example: `./pants node-definitions --explain=16.20.2`.
            """
        ),
    )
    format = EnumOption(
        default=OutputFormat.TABLE,
        help=softwrap(
            """
            Sets the format of the list: `table` or `json`.

            Example: `./pants node-definitions --format=json`.
            """
        ),
    )


class NodeDefinitionsGoal(Goal):
    subsystem_cls = NodeDefinitionsSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


# --- The list.


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


# --- Explanations.


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


# --- New definitions.


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


# --- The goal.


async def _import(goal: NodeDefinitionsSubsystem, console: Console, workspace: Workspace) -> None:
    if goal.options.is_default("into"):
        raise SlipwayError(
            "an import needs a folder of its own",
            where="option --into",
            found=f"its default, {goal.into}, whose files replace the bundled definitions",
            next="add --into=vendor/node-build, and this folder to [slipway] definition_paths",
        )
    source = os.path.join(get_buildroot(), os.path.expanduser(goal.import_from))
    imported = await Get(ImportedDefinitions, ImportRequest(source, goal.into, goal.filter))
    workspace.write_digest(imported.digest)
    console.print_stdout(imported.told)


@goal_rule
async def node_definitions(
    console: Console, goal: NodeDefinitionsSubsystem, workspace: Workspace
) -> NodeDefinitionsGoal:
    today = datetime.date.today().isoformat()
    versions, kind = list(goal.add), "" if goal.kind is ArchiveKind.ANY else goal.kind.value
    source, into = goal.from_, search_path.in_workspace(goal.into, get_buildroot())
    if os.path.isabs(into):
        raise SlipwayError(
            f'the folder "{goal.into}" for new definitions is not in the workspace',
            where="option --into",
            next="give a folder relative to the build root, such as: --into=vendor/node",
        )
    if source and not configured_address.parse(source):
        source = os.path.join(get_buildroot(), os.path.expanduser(source))
    if goal.update:
        update = await Get(Update, UpdateRequest(into))
        versions += [one for one in update.versions if one not in versions]
    if versions or goal.update:
        added = await MultiGet(
            Get(Added, AddRequest(version, kind, into, source, goal.sha256)) for version in versions
        )
        workspace.write_digest(await Get(Digest, MergeDigests([one.digest for one in added])))
        for one in added:
            console.print_stderr(one.told)
        if not added:
            console.print_stderr("all lines in use have a definition of their newest release")
    if goal.import_from:
        await _import(goal, console, workspace)
        return NodeDefinitionsGoal(exit_code=0)
    with goal.line_oriented(console) as print_line:
        if goal.explain:
            explanation = await Get(Explanation, ExplanationRequest(goal.explain, today))
            print_line(explanation.text)
        elif not versions and not goal.update:
            found = await Get(Rows, RowsRequest(today))
            rows = listing.chosen(found.rows, goal.filter, today)
            rows = rows if goal.all or goal.filter else listing.newest(rows)
            if goal.format is OutputFormat.JSON:
                print_line(json.dumps([one.as_plain() for one in rows], indent=1))
            else:
                print_line(text_table.render(listing.cells(rows)))
    return NodeDefinitionsGoal(exit_code=0)


def rules() -> Rules:
    return collect_rules()
