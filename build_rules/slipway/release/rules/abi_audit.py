"""The goal `abi-audit`: the oldest hosts on which each binary of a release loads.

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
from pants.util.strutil import softwrap

from slipway.abi.table import Format, breaches_of, render
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.release.rules.abi_gate import Audited, FileAuditRequest, ReleaseAuditRequest
from slipway.release.rules.contents import ReleaseTarballFieldSet
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainNamed

_FOR_FILES = "//toolchains/gcc48"


class AbiAuditSubsystem(LineOriented, GoalSubsystem):
    name = "abi-audit"
    help = "Lists the binaries of releases, what they need on a host, and violations of the ABI policy."

    file = StrListOption(
        help=softwrap(
            """
            The paths of archives to audit instead of targets.

            Example: `./pants abi-audit --file=dist/apps.koa-kkl/release/koa-kkl-1.4.0-prod.tar.gz`.
            """
        ),
    )
    toolchain = StrOption(
        default=None,
        help=softwrap(
            """
            The `node_toolchain` with the ABI policy to check. The default is the toolchain of the
            release's bundle, and `//toolchains/gcc48` for files.

            Example: `./pants abi-audit --toolchain=//toolchains/gcc48 //apps/koa-kkl:release`.
            """
        ),
    )
    format = EnumOption(
        default=Format.TABLE,
        help=softwrap(
            """
            The output format: a table for people, or JSON.

            Example: `./pants abi-audit --format=json //apps/koa-kkl:release`.
            """
        ),
    )


class AbiAudit(Goal):
    subsystem_cls = AbiAuditSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@dataclass(frozen=True)
class ReleaseFileRequest:
    """A request for an archive at any path, also in folders that Pants ignores, such as dist/."""

    path: str


@dataclass(frozen=True)
class ReleaseFile:
    """`digest` contains the archive as `name`; `label` is its name in the table."""

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
            f'cannot read the archive "{request.path}"',
            where="the option `[abi-audit] file`",
            found=str(error.strerror),
            next="correct the path",
        ) from None
    name = os.path.basename(request.path)
    digest = await Get(Digest, CreateDigest([FileContent(name, content)]))
    return ReleaseFile(name, digest, request.path)


@goal_rule
async def abi_audit(console: Console, goal: AbiAuditSubsystem, targets: Targets) -> AbiAudit:
    chosen = [one for one in targets if ReleaseTarballFieldSet.is_applicable(one)]
    if not goal.file and not chosen:
        raise SlipwayError(
            "./pants abi-audit needs a release_tarball or --file",
            found="no release_tarball among the targets, and no option --file",
            next="./pants abi-audit //apps/koa-kkl:release",
        )
    toolchain = None
    if goal.toolchain or goal.file:
        origin = "the option `[abi-audit] toolchain`"
        inputs = UnparsedAddressInputs(
            [goal.toolchain or _FOR_FILES], owning_address=None, description_of_origin=origin
        )
        named = ToolchainNamed(inputs, "the toolchain with the ABI policy", origin)
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


def rules() -> Rules:
    return collect_rules()
