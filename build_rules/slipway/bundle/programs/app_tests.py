"""Runs the test script of an application, with all of its packages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple, Tuple

from slipway.bundle.programs.laid_out import APP, lay_out, subject
from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.runtime import node_process
from slipway.step.frame import run
from slipway.step.interface import Output, StepProgram


@dataclass(frozen=True)
class Arguments:
    """The npm script; `executables` are the executable files among the sources.

    `member` is the application's folder in npm workspaces.
    """

    script: str
    executables: Tuple[str, ...]
    member: str = ""


class Outputs(NamedTuple):
    passed: Output = Output("tests.ok")


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def test(arguments: Arguments) -> None:
    lay_out(arguments.executables)
    script = arguments.script
    folder = os.path.join(APP, arguments.member)
    status, _ = node_process.npm(
        ["run", script], folder, {"CI": "true"}, app=APP, subject=subject(arguments.member)
    )
    if status != 0:
        raise SlipwayError(
            f'the script "{script}" failed with exit status {status}',
            where=f"{placeholders.PACKAGE_JSON}, scripts",
            next=f"run the script by hand: ./pants export --resolve={placeholders.RESOLVE}\n"
            f"if it lacks a file of the application: {placeholders.ORIGIN}, field test_sources",
        )
    with open(OUTPUTS.passed.path, "w", encoding="utf-8") as file:
        file.write(f"{script}\n")


if __name__ == "__main__":
    run(PROGRAM, test)
