"""`lint` for npm locks: in step with package.json, and with a fetch lock that fits."""

from __future__ import annotations

from dataclasses import dataclass

from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import FieldSet
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem

from build_rules.lib.errors import SlipwayError
from build_rules.lib.fetch_lock import FetchLock
from build_rules.npm.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock
from build_rules.target_types import NpmLockField, PackageJsonField


class NpmLockLint(Subsystem):
    options_scope = "npm-lock-lint"
    name = "npm-lock"
    help = "Checks that package.json, package-lock.json and the fetch lock agree."

    skip = SkipOption("lint")


@dataclass(frozen=True)
class NpmLockLintFieldSet(FieldSet):
    required_fields = (NpmLockField, PackageJsonField)

    lockfile: NpmLockField
    package_json: PackageJsonField


class NpmLockLintRequest(LintTargetsRequest):
    tool_subsystem = NpmLockLint
    field_set_type = NpmLockLintFieldSet
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


@rule(desc="Check npm locks")
async def lint_npm_lock(
    request: NpmLockLintRequest.Batch[NpmLockLintFieldSet, object],
) -> LintResult:
    faults = []
    seen = set()
    for field_set in request.elements:
        path = field_set.lockfile.path or ""
        if path in seen:
            continue
        seen.add(path)
        try:
            read = await Get(
                ReadNpmLock,
                NpmLockRequest(path, field_set.package_json.file_path, str(field_set.address)),
            )
            await Get(FetchLock, FetchLockRequest(read.lock))
        except SlipwayError as error:
            faults.append(str(error))
    return LintResult(
        exit_code=1 if faults else 0,
        stdout="\n".join(faults),
        stderr="",
        linter_name=NpmLockLint.name,
        partition_description=None,
    )


def rules():
    return [*collect_rules(), *NpmLockLintRequest.rules()]
