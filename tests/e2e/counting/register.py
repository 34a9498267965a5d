"""A Pants backend for the tests: writes down each process of a run, and where its result came from.

Pants tells a work-units callback whether a process ran or was found in a cache. A work unit's name
says nothing of that, and time proves nothing: so the promises about what is built again are tested
on these lines, one JSON object for each process, appended to the file of the option.
"""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping, Optional, Tuple

from pants.engine.internals.scheduler import Workunit
from pants.engine.rules import collect_rules, rule
from pants.engine.streaming_workunit_handler import (
    StreamingWorkunitContext,
    WorkunitsCallback,
    WorkunitsCallbackFactory,
    WorkunitsCallbackFactoryRequest,
)
from pants.engine.unions import UnionRule
from pants.option.option_types import StrOption
from pants.option.subsystem import Subsystem


class Counting(Subsystem):
    options_scope = "counting"
    help = "Where the processes of a run are written down, for tests."

    file = StrOption(default=None, help="The file to append to, such as `/tmp/counts.jsonl`.")


class CountProcesses(WorkunitsCallback):
    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def can_finish_async(self) -> bool:
        return False

    def __call__(
        self,
        *,
        started_workunits: Tuple[Workunit, ...],
        completed_workunits: Tuple[Workunit, ...],
        finished: bool,
        context: StreamingWorkunitContext,
    ) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            for unit in completed_workunits:
                metadata = unit.get("metadata") or {}
                # An attempt that ended in "Missing digest" has a unit too, but no result.
                if "source" in metadata and "definition" in metadata:
                    file.write(_line(metadata) + "\n")


def _line(metadata: Mapping[str, Any]) -> str:
    definition = json.loads(metadata["definition"])
    facts = {
        "description": definition["description"],
        "source": metadata["source"],
        "exit_code": metadata["exit_code"],
        "definition": definition,
    }
    return json.dumps(facts, sort_keys=True)


class CountProcessesRequest:
    pass


def _callback(path: Optional[str]) -> Optional[CountProcesses]:
    return CountProcesses(path) if path else None


@rule
async def count_processes(
    request: CountProcessesRequest, counting: Counting
) -> WorkunitsCallbackFactory:
    path = counting.file
    return WorkunitsCallbackFactory(lambda: _callback(path))


def rules() -> Iterable[Any]:
    return [
        *collect_rules(),
        UnionRule(WorkunitsCallbackFactoryRequest, CountProcessesRequest),
    ]
