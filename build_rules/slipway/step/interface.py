"""What a program shows to the rules that start it: its arguments, and the files that it leaves.

A program's module declares `Arguments`, a frozen dataclass, `PROGRAM` and its outputs; rules import
them, so that a wrong name or type fails in mypy and not in a build step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, Type, TypeVar

from slipway.step import records

ARGUMENTS = "arguments.json"
"""The file with a program's arguments, in its own folder or among its inputs."""

OUT = "out"
"""The folder of what a program leaves."""

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Call:
    """A program, by the name of its module, with its arguments as canonical JSON."""

    program: str
    arguments: str = "{}"


@dataclass(frozen=True)
class StepProgram(Generic[A]):
    """A program of build steps; called with its arguments, it is what a step runs."""

    module: str
    kind: Type[A]

    def __call__(self, arguments: A) -> Call:
        return Call(self.module, records.as_json(arguments))

    def read(self, arguments: str) -> A:
        """The arguments in the JSON of a Call."""
        return records.read(self.kind, arguments)

    def read_file(self, path: str) -> A:
        with open(path, encoding="utf-8") as file:
            return self.read(file.read())


class Output(str):
    """The name of a file that a program leaves in the folder OUT of its step."""

    @property
    def path(self) -> str:
        """Where the program writes it."""
        return os.path.join(OUT, self)


class ReportFile(Output, Generic[R]):
    """An output that is one record, as JSON."""

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
