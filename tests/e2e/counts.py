"""What a run of Pants did, process by process, and where each result came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

RAN, HIT_LOCALLY, HIT_REMOTELY, MEMOIZED = "Ran", "HitLocally", "HitRemotely", "Memoized"

# Fetching is not a build step: it is never cached, and runs only for a step that is not a cache hit.
FETCH = "slipway.step.programs.locked_files"
STEPS = ("slipway.step.programs.enter", "slipway.toolchain.programs.assemble")


@dataclass(frozen=True)
class StepRun:
    """One process: what it was for, where its result came from, and all that Pants knows of it."""

    description: str
    source: str
    exit_code: int
    definition: Mapping[str, Any]

    @property
    def program(self) -> str:
        """The program that Pants started, by its module; for a probe, its whole command."""
        argv: List[str] = self.definition["argv"]
        modules = [word for word in argv if word.startswith("slipway.")]
        return modules[0] if modules else " ".join(argv)

    @property
    def is_step(self) -> bool:
        return self.program in STEPS

    @property
    def is_fetch(self) -> bool:
        return self.program == FETCH

    @property
    def key(self) -> str:
        """A digest of all that goes into the action: texts for people and places do not."""
        outside = ("description", "level", "append_only_caches", "execution_environment")
        inside = {name: value for name, value in self.definition.items() if name not in outside}
        return hashlib.sha256(json.dumps(inside, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Counts:
    """All processes of a run, in the order in which they ended."""

    runs: Tuple[StepRun, ...]

    @classmethod
    def read(cls, path: Path) -> Counts:
        if not path.exists():
            return cls(())
        lines = path.read_text(encoding="utf-8").splitlines()
        return cls(tuple(StepRun(**json.loads(line)) for line in lines))

    def steps(self, source: str) -> List[str]:
        """The build steps whose result came from there."""
        return sorted(one.description for one in self.runs if one.is_step and one.source == source)

    @property
    def ran(self) -> List[str]:
        return self.steps(RAN)

    @property
    def fetched(self) -> List[str]:
        return sorted(one.description for one in self.runs if one.is_fetch)

    @property
    def probes(self) -> List[str]:
        """Processes that are neither build steps nor fetches: look-ups of the machine."""
        return sorted(one.program for one in self.runs if not (one.is_step or one.is_fetch))

    @property
    def keys(self) -> Dict[str, str]:
        return {one.description: one.key for one in self.runs if one.is_step}

    def __str__(self) -> str:
        return "\n".join(f"{one.source:>12}  {one.description}" for one in self.runs)
