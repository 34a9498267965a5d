"""Holds a fetch lock against the npm tarballs that this machine has, for `lint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from pants.engine.fs import EMPTY_DIGEST
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles.fetch_lock import FetchLock, start_over
from slipway.npm.programs import compared_contents
from slipway.step.rules import outputs
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult


@dataclass(frozen=True)
class ComparedContents:
    """What the contents that this machine has say of a fetch lock."""

    faults: Tuple[str, ...]
    unknown: int

    def require_equal(self, fetched: FetchLock) -> None:
        if self.faults:
            raise SlipwayErrors(
                f'the fetch lock "{fetched.path}" names different contents in one line',
                self.faults,
                where=fetched.path,
                next=start_over(fetched.path),
            )

    def told(self, fetched: FetchLock) -> List[str]:
        """A line for people on what could not be compared, if there is any."""
        if not self.unknown:
            return []
        line = (
            f"{fetched.path}: {self.unknown} of {len(fetched.entries)} contents were never fetched "
            "on this machine: their SHA-256 could not be compared with their integrity; the first "
            "build that installs them does it"
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


def rules():
    return collect_rules()
