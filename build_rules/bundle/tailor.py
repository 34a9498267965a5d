"""`tailor` for Node.js applications: a bundle and a release for each npm lock that has none."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pants.core.goals.tailor import PutativeTarget, PutativeTargets, PutativeTargetsRequest
from pants.engine.fs import PathGlobs, Paths
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import AllTargets
from pants.engine.unions import UnionRule

from build_rules.target_types import NodeAppBundle, NpmLockField, ReleaseTarball


@dataclass(frozen=True)
class PutativeNodeAppsRequest(PutativeTargetsRequest):
    pass


@rule(desc="Find Node.js applications without a bundle")
async def find_putative_apps(
    request: PutativeNodeAppsRequest, targets: AllTargets
) -> PutativeTargets:
    found = await Get(Paths, PathGlobs, request.path_globs("package-lock.json"))
    owned = {target[NpmLockField].path for target in targets if target.has_field(NpmLockField)}
    putative = []
    for path in sorted(set(found.files) - owned):
        if "node_modules" in path.split("/"):
            continue
        folder = os.path.dirname(path)
        putative.append(
            PutativeTarget(
                folder,
                "bundle",
                NodeAppBundle.alias,
                triggering_sources=[],
                # Of files that another target owns too, tailor would write a `sources` field.
                owned_sources=[],
            )
        )
        putative.append(
            PutativeTarget.for_target_type(
                ReleaseTarball,
                path=folder,
                name="release",
                triggering_sources=[],
                kwargs={"bundle": ":bundle"},
            )
        )
    return PutativeTargets(putative)


def rules():
    return [*collect_rules(), UnionRule(PutativeTargetsRequest, PutativeNodeAppsRequest)]
