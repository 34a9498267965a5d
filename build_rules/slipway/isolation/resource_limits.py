"""The limits of a build step: their values, and the message when a step exceeds them.

The limits are for memory, processes, temporary space and files. These modules apply them: this
module (values and messages), cgroups and cgroup_places (limits that the kernel enforces),
process_use, space_use and folder_walk (measurements), and resource_monitor (comparison). Of the
rest of Slipway they import only `errors`, so that they also run in a container on the Python of
the image. A first process uses them like this:

    limits = read_limits(settings["limits"], cgroup_places.machine_memory())
    with Cgroup.make(limits) as cgroup:           # before entering any namespace
        child = os.fork()
        if child == 0:
            cgroup.add()                          # before this process drops root and calls exec
            become_the_scripts()
        monitor = Monitor(limits, pids, find_spaces(["/build", "/tmp", "/dev/shm"]), cgroup)
        breach = None
        while breach is None and not ended(child, within=monitor.interval):
            breach = monitor.look()
        breach = breach or monitor.look()         # the kernel may have killed the last process
    if breach:                                    # integers and texts only, so it can be JSON
        raise message(breach, 'the scripts of "evil@1.0.0"')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Union

from slipway.core.errors import SlipwayError

MEMORY = "memory"
PROCESSES = "processes"
SPACE = "space"
INODES = "inodes"
MACHINE_MEMORY = "machine memory"
MACHINE_SPACE = "machine space"
MACHINE_INODES = "machine inodes"

OPTIONS = {
    MEMORY: "step_memory_limit",
    PROCESSES: "step_process_limit",
    SPACE: "step_space_limit",
    INODES: "step_inode_limit",
}
"""The option in `[slipway]` that sets the limit of each kind."""

_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))},
    **{unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(%|[KMGT]?i?B)")
_EXAMPLES = {MEMORY: ("12GB", "80%"), SPACE: ("16GB",), PROCESSES: ("4096",), INODES: ("1000000",)}


@dataclass(frozen=True)
class Limits:
    """The limits of a step: bytes of memory and of files, and counts.

    `processes` includes threads, as in the kernel's pids controller. `space` and `inodes` apply to
    all writable folders of a step together.
    """

    memory: int
    processes: int
    space: int
    inodes: int


@dataclass(frozen=True)
class Breach:
    """A limit that a step exceeded: its kind, the limit, and the measured value.

    The kinds `machine …` mean that the machine has almost none left: `limit` is the amount that was
    free when the step started, and `measured` is the rest. `measured` equals `limit` if the kernel
    enforced the limit. `place` is the full folder, if there is one.
    """

    kind: str
    limit: int
    measured: int
    place: str = ""


def read_limits(settings: Mapping[str, Union[str, int]], total: int) -> Limits:
    """Parses the limits of the options; percentages refer to `total`, the memory in bytes.

    Raises SlipwayError for the first option with an invalid value.
    """
    return Limits(
        memory=_read_size(MEMORY, settings[MEMORY], total),
        processes=_read_count(PROCESSES, settings[PROCESSES]),
        space=_read_size(SPACE, settings[SPACE], None),
        inodes=_read_count(INODES, settings[INODES]),
    )


def _read_size(kind: str, value: Union[str, int], total: Union[int, None]) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise _invalid(kind, "not a size", value)
    number, unit = float(match[1]), match[2]
    if unit == "%":
        if total is None:
            raise _invalid(kind, "a percentage, but only the memory limit can be one", value)
        if number > 100:
            raise _invalid(kind, "more than 100%", value)
        size = int(total * number / 100)
    elif unit in _UNITS:
        size = int(number * _UNITS[unit])
    else:
        raise _invalid(kind, "not a size", value)
    if size < 1:
        raise _invalid(kind, "not above zero", value)
    return size


def _read_count(kind: str, value: Union[str, int]) -> int:
    if not isinstance(value, int) or value < 1:
        raise _invalid(kind, "not a whole number above zero", value)
    return value


def _flag(kind: str, value: str) -> str:
    return f"--slipway-{OPTIONS[kind].replace('_', '-')}={value}"


def _invalid(kind: str, why: str, value: Union[str, int]) -> SlipwayError:
    return SlipwayError(
        f'the option "{OPTIONS[kind]}" is {why}',
        where=f"[slipway] {OPTIONS[kind]}",
        found=f'"{value}"',
        next="\n".join(_flag(kind, example) for example in _EXAMPLES[kind]),
    )


def format_size(size: int) -> str:
    """A size for messages, in the units of the options, such as `2.0 GB`."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f} {unit}"
    return f"{size} B"


def message(breach: Breach, label: str) -> SlipwayError:
    """The error for a breach; `label` names the command, such as `the scripts of "evil@1.0.0"`."""
    if breach.kind in _OF_MACHINE:
        return _machine_message(breach, label)
    verb, noun = _WORDS[breach.kind]
    sized = breach.kind in (MEMORY, SPACE)
    limit, measured = (
        format_size(value) if sized else f"{value:,}" for value in (breach.limit, breach.measured)
    )
    # If the kernel enforces the limit, the measured value never exceeds it.
    found = measured if breach.measured > breach.limit else f"the limit of {limit} was reached"
    return SlipwayError(
        f"{label} {verb} more than {limit}{' of' if sized else ''} {noun}",
        where=breach.place,
        found=f"{found}; Slipway killed all processes of the step",
        next="if the package needs more, raise the limit: "
        + _flag(breach.kind, _larger(breach.limit, sized)),
    )


_WORDS = {
    MEMORY: ("used", "memory"),
    PROCESSES: ("started", "processes and threads"),
    SPACE: ("wrote", "files"),
    INODES: ("created", "files and folders"),
}
_OF_MACHINE = {
    MACHINE_MEMORY: "memory",
    MACHINE_SPACE: "disk space",
    MACHINE_INODES: "inodes on the disk",
}


def _larger(limit: int, sized: bool) -> str:
    """Twice the limit, rounded up, as a value of the option."""
    if not sized:
        return str(2 * limit)
    unit = "GB" if 2 * limit > _UNITS["GB"] else "MB"
    return f"{-(-2 * limit // _UNITS[unit])}{unit}"


def _machine_message(breach: Breach, label: str) -> SlipwayError:
    before, left = (
        f"{value:,}" if breach.kind == MACHINE_INODES else format_size(value)
        for value in (breach.limit, breach.measured)
    )
    return SlipwayError(
        f"this machine ran out of {_OF_MACHINE[breach.kind]} while it ran {label}",
        where=breach.place,
        found=f"{left} of the {before} that were free; Slipway killed all processes of the step",
        next="run fewer steps at the same time: --process-execution-local-parallelism=1"
        if breach.kind == MACHINE_MEMORY
        else "free space on the disk, or set [GLOBAL] named_caches_dir to a folder on another disk",
    )
