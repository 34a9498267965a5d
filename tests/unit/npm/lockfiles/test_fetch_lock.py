from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.npm.lockfiles import fetch_lock
from slipway.npm.lockfiles.fetch_lock import FetchEntry, FetchLock, MissingTarball, PinnedBinary
from tests.unit.npm.builders import entry, integrity_of, make_entry, make_lock, sha1, sha512

LEFT_HASH = integrity_of("left", "1.0.0")
COMMAND = "./pants generate-lockfiles --resolve=npm:apps/x"
PATH = "apps/x/npm-fetch.lock"
LINE = make_entry().line()
HEAD = f"# slipway fetch lock 1: name version integrity sha256 size. Renew it with: {COMMAND}"


def _parse(text: str) -> FetchLock:
    return fetch_lock.parse(text, PATH, COMMAND)


def _fetch(*entries: FetchEntry) -> FetchLock:
    return _parse(fetch_lock.render(entries, COMMAND))


def test_reads_as_a_list() -> None:
    text = fetch_lock.render([make_entry("right"), make_entry("@team/left")], COMMAND)
    head, first, second, end = text.split("\n")
    assert head == HEAD
    assert first.startswith("@team/left 1.0.0 sha512-")
    assert first.endswith(" 100")
    assert second.startswith("right 1.0.0 sha512-")
    assert end == ""


def test_a_weaker_integrity_of_the_npm_lock_is_the_last_word() -> None:
    weak = sha1(b"left")
    one = make_entry(locked_integrity=weak)
    assert one.line() == f"{LINE} {weak}"
    assert _fetch(one).entries[0].accepts == (one.integrity, weak)


def test_empty_lines_and_comments_are_valid() -> None:
    assert len(_parse(f"{HEAD}\n\n# ours\n{LINE}\n").entries) == 1


BAD: Dict[str, Tuple[str, str, str]] = {
    "empty": ("", "is not a fetch lock of format 1", f"{PATH}:1"),
    "no head": (f"{LINE}\n", "is not a fetch lock", f"{PATH}:1"),
    "format 2": (f"# slipway fetch lock 2:\n{LINE}\n", "of format 1", f"{PATH}:1"),
    "cut off": (f"{HEAD}\n{LINE}", "the last line is incomplete", f"{PATH}:2"),
    "conflict": (
        f"{HEAD}\n<<<<<<< ours\n{LINE}\n=======\n>>>>>>> theirs\n",
        "unresolved merge conflict",
        f"{PATH}:2",
    ),
    "four words": (f"{HEAD}\n{LINE}\nleft 1.0.0 a b\n", "expected 5 or 6 words, found 4", f"{PATH}:3"),
    "a name": (f"{HEAD}\n{LINE.replace('left', '../x')}\n", '"../x" is not a valid npm package name', f"{PATH}:2"),
    "a version": (f"{HEAD}\n{LINE.replace(' 1.0.0', ' ../1')}\n", "is not a valid version", f"{PATH}:2"),
    "sha1": (f"{HEAD}\nleft 1.0.0 {sha1(b'')} {'0' * 64} 1\n", "not a sha512", f"{PATH}:2"),
    "integrity": (f"{HEAD}\nleft 1.0.0 sha512-AA== {'0' * 64} 1\n", "64 bytes", f"{PATH}:2"),
    "sha256": (f"{HEAD}\nleft 1.0.0 {sha512(b'')} {'G' * 64} 1\n", "not a valid hexadecimal SHA-256", f"{PATH}:2"),
    "size": (f"{HEAD}\nleft 1.0.0 {sha512(b'')} {'0' * 64} -1\n", '"-1" is not a valid size', f"{PATH}:2"),
    "zero": (f"{HEAD}\nleft 1.0.0 {sha512(b'')} {'0' * 64} 0\n", '"0" is not a valid size', f"{PATH}:2"),
    "twice": (
        f"{HEAD}\n{LINE}\n{LINE}7\n", "duplicate entry for left@1.0.0 with different", f"{PATH}:3",
    ),
    "sha512 last": (
        f"{HEAD}\n{LINE} {sha512(b'that of package-lock.json')}\n",
        "must be a weaker hash than sha512",
        f"{PATH}:2",
    ),
    "sha512 among others last": (
        f"{HEAD}\n{LINE} {sha1(b'x')} {sha512(b'that of package-lock.json')}\n",
        "expected 5 or 6 words, found 7",
        f"{PATH}:2",
    ),
    "its own sha512 last": (
        f"{HEAD}\n{LINE} {LINE.split()[2]}\n",
        "must be a weaker hash than sha512",
        f"{PATH}:2",
    ),
}  # fmt: skip


