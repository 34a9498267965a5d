"""ABI policies: which versions they allow, and which policies are invalid."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from slipway.abi import policy as abi_policy
from slipway.abi.policy import AbiPolicy
from slipway.core.errors import SlipwayErrors
from slipway.step import records

SOUND: Dict[str, Any] = {
    "format": 1,
    "machine": "x86-64",
    "interpreter": "/lib64/ld-linux-x86-64.so.2",
    "libraries": ["libc.so.6", "libstdc++.so.6"],
    "versions": ["CXXABI_TM_1"],
    "ceilings": {"GLIBC": "2.17", "GLIBCXX": "3.4.19", "CXXABI": "1.3.7"},
}


def test_versions_up_to_the_ceiling_are_there() -> None:
    policy = abi_policy.read(SOUND, "abi.toml")
    for version in ("GLIBC_2.17", "GLIBC_2.2.5", "GLIBC_2.3", "GLIBCXX_3.4", "CXXABI_TM_1"):
        assert policy.allows(version), version
    for version in ("GLIBC_2.18", "GLIBC_2.100", "GLIBC_PRIVATE", "GLIBCXX_3.4.20", "GCC_3.0"):
        assert not policy.allows(version), version
    assert policy.ceiling_of("GLIBC_2.28") == "GLIBC_2.17"
    assert policy.ceiling_of("LIBFFI_7.0") == ""


def test_a_policy_can_be_written_and_read_again() -> None:
    policy = abi_policy.read(SOUND, "abi.toml")
    assert records.read(AbiPolicy, records.as_json(policy)) == policy


WRONG: Dict[str, Any] = {
    "an unknown key": ({"celings": {}}, "celings: unknown key; did you mean ceilings?"),
    "another format": ({"format": 2}, "format: is 2, not 1"),
    "another machine": ({"machine": "arm64"}, "machine: 'arm64' is not supported; use x86-64"),
    "a relative loader": (
        {"interpreter": "ld.so"},
        "interpreter: 'ld.so' is not the absolute path",
    ),
    "no libraries": ({"libraries": []}, "needs at least libc.so.6"),
    "a string of libraries": ({"libraries": "libc.so.6"}, "libraries: must be a list"),
    "a path of a library": ({"libraries": ["/lib/libc.so.6"]}, "is not the name of a library"),
    "a library twice": (
        {"libraries": ["libc.so.6", "libc.so.6"]},
        "libraries: libc.so.6 is listed twice",
    ),
    "no ceilings": ({"ceilings": {}}, "needs a table with at least GLIBC"),
    "a number as ceiling": (
        {"ceilings": {"GLIBC": 2.17}},
        'ceilings.GLIBC: 2.17 is not a version such as "2.17"',
    ),
    "a version with its name": (
        {"ceilings": {"GLIBC": "GLIBC_2.17"}},
        "'GLIBC_2.17' is not a version",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_told(name: str) -> None:
    change, text = WRONG[name]
    with pytest.raises(SlipwayErrors) as raised:
        abi_policy.read({**SOUND, **change}, "toolchains/x/abi.toml")
    assert 'the ABI policy "toolchains/x/abi.toml" is not valid' in str(raised.value)
    assert text in str(raised.value)
    assert "next:" in str(raised.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        abi_policy.read({"format": 9}, "abi.toml")
    assert len(raised.value.faults) == 5
