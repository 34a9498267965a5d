"""Looks a process up in the caches without ever running it, so that a step shows once.

A step whose locked files are not in the store must be tried before they are fetched: a cached
result needs none of them. Pants has no request for a look-up alone, and shows "Starting" and
"Completed" for each attempt that it makes on this machine. So the first attempt is the same
process, with the same cache key, at a level that is not shown and with an interpreter that does
not exist. Where no cache has the result, Pants lays out its inputs, and fails either because one
is missing or because the interpreter is.
"""

from __future__ import annotations

import dataclasses

from pants.engine.internals.native_engine import IntrinsicError
from pants.engine.process import Process
from pants.util.frozendict import FrozenDict
from pants.util.logging import LogLevel

HOST = "host"
_EMPTY_CACHE = "slipway_lookup"  # nothing ever writes to this named cache
_LAUNCH_FAILED = "Error launching process"


def as_lookup(process: Process) -> Process:
    """The process with its cache key, but without the named cache that holds its interpreter.

    Neither the name of a named cache nor a level is in a cache key.
    """
    caches = {
        _EMPTY_CACHE if place == HOST else name: place
        for name, place in process.append_only_caches.items()
    }
    return dataclasses.replace(process, level=LogLevel.DEBUG, append_only_caches=FrozenDict(caches))


def has_all_inputs(error: IntrinsicError) -> bool:
    """Whether a failed look-up found all inputs in the store.

    Pants starts a process only when its sandbox is complete. Any other error may come from a
    missing input: a remote store that does not answer hides which.
    """
    return _LAUNCH_FAILED in str(error)
