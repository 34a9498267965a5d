"""The interface between programs and the rules that start them: arguments and outputs.

The module of a program declares `Arguments` (a frozen dataclass), `PROGRAM` and its outputs. Rules
import them, so that mypy finds a wrong name or type before a build step runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, Type, TypeVar

from slipway.step import records

ARGUMENTS = "arguments.json"
"""The file with a program's arguments, in its working folder or among its inputs."""

OUT = "out"
"""The folder for the outputs of a program."""

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Call:
    """The module name of a program, and its arguments as canonical JSON."""

    program: str
    arguments: str = "{}"


@dataclass(frozen=True)
class StepProgram(Generic[A]):
    """A program of build steps; calling it with arguments returns the Call for a step."""

    module: str
    kind: Type[A]

    def __call__(self, arguments: A) -> Call:
        return Call(self.module, records.as_json(arguments))

    def read(self, arguments: str) -> A:
        """Parses the arguments of a Call; raises WrongRecord."""
        return records.read(self.kind, arguments)

    def read_file(self, path: str) -> A:
        with open(path, encoding="utf-8") as file:
            return self.read(file.read())


class Output(str):
    """The name of an output file of a program, in the folder OUT."""

    @property
    def path(self) -> str:
        """The path to which the program writes the file."""
        return os.path.join(OUT, self)


class ReportFile(Output, Generic[R]):
    """An output file that contains a single record as JSON."""

    _kind: Type[R]

    def __new__(cls, name: str, kind: Type[R]) -> ReportFile[R]:
        report = super().__new__(cls, name)
        report._kind = kind
        return report

    def write(self, record: R) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(records.as_json(record))

    def read(self, text: str) -> R:
        return records.read(self._kind, text)
