"""Fetching many files: on many threads, with one report of all failures."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from slipway.core.errors import SlipwayErrors
from slipway.fetch.download import Stored
from slipway.fetch.faults import FetchFailed, FetchFault

# Kept-open connections. More bring nothing, and registries begin to turn them away.
THREADS = 24
_TOLD = 10


@dataclass(frozen=True)
class Job:
    """One thing to fetch; `run` does it, by whichever thread is free."""

    subject: str
    size: int
    run: Callable[[], Stored]


def run_jobs(jobs: Sequence[Job]) -> List[Stored]:
    """Runs all jobs, and returns their results in order; raises once for all that failed."""
    waiting: queue.SimpleQueue[Optional[int]] = queue.SimpleQueue()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    # The largest first: nothing large is left to wait for at the end.
    for number in sorted(range(len(jobs)), key=lambda one: (-jobs[one].size, one)):
        waiting.put(number)
    results: Dict[int, Stored] = {}
    faults: Dict[int, FetchFault] = {}
    fatal: List[BaseException] = []

    def work() -> None:
        while not fatal:
            number = waiting.get()
            if number is None:
                return
            try:
                results[number] = jobs[number].run()
            except FetchFailed as failed:
                faults[number] = failed.fault
            except BaseException as error:  # raised again by the main thread
                fatal.append(error)
            done.put(number)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(jobs)))]
    for thread in threads:
        waiting.put(None)
        thread.start()
    _wait(jobs, done, fatal)
    if fatal:
        raise fatal[0]
    if faults:
        raise report(jobs, faults)
    return [results[number] for number in range(len(jobs))]


def report(jobs: Sequence[Job], faults: Mapping[int, FetchFault]) -> SlipwayErrors:
    """One error for all faults: the first ten, a count, and every way out once."""
    grouped: Dict[Tuple[str, str], List[FetchFault]] = {}
    for number in sorted(faults):
        fault = faults[number]
        name = "" if fault.shared else fault.subject
        # Of a shared reason, only the address differs from file to file.
        key = (name, fault.next if fault.shared else fault.reason)
        grouped.setdefault(key, []).append(fault)
    lines = []
    for group in grouped.values():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(f"{group[0].subject}{more}: {group[0].reason}")
    if len(lines) > _TOLD:
        lines[_TOLD:] = [f"… and {len(lines) - _TOLD} more"]
    ways_out = list(dict.fromkeys(group[0].next for group in grouped.values()))
    return SlipwayErrors(
        f"{len(faults)} of {len(jobs)} files could not be fetched",
        lines,
        next="\n".join(ways_out[:_TOLD]),
    )


def _wait(
    jobs: Sequence[Job],
    done: queue.SimpleQueue[int],
    fatal: Sequence[BaseException],
) -> None:
    finished = 0
    while finished < len(jobs) and not fatal:
        with contextlib.suppress(queue.Empty):
            done.get(timeout=0.2)
            finished += 1