def test_crlf_line_endings_are_named_with_the_way_to_lf() -> None:
    with pytest.raises(SlipwayError) as caught:
        _parse(f"{HEAD}\r\n{LINE}\r\n")
    assert caught.value.what == f'"{PATH}" has CRLF line endings, and must have LF'
    assert "git config core.autocrlf false" in caught.value.next


@pytest.mark.parametrize("name", BAD)
def test_says_what_is_wrong_and_where(name: str) -> None:
    text, what, where = BAD[name]
    with pytest.raises(SlipwayError) as caught:
        _parse(text)
    assert what in str(caught.value)
    assert where in str(caught.value)
    assert caught.value.next == COMMAND


def test_tells_all_damaged_lines() -> None:
    with pytest.raises(SlipwayErrors) as caught:
        _parse(f"{HEAD}\na\n{LINE}\nb\n")
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [f"{PATH}:2", f"{PATH}:4"]


class TestCheck:
    def test_fits(self) -> None:
        fetch_lock.require_fresh(make_lock(), _fetch(make_entry()))

    def test_missing(self) -> None:
        assert fetch_lock.check(make_lock(), _fetch()) == [f"left@1.0.0: missing from {PATH}"]

    def test_no_longer_needed(self) -> None:
        reasons = fetch_lock.check(make_lock(), _fetch(make_entry(), make_entry("right")))
        assert reasons == ["right@1.0.0: no longer in apps/x/package-lock.json"]

    def test_another_version(self) -> None:
        assert fetch_lock.check(make_lock(), _fetch(make_entry(version="2.0.0"))) == [
            f"left@1.0.0: missing from {PATH}",
            "left@2.0.0: no longer in apps/x/package-lock.json",
        ]

    def test_another_content_of_one_version(self) -> None:
        other = make_entry(integrity=sha512(b"other"))
        (reason,) = fetch_lock.check(make_lock(), _fetch(other))
        assert reason.startswith("left@1.0.0: apps/x/package-lock.json has ")
        assert reason.endswith(f"{integrity_of('left', '1.0.0')}, {PATH} has {sha512(b'other')}")

    def test_sha1_is_compared_with_the_recorded_hash(self) -> None:
        weak = make_lock({"node_modules/left": entry(integrity=sha1(b"left"))})
        assert fetch_lock.check(weak, _fetch(make_entry(locked_integrity=sha1(b"left")))) == []
        assert len(fetch_lock.check(weak, _fetch(make_entry(locked_integrity=sha1(b"x"))))) == 1
        assert len(fetch_lock.check(weak, _fetch(make_entry()))) == 1

    def test_an_entry_without_integrity_is_compared_by_name_and_version(self) -> None:
        lock = make_lock({"node_modules/left": {"version": "1.0.0"}})
        assert fetch_lock.check(lock, FetchLock("f", (make_entry(),))) == []
        (reason,) = fetch_lock.check(lock, FetchLock("f", (make_entry(version="2.0.0"),)))[:1]
        assert reason == "left@1.0.0: missing from f"

    def test_a_package_for_other_systems_may_have_a_line(self) -> None:
        lock = make_lock({"node_modules/left": entry(optional=True, os=["darwin"])})
        for entries in ((), (make_entry(),)):
            assert fetch_lock.check(lock, FetchLock("f", entries)) == []

    def test_an_optional_package_that_the_registry_does_not_have(self) -> None:
        left = {"node_modules/left": entry(optional=True)}
        fetched = FetchLock("f", (), (), (MissingTarball("left", "1.0.0", LEFT_HASH),))
        assert fetch_lock.check(make_lock(left), fetched) == []
        assert fetch_lock.cached_tarballs(make_lock(left), fetched, 8) == []
        (reason,) = fetch_lock.check(make_lock(), fetched)
        assert reason.startswith("left@1.0.0: not optional in apps/x/package-lock.json, f has it")
        assert fetch_lock.check(make_lock({}), fetched) == [
            "left@1.0.0: no longer in apps/x/package-lock.json"
        ]

    def test_a_package_is_either_missing_or_there(self) -> None:
        missing = (MissingTarball("left", "1.0.0", LEFT_HASH),)
        fetched = FetchLock("f", (make_entry(),), (), missing)
        (reason,) = fetch_lock.check(
            make_lock({"node_modules/left": entry(optional=True)}), fetched
        )
        assert reason == "left@1.0.0: no longer in apps/x/package-lock.json"

    def test_two_contents_for_an_entry_without_integrity_are_reported(self) -> None:
        lock = make_lock({"node_modules/left": {"version": "1.0.0"}})
        two = make_entry(), make_entry(integrity=integrity_of("right", "1.0.0"))
        (reason,) = fetch_lock.check(lock, FetchLock("f", two))
        assert reason.startswith("left@1.0.0: apps/x/package-lock.json has no integrity, f has sha")

    def test_an_alias_is_listed_under_its_real_name(self) -> None:
        lock = make_lock({"node_modules/other": {**entry(), "name": "left"}})
        assert fetch_lock.check(lock, _fetch(make_entry())) == []

    def test_the_last_line_is_the_command(self) -> None:
        with pytest.raises(SlipwayErrors) as caught:
            fetch_lock.require_fresh(make_lock(), _fetch(make_entry("right")))
        assert str(caught.value).splitlines()[-1].strip() == f"next:  {COMMAND}"


