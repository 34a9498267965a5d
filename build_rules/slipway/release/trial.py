"""The stages of a release under one Node, for `try-runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from slipway.core import text_table
from slipway.release import differences
from slipway.release.differences import Contents

PASSED, FAILED, NONE = "passed", "FAILED", "-"
INSTALL, BUILD, TESTS = "install", "build, native packages", "tests"
PROBE, SMOKE, GATE = "start probe", "smoke script", "ABI gate"
STAGES = (INSTALL, BUILD, TESTS, PROBE, SMOKE, GATE)


@dataclass(frozen=True)
class Stage:
    """A stage that ran; `fault` is the message of its failure, or empty."""

    name: str
    result: str
    fault: str = ""


@dataclass(frozen=True)
class Trial:
    """A release under the Node `node`; `contents` is None if a stage failed."""

    node: str
    stages: Tuple[Stage, ...]
    contents: Optional[Contents]

    @property
    def faults(self) -> Tuple[str, ...]:
        return tuple(one.fault for one in self.stages if one.fault)

    def result_of(self, name: str) -> str:
        """The result of a stage, or - if it did not run."""
        return next((one.result for one in self.stages if one.name == name), NONE)


def render(before: Trial, after: Trial) -> str:
    """A table of the stages, and of the facts and files that differ if both releases exist."""
    rows: List[Sequence[str]] = [("", f"Node.js {before.node}", f"Node.js {after.node}")]
    rows += [(name, before.result_of(name), after.result_of(name)) for name in STAGES]
    changed: List[str] = []
    if before.contents is not None and after.contents is not None:
        rows += differences.facts(before.contents, after.contents)
        changed = ["", *differences.changed_files(before.contents, after.contents)]
    faults = [text for one in (before, after) for fault in one.faults for text in ("", fault)]
    return "\n".join([text_table.render(rows), *changed, *faults])
