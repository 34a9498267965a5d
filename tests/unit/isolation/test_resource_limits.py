"""The limits of a step in the syntax of the options, and the message when a step exceeds them."""

from __future__ import annotations

from typing import Dict, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.isolation.resource_limits import (
    INODES,
    MACHINE_INODES,
    MACHINE_MEMORY,
    MACHINE_SPACE,
    MEMORY,
    PROCESSES,
    SPACE,
    Breach,
    Limits,
    format_size,
    message,
    read_limits,
)

GB = 10**9
DEFAULTS: Dict[str, Union[str, int]] = {
    "memory": "80%",
    "processes": 4096,
    "space": "16GB",
    "inodes": 1_000_000,
}


def test_the_defaults_on_a_machine_of_10_gb() -> None:
    limits = read_limits(DEFAULTS, total=10 * GB)
    assert limits == Limits(memory=8 * GB, processes=4096, space=16 * GB, inodes=1_000_000)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GB", 12 * GB),
        ("1.5 GB", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("2KiB", 2048),
        ("7B", 7),
        (" 50% ", 5 * GB),
        ("100%", 10 * GB),
    ],
)
def test_a_memory_limit_is_a_size_or_a_percentage(text: str, size: int) -> None:
    assert read_limits({**DEFAULTS, "memory": text}, total=10 * GB).memory == size


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("memory", "lots", "not a size"),
        ("memory", "", "not a size"),
        ("memory", "12", "not a size"),
        ("memory", "12gb", "not a size"),
        ("memory", "iB", "not a size"),
        ("memory", "1iB", "not a size"),
        ("memory", "-1GB", "not a size"),
        ("memory", "1e9B", "not a size"),
        ("memory", "\u0661GB", "not a size"),
        ("memory", "0GB", "not above zero"),
        ("memory", "101%", "more than 100%"),
        ("space", "50%", "a percentage, but only the memory limit can be one"),
        ("space", "x", "not a size"),
        ("processes", 0, "not a whole number above zero"),
        ("processes", "many", "not a whole number above zero"),
        ("inodes", -5, "not a whole number above zero"),
    ],
)
def test_an_invalid_value_names_its_option(kind: str, value: Union[str, int], why: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        read_limits({**DEFAULTS, kind: value}, total=10 * GB)
    error = caught.value
    option = {"memory": "memory", "space": "space", "processes": "process", "inodes": "inode"}[kind]
    assert error.what == f'the option "step_{option}_limit" is {why}'
    assert error.where == f"[slipway] step_{option}_limit"
    assert error.found == f'"{value}"'
    assert error.next.startswith(f"--slipway-step-{option}-limit=")


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_an_error_of_the_option(text: str) -> None:
    where = ""
    try:
        assert read_limits({**DEFAULTS, "space": text}, total=GB).space > 0
    except SlipwayError as error:
        where = error.where
    assert where in ("", "[slipway] step_space_limit")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (2_340_000_000, "2.3 GB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


LABEL = 'the scripts of "evil@1.0.0"'


@pytest.mark.parametrize(
    ("breach", "what", "found", "flag"),
    [
        (
            Breach(MEMORY, 2 * GB, 2_340_000_000),
            "used more than 2.0 GB of memory",
            "2.3 GB",
            "--slipway-step-memory-limit=4GB",
        ),
        (
            Breach(MEMORY, 200_000_000, 200_000_000),
            "used more than 200.0 MB of memory",
            "the limit of 200.0 MB was reached",
            "--slipway-step-memory-limit=400MB",
        ),
        (
            Breach(PROCESSES, 4096, 5001),
            "started more than 4,096 processes and threads",
            "5,001",
            "--slipway-step-process-limit=8192",
        ),
        (
            Breach(SPACE, 16 * GB, 17 * GB),
            "wrote more than 16.0 GB of files",
            "17.0 GB",
            "--slipway-step-space-limit=32GB",
        ),
        (
            Breach(INODES, 1_000_000, 1_000_001),
            "created more than 1,000,000 files and folders",
            "1,000,001",
            "--slipway-step-inode-limit=2000000",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Breach) else "",
)
def test_a_breach_names_package_limit_measure_and_option(
    breach: Breach, what: str, found: str, flag: str
) -> None:
    error = message(breach, LABEL)
    assert error.what == f"{LABEL} {what}"
    assert error.found == f"{found}; Slipway killed all processes of the step"
    assert error.next == f"if the package needs more, raise the limit: {flag}"
    assert error.where == ""


@pytest.mark.parametrize(
    ("breach", "what", "found", "next_step"),
    [
        (
            Breach(MACHINE_MEMORY, 8 * GB, 100_000_000),
            "this machine ran out of memory",
            "100.0 MB of the 8.0 GB that were free",
            "--process-execution-local-parallelism=1",
        ),
        (
            Breach(MACHINE_SPACE, 8 * GB, 0, "/var/tmp/x"),
            "this machine ran out of disk space",
            "0 B of the 8.0 GB that were free",
            "[GLOBAL] named_caches_dir",
        ),
        (
            Breach(MACHINE_INODES, 100_000, 12, "/var/tmp/x"),
            "this machine ran out of inodes on the disk",
            "12 of the 100,000 that were free",
            "[GLOBAL] named_caches_dir",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Breach) else "",
)
def test_a_machine_without_resources_names_what_ran(
    breach: Breach, what: str, found: str, next_step: str
) -> None:
    error = message(breach, LABEL)
    assert error.what == f"{what} while it ran {LABEL}"
    assert error.found.startswith(found)
    assert next_step in error.next
    assert error.where == breach.place