def test_every_tarball_has_its_place_in_npms_cache() -> None:
    lock = make_lock({"node_modules/left": entry(), "node_modules/x/node_modules/left": entry()})
    (cached,) = fetch_lock.cached_tarballs(lock, _fetch(make_entry()), 8)
    assert cached.path.startswith("_cacache/content-v2/sha512/")
    assert (cached.sha256, cached.size) == (make_entry().sha256, 100)


@pytest.mark.parametrize("npm_major", [6, 8])
def test_two_packages_with_one_content_are_both_fetched_and_checked(npm_major: int) -> None:
    """Whose content it is not is found out by its own integrity alone."""
    weak = {"old": sha1(b"old"), "right": sha1(b"right")}
    packages = {f"node_modules/{name}": entry(integrity=weak[name]) for name in weak}
    lock = make_lock({"node_modules/left": entry(), **packages})
    lines = [
        make_entry("old", integrity=integrity_of("left", "1.0.0"), locked_integrity=weak["old"])
    ]
    lines += [make_entry("right", locked_integrity=weak["right"]), make_entry()]
    cached = fetch_lock.cached_tarballs(lock, FetchLock(PATH, tuple(lines)), npm_major)
    assert sorted((one.tarball.name, one.tarball.integrity) for one in cached) == [
        ("left", integrity_of("left", "1.0.0")),
        *sorted(weak.items()),
    ]
    assert len({one.path for one in cached}) == (3 if npm_major < 7 else 2)


SAME = {"integrity": sha512(b"x"), "sha256": "ab" * 32}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({**SAME, "sha256": "cd" * 32}, SAME),
        ({**SAME, "integrity": sha512(b"y")}, SAME),
        ({**SAME, "size": 101}, SAME),
        ({**SAME, "locked_integrity": sha1(b"x")}, {**SAME, "locked_integrity": sha1(b"y")}),
        ({"locked_integrity": sha1(b"x")}, {"locked_integrity": sha1(b"x")}),
    ],
)
def test_contradicting_lines_are_reported(left: Dict[str, Any], right: Dict[str, Any]) -> None:
    with pytest.raises(SlipwayErrors) as caught:
        _fetch(make_entry("left", **left), make_entry("right", **right))
    (fault,) = caught.value.faults
    assert fault.startswith(f"{PATH}: right@1.0.0 and left@1.0.0 have one hash in common")


def test_of_three_lines_the_last_two_can_contradict_each_other() -> None:
    weak = [make_entry(name, **SAME, locked_integrity=sha1(name.encode())) for name in ("b", "c")]
    with pytest.raises(SlipwayErrors, match=r"c@1\.0\.0 and b@1\.0\.0 have one hash in common"):
        _fetch(make_entry("a", **SAME), *weak)


def test_two_packages_may_have_one_content() -> None:
    known = {**SAME, "locked_integrity": sha1(b"x")}
    assert len(_fetch(make_entry("left", **SAME), make_entry("right", **known)).entries) == 2


