"""The lock of an image: a line for each package, and every fault with its position."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.debian.lock import DebianLock, LockedPackage, read_lock, write_lock
from tests.unit.debian.builders import locked, make_lock

RENEW = "./pants generate-lockfiles --resolve=toolchain:base"

PACKAGES = st.builds(
    LockedPackage,
    name=st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,8}", fullmatch=True),
    version=st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9]{1,2})?", fullmatch=True),
    architecture=st.sampled_from(["amd64", "all"]),
    filename=st.from_regex(r"pool/[a-z]{1,4}/[0-9a-z][0-9a-z.+~_%-]{0,8}\.deb", fullmatch=True),
    size=st.integers(1, 1 << 30),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


@given(st.lists(PACKAGES, max_size=5, unique_by=lambda package: package.name))
def test_what_is_written_is_read_again_and_sorted(packages: Any) -> None:
    lock = make_lock(packages)
    text = write_lock(lock)
    read = read_lock(text, "packages.lock")
    assert set(read.packages) == set(packages)
    assert [p.name for p in read.packages] == sorted(p.name for p in packages)
    assert write_lock(read) == text


def test_a_package_stands_on_one_line_and_no_host_anywhere() -> None:
    text = write_lock(make_lock([locked(b"1", "zlib"), locked(b"2", "bash")]))
    lines = [line for line in text.splitlines() if "sha256" in line]
    assert [json.loads(line.rstrip(","))["name"] for line in lines] == ["bash", "zlib"]
    assert "://" not in text


def faulty(change: Callable[[Dict[str, Any]], Any]) -> str:
    fields = json.loads(write_lock(make_lock([locked(b"1", "bash"), locked(b"2", "dash")])))
    change(fields)
    return json.dumps(fields)


def change_package(**changed: Any) -> Callable[[Dict[str, Any]], Any]:
    return lambda fields: fields["packages"][1].update(changed)


# What is wrong, what the message says about it, where it points to.
BAD = {
    "another format": (lambda f: f.update(format=2), '"format": 1', "$.format"),
    "no format": (lambda f: f.pop("format"), '"format": 1', "packages.lock: $"),
    "unknown field": (lambda f: f.update(sweet="x"), 'unknown field "sweet"', "$"),
    "missing field": (lambda f: f.pop("packages"), 'the field "packages"', "$"),
    "suite of another kind": (lambda f: f.update(suite=11), "a suite such as", "$.suite"),
    "wanted no list": (lambda f: f.update(wanted="bash"), "a list", "$.wanted"),
    "wanted no name": (lambda f: f.update(wanted=["a", "Bash!"]), "a package name", "$.wanted[0]"),
    "package no object": (lambda f: f["packages"].append(1), "an object", "$.packages[2]"),
    "size as text": (change_package(size="12"), "a whole number", "$.packages[1].size"),
    "size true": (change_package(size=True), "a whole number", "$.packages[1].size"),
    "size zero": (change_package(size=0), "a number from 1", "$.packages[1].size"),
    "short hash": (change_package(sha256="ab"), "64 hexadecimal digits", "$.packages[1].sha256"),
    "upper-case hash": (
        change_package(sha256="A" * 64),
        "64 hexadecimal digits",
        "$.packages[1].sha256",
    ),
    "misspelt field": (change_package(sha265="x"), 'unknown field "sha265"', "$.packages[1]"),
    "leaving the pool": (
        change_package(filename="pool/main/../../etc/passwd.deb"),
        "a file below pool/",
        "$.packages[1].filename",
    ),
    "absolute file": (
        change_package(filename="/pool/x.deb"),
        "a file below pool/",
        "$.packages[1].filename",
    ),
    "file with a host": (
        change_package(filename="https://mirror.example/pool/x.deb"),
        "a file below pool/",
        "$.packages[1].filename",
    ),
    "file with a query": (
        change_package(filename="pool/x.deb?a=b.deb"),
        "a file below pool/",
        "$.packages[1].filename",
    ),
    "the same package twice": (
        change_package(name="bash", version="9"),
        'the package "bash" twice',
        "$.packages[1]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_told_with_file_path_and_value(case: str) -> None:
    change, text, place = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read_lock(faulty(change), "toolchains/base/packages.lock", next=RENEW)
    assert text in caught.value.what
    assert place in caught.value.where
    assert "toolchains/base/packages.lock" in str(caught.value)


def test_both_versions_of_a_doubled_package_are_shown() -> None:
    with pytest.raises(SlipwayError) as caught:
        read_lock(faulty(change_package(name="bash", version="9")), "l", next=RENEW)
    assert caught.value.found == "1.0-1 and 9"
    assert caught.value.next == RENEW


def test_all_faulty_packages_are_told_at_once() -> None:
    def change(fields: Dict[str, Any]) -> None:
        fields["packages"][0]["size"] = -1
        fields["packages"][1]["sha256"] = ""

    with pytest.raises(SlipwayError) as caught:
        read_lock(faulty(change), "packages.lock", next=RENEW)
    assert caught.value.what == '"packages.lock" has 2 invalid packages'
    assert "$.packages[0].size" in str(caught.value)
    assert "$.packages[1].sha256" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"format": 1, "format": 1}', "[" * 9999])
def test_what_is_no_json_object_is_told_with_the_command(text: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        read_lock(text, "packages.lock", next=RENEW)
    assert "packages.lock" in caught.value.what
    assert caught.value.next == RENEW


@given(st.data())
def test_a_damaged_lock_gives_a_lock_or_words(data: st.DataObject) -> None:
    text = write_lock(make_lock([locked(b"1", "bash"), locked(b"2", "dash")]))
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 9)) :]
    try:
        assert isinstance(read_lock(damaged, "packages.lock"), DebianLock)
    except SlipwayError:
        pass
