"""Fetches many files on many threads, and reports all failures in a single error."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from typing import Callable, Dict, Generic, List, Mapping, Optional, Sequence, Tuple, TypeVar

from slipway.core.errors import SlipwayErrors
from slipway.fetch.faults import FetchFailed, FetchFault

# Each thread keeps a connection open. More threads are not faster, and registries reject them.
THREADS = 24
_MOST_LISTED = 10


T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """A file to fetch; `run` fetches it, on any thread. `size` is in bytes."""

    subject: str
    size: int
    run: Callable[[], T]


def run_jobs(jobs: Sequence[Job[T]]) -> List[T]:
    """Runs all jobs and returns their results in order.

    Raises a single SlipwayErrors for all jobs that failed.
    """
    waiting: queue.SimpleQueue[Optional[int]] = queue.SimpleQueue()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    # Largest first. Otherwise a large file that starts last would run alone at the end.
    for number in sorted(range(len(jobs)), key=lambda job: (-jobs[job].size, job)):
        waiting.put(number)
    results: Dict[int, T] = {}
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


def report(jobs: Sequence[Job[T]], faults: Mapping[int, FetchFault]) -> SlipwayErrors:
    """A single error for all faults: the first ten, a count, and each `next` once."""
    grouped: Dict[Tuple[str, str], List[FetchFault]] = {}
    for number in sorted(faults):
        fault = faults[number]
        name = "" if fault.shared else fault.subject
        # Reasons that files share differ only in their addresses, so `next` groups them.
        key = (name, fault.next if fault.shared else fault.reason)
        grouped.setdefault(key, []).append(fault)
    lines = []
    for group in grouped.values():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(f"{group[0].subject}{more}: {group[0].reason}")
    if len(lines) > _MOST_LISTED:
        lines[_MOST_LISTED:] = [f"… and {len(lines) - _MOST_LISTED} more"]
    ways_out = list(dict.fromkeys(group[0].next for group in grouped.values()))
    return SlipwayErrors(
        f"{len(faults)} of {len(jobs)} files could not be fetched",
        lines,
        next="\n".join(ways_out[:_MOST_LISTED]),
    )


def _wait(
    jobs: Sequence[Job[T]],
    done: queue.SimpleQueue[int],
    fatal: Sequence[BaseException],
) -> None:
    finished = 0
    while finished < len(jobs) and not fatal:
        with contextlib.suppress(queue.Empty):
            done.get(timeout=0.2)
            finished += 1
