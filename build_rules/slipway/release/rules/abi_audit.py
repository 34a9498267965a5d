"""The goal `abi-audit`: which old hosts the binaries of a release load on, file by file.

./pants abi-audit //apps/koa-kkl:release
./pants abi-audit --file=some.tar.gz
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.addresses import UnparsedAddressInputs
from pants.engine.console import Console
from pants.engine.fs import CreateDigest, Digest, FileContent
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.rules import Get, MultiGet, _uncacheable_rule, collect_rules, goal_rule
from pants.engine.target import Targets
from pants.option.option_types import EnumOption, StrListOption, StrOption
from pants.util.strutil import help_text

from slipway.abi.table import Format, breaches_of, render
from slipway.core.errors import SlipwayError
from slipway.release.rules.abi_gate import Audited, FileAuditRequest
from slipway.release.rules.tarball import ReleaseAuditRequest, ReleaseTarballFieldSet
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainNamed

_FOR_FILES = "//toolchains/gcc48"


class AbiAuditSubsystem(LineOriented, GoalSubsystem):
    name = "abi-audit"
    help = "Lists the binaries of releases, what they need of a host, and what breaks the policy."

    file = StrListOption(
        help=help_text(
            """
            Archives to look into instead of targets, by their paths.

            Example: `./pants abi-audit --file=dist/apps.koa-kkl/release/koa-kkl-1.4.0-prod.tar.gz`.
            """
        ),
    )
    toolchain = StrOption(
        default=None,
        help=help_text(
            """
            The `node_toolchain` whose ABI policy counts. Without it, that of the release's bundle,
            and `//toolchains/gcc48` for files.

            Example: `./pants abi-audit --toolchain=//toolchains/gcc48 //apps/koa-kkl:release`.
            """
        ),
    )
    format = EnumOption(
        default=Format.TABLE,
        help=help_text(
            """
            A table for people, or JSON.

            Example: `./pants abi-audit --format=json //apps/koa-kkl:release`.
            """
        ),
    )


class AbiAudit(Goal):
    subsystem_cls = AbiAuditSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@dataclass(frozen=True)
class ReleaseFileRequest:
    """An archive that lies anywhere, also where Pants does not look, such as below dist/."""

    path: str


@dataclass(frozen=True)
class ReleaseFile:
    """`digest` holds the archive as `name`; `label` is what the table calls it."""

    name: str
    digest: Digest
    label: str


@_uncacheable_rule
async def read_release_file(request: ReleaseFileRequest) -> ReleaseFile:
    try:
        with open(os.path.join(get_buildroot(), request.path), "rb") as file:
            content = file.read()
    except OSError as error:
        raise SlipwayError(
            f'the archive "{request.path}" cannot be read',
            where="the option `[abi-audit] file`",
            found=str(error.strerror),
            next="name one that is there",
        ) from None
    name = os.path.basename(request.path)
    digest = await Get(Digest, CreateDigest([FileContent(name, content)]))
    return ReleaseFile(name, digest, request.path)


@goal_rule
async def abi_audit(console: Console, goal: AbiAuditSubsystem, targets: Targets) -> AbiAudit:
    chosen = [one for one in targets if ReleaseTarballFieldSet.is_applicable(one)]
    if not goal.file and not chosen:
        raise SlipwayError(
            "there is nothing to audit",
            found="no release_tarball among the targets, and no file",
            next="./pants abi-audit //apps/koa-kkl:release",
        )
    toolchain = None
    if goal.toolchain or goal.file:
        origin = "the option `[abi-audit] toolchain`"
        inputs = UnparsedAddressInputs(
            [goal.toolchain or _FOR_FILES], owning_address=None, description_of_origin=origin
        )
        named = ToolchainNamed(inputs, "what holds the ABI policy", origin)
        toolchain = await Get(ToolchainFieldSet, ToolchainNamed, named)
    of_targets = await MultiGet(
        Get(
            Audited,
            ReleaseAuditRequest(
                ReleaseTarballFieldSet.create(one), toolchain if goal.toolchain else None
            ),
        )
        for one in chosen
    )
    files = await MultiGet(Get(ReleaseFile, ReleaseFileRequest(path)) for path in goal.file)
    of_files: Tuple[Audited, ...] = ()
    if toolchain is not None:
        of_files = await MultiGet(
            Get(Audited, FileAuditRequest(file.label, toolchain, file.digest, file.name))
            for file in files
        )
    reports = {one.label: one.files for one in (*of_targets, *of_files)}
    with goal.line_oriented(console) as print_line:
        print_line(render(reports, goal.format))
    return AbiAudit(exit_code=1 if any(map(breaches_of, reports.values())) else 0)


def rules():
    return collect_rules()
