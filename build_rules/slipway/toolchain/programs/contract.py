"""Runs the contract tests of a toolchain image, inside the image.

Each script runs in its own copy of all contract files. If the image has an ABI policy, the binaries
that a script leaves there are checked against it. Writes `contract.json`, the list of binaries.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Tuple

from slipway.abi import audit
from slipway.abi.audit import AuditedFile
from slipway.abi.policy import AbiPolicy
from slipway.archive import layers
from slipway.core import placeholders
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.elf import facts
from slipway.isolation import jailed
from slipway.step.frame import run
from slipway.step.interface import ReportFile, StepProgram

_SOURCES = "in/contract"


@dataclass(frozen=True)
class Arguments:
    """The ABI policy of the image, if it has one."""

    policy: Optional[AbiPolicy] = None


@dataclass(frozen=True)
class AuditedBinary:
    path: str
    verdict: str


@dataclass(frozen=True)
class Report:
    binaries: Tuple[AuditedBinary, ...]


class Outputs(NamedTuple):
    report: ReportFile[Report] = ReportFile("contract.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def test(arguments: Arguments) -> None:
    scripts = [entry.name for entry in layers.walk(_SOURCES) if entry.name.endswith(".sh")]
    if not scripts:
        raise SlipwayError(
            "the contract tests of the image contain no script",
            where=f"{placeholders.ORIGIN}, field contract_tests",
            next='add a script with a name such as build.sh: contract_tests=["contract/**"]',
        )
    audited: List[AuditedFile] = []
    for script in scripts:
        folder = os.path.join("contract", script.replace("/", "-"))
        shutil.copytree(_SOURCES, folder, copy_function=shutil.copyfile)
        print(f"-- {script}")
        argv = ["/bin/sh", os.path.basename(script)]
        place = os.path.join(folder, os.path.dirname(script))
        status, last = jailed.run(argv, place, os.environ, writable=[folder])
        if status != 0:
            raise SlipwayError(
                f'the contract test "{script}" failed with exit status {status}',
                where=placeholders.ORIGIN,
                found="\n".join(last),
                next="correct the image or the test",
            )
        if arguments.policy is not None:
            audited.extend(_audit(folder, arguments.policy))
    OUTPUTS.report.write(Report(tuple(AuditedBinary(one.path, one.verdict) for one in audited)))


def _audit(folder: str, policy: AbiPolicy) -> List[AuditedFile]:
    found = audit.audit(facts.facts_of_layer(layers.walk(folder)), {}, policy, ())
    for one in found:
        print(f"   {one.verdict:7} {one.path} {' '.join(one.highest.values())}")
    breaches = [str(breach) for one in found for breach in one.breaches]
    if breaches:
        raise SlipwayErrors(
            "binaries of the contract tests do not load on the oldest host",
            breaches,
            where=f"{placeholders.ORIGIN}, field abi_policy",
            next="correct the link surface of the image, or the ABI policy",
        )
    return found


if __name__ == "__main__":
    run(PROGRAM, test)
