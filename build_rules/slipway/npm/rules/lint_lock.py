"""`lint` for npm lockfiles: up to date with package.json, and with a matching fetch lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import FieldSet
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.rules.compared_contents import ComparedContents
from slipway.npm.rules.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock
from slipway.npm.scripts import decisions as script_decisions
from slipway.npm.scripts.decisions import Decision, Rule
from slipway.npm.targets import InstallScriptsField, NpmLockField, PackageJsonField


class NpmLockLint(Subsystem):
    options_scope = "npm-lock-lint"
    name = "npm-lock"
    help = "Checks that package.json, package-lock.json, the fetch lock and install_scripts agree."

    skip = SkipOption("lint")


@dataclass(frozen=True)
class NpmLockLintFieldSet(FieldSet):
    required_fields = (NpmLockField, PackageJsonField)

    lockfile: NpmLockField
    package_json: PackageJsonField
    install_scripts: InstallScriptsField

    def decisions(self) -> Tuple[Rule, ...]:
        where = f"{self.address}, field {self.install_scripts.alias}"
        return script_decisions.parse(entries_of(self.install_scripts), where)


class NpmLockLintRequest(LintTargetsRequest):
    tool_subsystem = NpmLockLint
    field_set_type = NpmLockLintFieldSet
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


@rule(desc="Check npm locks")
async def lint_npm_lock(
    request: NpmLockLintRequest.Batch[NpmLockLintFieldSet, Any],
) -> LintResult:
    by_lock: Dict[str, List[NpmLockLintFieldSet]] = {}
    for field_set in request.elements:
        by_lock.setdefault(field_set.lockfile.path or "", []).append(field_set)
    faults: List[str] = []
    told: List[str] = []
    for path, field_sets in by_lock.items():
        first = field_sets[0]
        try:
            read = await Get(
                ReadNpmLock,
                NpmLockRequest(path, first.package_json.file_path, str(first.address)),
            )
            lock = read.whole
            fetched = await Get(FetchLock, FetchLockRequest(lock))
            for one in field_sets:
                where = f"{one.address}, field {one.install_scripts.alias}"
                script_decisions.check(one.decisions(), lock.packages, where)
                opposites = script_decisions.contradictions(
                    one.decisions(), lock.packages, read.loaded_manifests["package.json"]
                )
                told.extend(f"{where}: {opposite}" for opposite in opposites)
            _require_used(fetched, lock, [one.decisions() for one in field_sets])
            compared = await Get(ComparedContents, FetchLock, fetched)
            compared.require_equal(fetched)
            told.extend(compared.told(fetched))
        except SlipwayError as error:
            faults.append(str(error))
    return LintResult(
        exit_code=1 if faults else 0,
        stdout="\n".join([*faults, *told]),
        stderr="",
        linter_name=NpmLockLint.name,
        partition_description=None,
    )


def _require_used(fetched: FetchLock, lock: NpmLock, decisions: Sequence[Tuple[Rule, ...]]) -> None:
    """Rejects pinned binaries of packages for which no bundle has the decision `prebuilt`."""
    taken = {
        (package.name, package.version)
        for package in lock.packages
        for rules in decisions
        if script_decisions.decide(rules, package) is Decision.PREBUILT
    }
    unused = [one for one in fetched.binaries if (one.name, one.version) not in taken]
    if unused:
        raise SlipwayErrors(
            "no bundle uses these pinned binaries",
            [f"{one.name}@{one.version}: {one.path}" for one in unused],
            where=fetched.path,
            next='remove their lines, or set install_scripts={"'
            + unused[0].name
            + '": "prebuilt"}',
        )


def rules() -> Rules:
    return [*collect_rules(), *NpmLockLintRequest.rules()]
