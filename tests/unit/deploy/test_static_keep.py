"""Which static files may go: a file that some release needs never does."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from slipway.deploy.static_keep import Published, outdated, read_lists


def day(number: int) -> str:
    return f"202611{number:02}T120000Z"


def published(number: int, digest: str, *names: str) -> Published:
    return Published(day(number), digest, frozenset(names))


def test_files_stay_for_so_many_days_after_another_release_replaced_theirs() -> None:
    lists = [published(1, "a", "both", "only-a"), published(11, "b", "both", "only-b")]
    assert outdated(lists, day(20), 10, ()) == ([], [])
    assert outdated(lists, day(22), 10, ()) == ([lists[0]], ["only-a"])


def test_files_of_a_release_that_a_server_keeps_stay() -> None:
    lists = [published(1, "a", "only-a"), published(2, "b", "only-b")]
    assert outdated(lists, day(28), 10, {"a"}) == ([], [])


def test_files_that_were_published_again_are_not_old() -> None:
    lists = [published(1, "a", "x"), published(2, "b", "y"), published(3, "a", "x")]
    assert outdated(lists, day(28), 10, ()) == (lists[:2], ["y"])


releases = st.builds(
    published, st.integers(1, 28), st.sampled_from("abcd"), st.sampled_from("uvwxyz")
)


@given(
    st.lists(releases, max_size=8, unique_by=lambda one: one.at),
    st.integers(1, 28),
    st.sets(st.sampled_from("abcd")),
)
def test_files_of_the_newest_list_and_of_kept_lists_stay(
    lists: list[Published], days: int, kept: set[str]
) -> None:
    gone, names = outdated(lists, day(28), days, kept)
    staying = [one for one in lists if one not in gone]
    assert not set(names) & {name for one in staying for name in one.names}
    assert all(one in staying for one in lists if one.digest in kept)
    if lists:
        assert max(lists, key=lambda one: one.at) in staying


def test_lists_are_read_without_names_that_lead_elsewhere(tmp_path: Path) -> None:
    one = published(1, "a", "js/app.js", "../../etc/passwd", "/etc/passwd", "a\nb")
    for name, content in ((one.file, one.content), ("other", b"x"), ("2026-x", b"x")):
        (tmp_path / name).write_bytes(content)
    assert read_lists(str(tmp_path)) == [published(1, "a", "js/app.js", "a\nb")]