def test_git_merges_the_changes_of_two_branches(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d", "e", "f")
    base = [make_entry(name) for name in names]
    versions = {
        "base": base,
        "ours": [make_entry("a", "2.0.0"), *base[1:]],
        "theirs": [*base[:4], make_entry("e", "3.0.0"), *base[5:]],
    }
    for name, entries in versions.items():
        (tmp_path / name).write_text(fetch_lock.render(entries, COMMAND))
    merged = subprocess.run(
        ["git", "merge-file", "-p", "ours", "base", "theirs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    both = [make_entry("a", "2.0.0"), *base[1:4], make_entry("e", "3.0.0"), *base[5:]]
    assert merged == fetch_lock.render(both, COMMAND)


def _entry_of(name: str, version: str, content: bytes, weak: bool) -> FetchEntry:
    return make_entry(
        name,
        version,
        integrity=sha512(content),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        locked_integrity=sha1(content) if weak else None,
    )


_ENTRIES = st.builds(
    _entry_of,
    name=st.sampled_from(["left", "right", "@team/left"]),
    version=st.sampled_from(["1.0.0", "2.0.0-rc.1", "3.0.0+build"]),
    content=st.binary(min_size=1),
    weak=st.booleans(),
)


@given(st.lists(_ENTRIES, unique_by=lambda one: (one.name, one.version, one.integrity)))
def test_what_is_written_reads_the_same(entries: List[FetchEntry]) -> None:
    text = fetch_lock.render(entries, COMMAND)
    parsed = _parse(text)
    assert fetch_lock.render(parsed.entries, COMMAND) == text
    assert [one.line() for one in parsed.entries] == sorted(
        (one.line() for one in entries), key=lambda line: tuple(line.split(" ")[:3])
    )


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"{HEAD}\n{text}\n"):
        try:
            _parse(candidate)
        except SlipwayError:
            pass


# --- Binaries.

SHA = "ab" * 32
BINARY = PinnedBinary("left", "1.0.0", SHA, 7, "npm_config_left_binary_host", "v1/left-1.0.0.tgz")


def test_binaries_follow_the_tarballs_and_are_read_again() -> None:
    text = fetch_lock.render([make_entry("zeta")], COMMAND, [BINARY])
    assert text.splitlines()[-1] == (
        f"+ left 1.0.0 {SHA} 7 npm_config_left_binary_host v1/left-1.0.0.tgz"
    )
    assert _parse(text).binaries == (BINARY,)
    assert _parse(text).pinned("left", "1.0.0") == (BINARY,)
    assert _parse(text).pinned("left", "1.0.1") == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("left", "1.0.0", SHA, "7", "V"), "expected 7 words, found 6"),
        (("Le ft", "1", SHA, "7", "V", "a"), "expected 7 words, found 8"),
        (("../x", "1.0.0", SHA, "7", "V", "a"), "not a valid npm package name"),
        (("left", "1.0.0", "abc", "7", "V", "a"), "not a valid hexadecimal SHA-256"),
        (("left", "1.0.0", SHA, "0", "V", "a"), "not a valid size"),
        (("left", "1.0.0", SHA, "7", "a=b", "a"), "not a valid variable name"),
        *(
            (("left", "1.0.0", SHA, "7", "V", path), "not a valid relative URL path")
            for path in ("../a", "a/../b", "/a", "a//b", "a?b", "a#b", "a/.", "http://a/b")
        ),
    ],
)
def test_a_damaged_line_of_a_binary_is_reported(words: Tuple[str, ...], told: str) -> None:
    with pytest.raises(SlipwayErrors) as raised:
        _parse(f"{HEAD}\n+ {' '.join(words)}\n")
    assert told in raised.value.faults[0]
    assert raised.value.faults[0].startswith(f"{PATH}:2: ")


def test_one_file_with_two_hashes_is_reported() -> None:
    other = dataclasses.replace(BINARY, sha256="cd" * 32)
    with pytest.raises(SlipwayErrors, match="duplicate entry"):
        _parse(f"{HEAD}\n{BINARY.line()}\n{other.line()}\n")


def test_a_binary_of_a_package_that_is_gone_makes_the_lock_stale() -> None:
    lock = make_lock({"node_modules/right": entry("right")})
    fetched = _parse(fetch_lock.render([make_entry("right")], COMMAND, [BINARY]))
    assert any(
        "left@1.0.0, v1/left-1.0.0.tgz: no longer in" in one
        for one in fetch_lock.check(lock, fetched)
    )


def test_missing_packages_follow_the_binaries_and_are_read_again() -> None:
    missing = [MissingTarball("zeta", "1.0.0"), MissingTarball("@team/left", "2.0.0", LEFT_HASH)]
    text = fetch_lock.render([make_entry("zeta")], COMMAND, [BINARY], missing)
    assert text.splitlines()[-2:] == [f"- @team/left 2.0.0 {LEFT_HASH}", "- zeta 1.0.0"]
    assert _parse(text).missing == tuple(sorted(missing))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("- left", "expected 3 or 4 words, found 2"),
        ("- ../left 1.0.0", '"../left" is not a valid npm package name'),
        ("- left 1.0/0", '"1.0/0" is not a valid version'),
        ("- left 1.0.0 sha512-x", "'sha512-x' is not base64 after the algorithm"),
    ],
)
def test_a_damaged_line_of_a_missing_package_is_reported(line: str, told: str) -> None:
    with pytest.raises(SlipwayErrors) as caught:
        _parse(f"{HEAD}\n{line}\n")
    assert caught.value.faults == (f"{PATH}:2: {told}",)
