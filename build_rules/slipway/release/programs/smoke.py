"""Lays out a release as on a host, and runs one script in it: the script sees only these files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Mapping, NamedTuple

from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.isolation import jailed
from slipway.release.launcher import Launcher
from slipway.release.programs.laid_out import FOLDER, lay_out
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram


@dataclass(frozen=True)
class Arguments:
    """`env` is added to the script's environment; `launcher` has the values for `bin/app`."""

    script: str
    env: Mapping[str, str]
    launcher: Launcher


class Outputs(NamedTuple):
    passed: Output = Output("smoke.ok")


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def smoke(arguments: Arguments) -> None:
    lay_out(arguments.launcher)
    script = arguments.script
    status, last = jailed.run(
        [f"{FOLDER}/bin/app", "run", script],
        ".",
        {**os.environ, **arguments.env},
        writable=[FOLDER],
    )
    if status != 0:
        raise SlipwayError(
            f'the smoke script "{script}" failed with exit status {status} in the unpacked release',
            where=f"{placeholders.ORIGIN}, field smoke_script",
            found="\n".join(last),
            next="if a module is not found, move it from devDependencies to dependencies: a release "
            "contains only dependencies",
        )
    with open(OUTPUTS.passed.path, "w", encoding="utf-8") as file:
        file.write(f"{script}\n")


if __name__ == "__main__":
    run(PROGRAM, smoke)
