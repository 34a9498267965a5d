"""Compares a fetch lock with the npm tarballs in this machine's cache, for `lint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from pants.engine.fs import EMPTY_DIGEST
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.errors import SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles.fetch_lock import FetchLock, start_over
from slipway.npm.programs import compared_contents
from slipway.step.rules import outputs
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult


@dataclass(frozen=True)
class ComparedContents:
    """The result of the comparison: mismatches, and the number of tarballs that were not compared."""

    faults: Tuple[str, ...]
    unknown: int

    def require_equal(self, fetched: FetchLock) -> None:
        if self.faults:
            raise SlipwayErrors(
                f'hash mismatch: the fetch lock "{fetched.path}" has hashes of different contents in one line',
                self.faults,
                where=fetched.path,
                next=start_over(fetched.path),
            )

    def told(self, fetched: FetchLock) -> List[str]:
        """A line about tarballs that could not be compared, if there are any."""
        if not self.unknown:
            return []
        line = (
            f"{fetched.path}: cannot compare the SHA-256 of {self.unknown} of "
            f"{len(fetched.entries)} tarballs with their integrity: this machine has not fetched them "
            "yet; the first build that installs them compares both"
        )
        return [line]


@rule(desc="Compare npm tarballs with the fetch lock")
async def compare_contents(fetched: FetchLock) -> ComparedContents:
    entries = tuple(
        compared_contents.Entry(
            name=entry.name,
            version=entry.version,
            integrities=tuple(entry.accepts),
            sha256=entry.sha256,
            size=entry.size,
        )
        for entry in fetched.entries
    )
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            compared_contents.PROGRAM(compared_contents.Arguments(entries)),
            inputs=EMPTY_DIGEST,
            description=f"Compare contents with {fetched.path}",
        ),
    )
    report = await outputs.read_report(result.digest, compared_contents.REPORT)
    return ComparedContents(report.faults, report.unknown)


def rules() -> Rules:
    return collect_rules()
