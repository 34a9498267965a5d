"""Holds a fetch lock against the npm tarballs that this machine has, for `lint`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import List, Tuple

from pants.engine.fs import CreateDigest, Digest, FileContent
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.errors import SlipwayErrors
from slipway.npm.lockfiles.fetch_lock import FetchLock, start_over
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
    entries = [
        {
            "name": one.name,
            "version": one.version,
            "integrities": one.accepts,
            "sha256": one.sha256,
            "size": one.size,
        }
        for one in fetched.entries
    ]
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            program="slipway.npm.programs.compared_contents",
            argv=("--request=request.json",),
            inputs=await Get(
                Digest, CreateDigest([FileContent("request.json", json.dumps(entries).encode())])
            ),
            description=f"Compare contents with {fetched.path}",
        ),
    )
    answer = json.loads(result.stdout.splitlines()[-1])
    return ComparedContents(tuple(answer["faults"]), answer["unknown"])


def rules():
    return collect_rules()
