"""Sizes of packaged files: against the last build with other content, however often it repeats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import pytest

from slipway.release import packed_sizes
from slipway.release.packed_sizes import PackedFile


def build(tarball: int, static: int, version: str = "1.0.0") -> List[PackedFile]:
    """Files of those sizes; the SHA-256 follows from the size here."""
    return [
        PackedFile(kind, f"app-{version}{kind}", f"sha256 of {size}", size)
        for kind, size in ((".tar.gz", tarball), (".static.tar.gz", static))
    ]


def differences(record: Path, files: List[PackedFile]) -> List[str]:
    table = packed_sizes.render(files, packed_sizes.update_record(str(record), files))
    return [line.rsplit("  ", 1)[1] for line in table.split("\n")[1:]]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "slipway" / "sizes" / "x.json"


def test_a_table_has_a_head_and_a_row_for_each_file(record: Path) -> None:
    files = build(34_900_000, 7_600)
    packed_sizes.update_record(str(record), build(34_899_990, 7_600))
    before = packed_sizes.update_record(str(record), files)
    assert packed_sizes.render(files, before).split("\n") == [
        "file                     size     difference",
        "app-1.0.0.tar.gz         34.9 MB  +10 B",
        "app-1.0.0.static.tar.gz  7.6 kB   same",
    ]


def test_a_build_is_compared_with_the_last_one_whose_content_differs(record: Path) -> None:
    assert differences(record, build(1000, 5)) == ["-", "-"]
    assert differences(record, build(1000, 5)) == ["-", "-"]
    assert differences(record, build(1312, 5)) == ["+312 B", "same"]
    # A run that changes nothing tells the same again.
    assert differences(record, build(1312, 5)) == ["+312 B", "same"]
    assert differences(record, build(1312, 5)) == ["+312 B", "same"]
    assert differences(record, build(1000, 7)) == ["-312 B", "+2 B"]


def test_a_new_version_is_compared_with_the_old_one(record: Path) -> None:
    differences(record, build(1000, 5))
    assert differences(record, build(2500, 5, version="1.1.0")) == ["+1.5 kB", "same"]


def test_other_content_of_the_same_size_has_a_difference_of_zero(record: Path) -> None:
    one = [PackedFile(".tar.gz", "a.tar.gz", "1", 10)]
    other = [PackedFile(".tar.gz", "a.tar.gz", "2", 10)]
    differences(record, one)
    assert differences(record, other) == ["+0 B"]


def test_a_new_file_has_no_difference(record: Path) -> None:
    tarball, static = build(1000, 5)
    differences(record, [tarball])
    assert differences(record, [tarball, static]) == ["same", "-"]
    assert differences(record, [tarball]) == ["same"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"last": {}}', '{"last": {"x": 1}, "before": {}}', '{"last": 1}'],
)
def test_a_damaged_record_counts_as_empty_and_is_replaced(record: Path, text: str) -> None:
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert differences(record, build(1000, 5)) == ["-", "-"]
    assert differences(record, build(1001, 5)) == ["+1 B", "same"]


def test_a_record_that_cannot_be_written_fails_nothing(record: Path) -> None:
    record.parent.parent.write_text("a file where the folder should be")
    assert differences(record, build(1000, 5)) == ["-", "-"]
    record.parent.parent.unlink()
    record.mkdir(parents=True)
    assert differences(record, build(1000, 5)) == ["-", "-"]
    assert os.listdir(record.parent) == [record.name]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1049, "1.0 kB"), (1051, "1.1 kB")),
        *((999_949, "999.9 kB"), (999_950, "1.0 MB"), (34_912_345, "34.9 MB")),
        *((2_000_000_000, "2.0 GB"), (999_950_000, "1.0 GB")),
    ],
)
def test_a_size_has_one_decimal_and_its_unit(size: int, text: str) -> None:
    assert packed_sizes.format_size(size) == text
