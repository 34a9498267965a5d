"""The goal `node-definitions`: lists Node definitions, and adds new ones.

./pants node-definitions
./pants node-definitions --add=22.23.3
"""

from __future__ import annotations

import datetime
import enum
import json
import os

from pants.base.build_environment import get_buildroot
from pants.engine.console import Console
from pants.engine.fs import (
    Digest,
    MergeDigests,
    Workspace,
)
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule
from pants.option.option_types import BoolOption, EnumOption, StrListOption, StrOption
from pants.util.strutil import softwrap

from slipway.core import text_table
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.fetch import configured_address
from slipway.runtime.definitions import listing, search_path
from slipway.runtime.rules.added_definitions import Added, AddRequest, Update, UpdateRequest
from slipway.runtime.rules.import_definitions import ImportedDefinitions, ImportRequest
from slipway.runtime.rules.listed_definitions import (
    Explanation,
    ExplanationRequest,
    Rows,
    RowsRequest,
)
from slipway.runtime.rules.new_definitions import (
    NPM_KIND,
    WHEEL_KIND,
)


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


async def _import(
    goal: NodeDefinitionsSubsystem, into: str, console: Console, workspace: Workspace
) -> None:
    if goal.options.is_default("into"):
        raise SlipwayError(
            "an import needs a folder of its own",
            where="option --into",
            found=f"its default, {goal.into}, whose files replace the bundled definitions",
            next="add --into=vendor/node-build, and this folder to [slipway] definition_paths",
        )
    source = os.path.join(get_buildroot(), os.path.expanduser(goal.import_from))
    imported = await Get(ImportedDefinitions, ImportRequest(source, into, goal.filter))
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
    if (goal.sha256 and not source) or (source and not goal.add):
        raise SlipwayError(
            "the options --sha256 and --from are for --add from a distribution",
            where="option --sha256" if goal.sha256 and not source else "option --from",
            next="./pants node-definitions --add=22.23.3 --from=<folder or address>",
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
        await _import(goal, into, console, workspace)
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
