"""Looks a process up in the caches without running it.

A cached result needs none of the locked files, so Slipway looks for it before it fetches them.
Pants has no request for a lookup without a run, and logs "Starting" and "Completed" for each
attempt on this machine. So the lookup is the same process with the same cache key, but with a log
level that is not shown, and with an interpreter that does not exist. If no cache has the result,
Pants creates the sandbox, and fails because an input or the interpreter is missing.
"""

from __future__ import annotations

import dataclasses

from pants.engine.internals.native_engine import IntrinsicError
from pants.engine.process import Process
from pants.util.frozendict import FrozenDict
from pants.util.logging import LogLevel

HOST = "host"
_EMPTY_CACHE = "slipway_lookup"  # no process ever writes to this named cache
_LAUNCH_FAILED = "Error launching process"


def as_lookup(process: Process) -> Process:
    """The same process without the named cache that has its interpreter.

    The cache key stays the same: Pants includes neither names of named caches nor log levels.
    """
    caches = {
        _EMPTY_CACHE if place == HOST else name: place
        for name, place in process.append_only_caches.items()
    }
    return dataclasses.replace(process, level=LogLevel.DEBUG, append_only_caches=FrozenDict(caches))


def has_all_inputs(error: IntrinsicError) -> bool:
    """Whether a failed lookup found all inputs in the store.

    Pants launches a process only after its sandbox is complete, so a launch error means that all
    inputs exist. Any other error may mean a missing input.
    """
    return _LAUNCH_FAILED in str(error)
