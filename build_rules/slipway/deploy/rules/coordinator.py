"""The coordinator as a program: a folder for the goals, and one file for machines without Pants."""

from __future__ import annotations

import os
import pkgutil
from dataclasses import dataclass

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.fs import AddPrefix, CreateDigest, Digest, FileContent, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.unions import UnionRule

from slipway.core.rules.registration import Rules
from slipway.deploy.programs import coordinator, pack_coordinator
from slipway.deploy.rules.deployment import (
    DeploymentRequest,
    DescribedDeployment,
    NodeDeploymentFieldSet,
)
from slipway.step.rules.build_step import HostStep, StepResult
from slipway.step.rules.program import Program, ProgramRequest, path_of

_PACKAGE = "slipway.deploy.programs"
_DATA = ("__init__.py", "agent.sh", "ask.js")
# For CPython 3.10 and older, whose standard library has no TOML reader.
_TOML = ("__init__.py", "decoder.py", "encoder.py", "ordered.py", "tz.py")


@dataclass(frozen=True)
class CoordinatorRequest:
    """Asks for the coordinator's files."""


@dataclass(frozen=True)
class CoordinatorProgram:
    digest: Digest


def _data(package: str, name: str) -> bytes:
    content = pkgutil.get_data(package, name)
    assert content is not None
    return content


@rule
async def gather_coordinator(request: CoordinatorRequest) -> CoordinatorProgram:
    folder = _PACKAGE.replace(".", "/")
    program, data = await MultiGet(
        Get(Program, ProgramRequest((coordinator.__name__,))),
        Get(
            Digest,
            CreateDigest(
                [
                    *(FileContent(f"{folder}/{one}", _data(_PACKAGE, one)) for one in _DATA),
                    *(FileContent(f"toml/{one}", _data("toml", one)) for one in _TOML),
                ]
            ),
        ),
    )
    return CoordinatorProgram(await Get(Digest, MergeDigests([program.digest, data])))


@rule(desc="Package deployment")
async def package_deployment(field_set: NodeDeploymentFieldSet) -> BuiltPackage:
    described, program = await MultiGet(
        Get(DescribedDeployment, DeploymentRequest(field_set)),
        Get(CoordinatorProgram, CoordinatorRequest()),
    )
    result = await Get(
        StepResult,
        HostStep(
            pack_coordinator.PROGRAM(
                pack_coordinator.Arguments(main=path_of(coordinator.__name__))
            ),
            outputs=(pack_coordinator.PACKED,),
            description=f"Pack {pack_coordinator.PACKED}",
            origin=str(field_set.address),
            inputs=await Get(Digest, AddPrefix(program.digest, "in")),
        ),
    )
    folder = field_set.output_path.value_or_default(file_ending=None)
    name = f"{field_set.address.target_name}.json"
    described_file = await Get(
        Digest, CreateDigest([FileContent(name, described.text.encode() + b"\n")])
    )
    every = await Get(Digest, MergeDigests([result.digest, described_file]))
    return BuiltPackage(
        await Get(Digest, AddPrefix(every, folder)),
        tuple(
            BuiltPackageArtifact(os.path.join(folder, one))
            for one in (pack_coordinator.PACKED, name)
        ),
    )


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PackageFieldSet, NodeDeploymentFieldSet)]
