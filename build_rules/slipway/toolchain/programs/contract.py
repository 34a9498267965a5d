"""Runs the contract tests of a toolchain image, inside it.

Each script runs in a copy of all contract files of its own.  Binaries that it leaves there are held
against the ABI policy, where the image has one.  Leaves `contract.json`, the table of binaries.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, Dict, List

from slipway.abi import audit
from slipway.abi import policy as abi_policy
from slipway.abi.audit import AuditedFile
from slipway.archive import layers
from slipway.core import placeholders
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.elf import facts
from slipway.isolation import jailed
from slipway.step.frame import run_untyped

_SOURCES, _POLICY = "in/contract", "in/abi.json"


def test(arguments: Dict[str, Any]) -> None:
    scripts = [entry.name for entry in layers.walk(_SOURCES) if entry.name.endswith(".sh")]
    if not scripts:
        raise SlipwayError(
            "the contract tests of the image hold no script",
            where=f"{placeholders.ORIGIN}, field contract_tests",
            next='name one that ends in .sh, such as contract_tests=["contract/**"]',
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
        if os.path.exists(_POLICY):
            audited.extend(_audit(folder))
    with open("out/contract.json", "w", encoding="utf-8") as file:
        json.dump([{"path": one.path, "verdict": one.verdict} for one in audited], file)


def _audit(folder: str) -> List[AuditedFile]:
    with open(_POLICY, encoding="utf-8") as file:
        policy = abi_policy.read(json.load(file), "the ABI policy")
    found = audit.audit(facts.facts_of_layer(layers.walk(folder)), {}, policy, ())
    for one in found:
        print(f"   {one.verdict:7} {one.path} {' '.join(one.highest.values())}")
    breaches = [str(breach) for one in found for breach in one.breaches]
    if breaches:
        raise SlipwayErrors(
            "binaries of the contract tests do not load on the oldest host",
            breaches,
            where=f"{placeholders.ORIGIN}, field abi_policy",
            next="correct the link surface of the image, or the policy",
        )
    return found


if __name__ == "__main__":
    run_untyped(test)
