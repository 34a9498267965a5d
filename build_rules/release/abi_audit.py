"""The goal `abi-audit`: which old hosts the binaries of a release load on, file by file.

./pants abi-audit //apps/koa-kkl:release
./pants abi-audit --file=some.tar.gz
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List

from pants.base.build_environment import get_buildroot
from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.console import Console
from pants.engine.fs import CreateDigest, Digest, DigestContents, FileContent
from pants.engine.goal import Goal, GoalSubsystem, LineOriented
from pants.engine.rules import Get, MultiGet, _uncacheable_rule, collect_rules, goal_rule, rule
from pants.engine.target import Targets, WrappedTarget, WrappedTargetRequest
from pants.option.option_types import EnumOption, StrListOption, StrOption
from pants.util.frozendict import FrozenDict
from pants.util.strutil import help_text

from build_rules.lib.abi_policy import AbiPolicy
from build_rules.lib.abi_table import Format, breaches_of, render
from build_rules.lib.errors import SlipwayError
from build_rules.release.release import Release, ReleaseRequest, ReleaseTarballFieldSet
from build_rules.toolchain.abi import AbiPolicyRequest
from build_rules.toolchain.image import BaseRoot, ToolchainFieldSet
from build_rules.toolchain.step import Step, StepResult, as_arguments


class AbiAuditSubsystem(LineOriented, GoalSubsystem):
    name = "abi-audit"
    help = "Lists the binaries of releases, what they need of a host, and what breaks the policy."

    file = StrListOption(
        help=help_text(
            """
            Archives to look into instead of targets, by their paths.

            For example: `./pants abi-audit --file=dist/apps.koa-kkl/release/koa-kkl-1.4.0-prod.tar.gz`.
            """
        ),
    )
    toolchain = StrOption(
        default="//toolchains/gcc48",
        help=help_text(
            """
            The `node_toolchain` whose ABI policy counts.

            For example: `./pants abi-audit --toolchain=//toolchains/gcc48 //apps/koa-kkl:release`.
            """
        ),
    )
    format = EnumOption(
        default=Format.TABLE,
        help=help_text(
            """
            A table for people, or JSON.

            For example: `./pants abi-audit --format=json //apps/koa-kkl:release`.
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


@dataclass(frozen=True)
class AuditRequest:
    file: ReleaseFile
    policy: AbiPolicy


@dataclass(frozen=True)
class Audited:
    label: str
    report: str


@dataclass(frozen=True)
class AuditPolicyRequest:
    toolchain: str


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


@rule
async def find_audit_policy(request: AuditPolicyRequest) -> AbiPolicy:
    origin = "the option `[abi-audit] toolchain`"
    addresses = await Get(
        Addresses,
        UnparsedAddressInputs(
            [request.toolchain], owning_address=None, description_of_origin=origin
        ),
    )
    wrapped = await Get(
        WrappedTarget, WrappedTargetRequest(addresses[0], description_of_origin=origin)
    )
    target = wrapped.target
    if (
        not ToolchainFieldSet.is_applicable(target)
        or not ToolchainFieldSet.create(target).abi_policy.value
    ):
        raise SlipwayError(
            f'"{request.toolchain}" has no ABI policy',
            where=origin,
            found=f"{target.address}, a {target.alias}",
            next="name a node_toolchain with the field abi_policy, such as //toolchains/gcc48",
        )
    return await Get(AbiPolicy, AbiPolicyRequest(ToolchainFieldSet.create(target)))


@rule(desc="Audit binaries")
async def audit_release(request: AuditRequest, base: BaseRoot) -> Audited:
    file = request.file
    result = await Get(
        StepResult,
        Step(
            program="audit_abi",
            trees=base.trees,
            outputs=("audit.json",),
            description=f"Audit the binaries of {file.label}",
            origin=file.label,
            arguments=as_arguments({"file": file.name, "policy": request.policy.as_dict()}),
            large=FrozenDict({"release": file.digest}),
        ),
    )
    report = await Get(DigestContents, Digest, result.digest)
    return Audited(file.label, report[0].content.decode())


@goal_rule
async def abi_audit(console: Console, goal: AbiAuditSubsystem, targets: Targets) -> AbiAudit:
    chosen = [one for one in targets if ReleaseTarballFieldSet.is_applicable(one)]
    policy = await Get(AbiPolicy, AuditPolicyRequest(goal.toolchain))
    if not goal.file and not chosen:
        raise SlipwayError(
            "there is nothing to audit",
            found="no release_tarball among the targets, and no file",
            next="./pants abi-audit //apps/koa-kkl:release",
        )
    releases = await MultiGet(
        Get(Release, ReleaseRequest(ReleaseTarballFieldSet.create(one))) for one in chosen
    )
    named = await MultiGet(Get(ReleaseFile, ReleaseFileRequest(path)) for path in goal.file)
    made = [
        ReleaseFile(f"{release.stem}.tar.gz", release.digest, str(target.address))
        for target, release in zip(chosen, releases)
    ]
    audited = await MultiGet(Get(Audited, AuditRequest(file, policy)) for file in (*made, *named))
    reports: Dict[str, List[Dict[str, Any]]] = {
        one.label: json.loads(one.report)["files"] for one in audited
    }
    with goal.line_oriented(console) as print_line:
        print_line(render(reports, goal.format))
    return AbiAudit(exit_code=1 if any(map(breaches_of, reports.values())) else 0)


def rules():
    return collect_rules()
