"""Which folders are safe for a cache, by owner and mode."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest

from slipway.core import own_folder
from slipway.core.errors import SlipwayError
from slipway.fetch.download import ContentCache


def test_a_folder_is_made_with_those_above_it_and_found_again(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    for _ in range(2):
        own_folder.make(str(place))
    assert place.is_dir()


def test_a_file_in_its_place_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="File exists"):
        own_folder.make(str(tmp_path / "a"))


def link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to("elsewhere")


def foreign(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes folders of others")
    place.mkdir()
    os.chown(place, 65534, 65534)


def open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


REFUSED: Dict[str, Tuple[Callable[[Path], None], str]] = {
    "a link": (link, "a symlink"),
    "another user's": (foreign, "a folder of user 65534"),
    "everybody's": (open_to_all, "a folder that every user may write to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_others_could_write_to_is_refused(case: str, tmp_path: Path) -> None:
    prepare, found = REFUSED[case]
    prepare(tmp_path / "cache")
    with pytest.raises(SlipwayError, match="is not a safe cache folder") as caught:
        own_folder.make(str(tmp_path / "cache"))
    assert caught.value.found == found
    assert caught.value.next


def test_a_folder_for_everybody_where_each_has_his_own_is_no_fault(tmp_path: Path) -> None:
    open_to_all(tmp_path / "tmp")
    (tmp_path / "tmp").chmod(0o1777)
    own_folder.make(str(tmp_path / "tmp"))
    assert (tmp_path / "tmp").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("name", ["partial", "sha256", "names"])
def test_a_sweep_of_downloads_removes_nothing_behind_a_link(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "elsewhere" / "precious"
    (tmp_path / "cache").mkdir()
    link(tmp_path / "cache" / name)
    (tmp_path / "cache" / name).unlink()
    (tmp_path / "cache" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    precious.touch()
    os.utime(precious, (0, 0))
    with pytest.raises(SlipwayError, match=f'"{tmp_path}/cache/{name}" is not a safe cache folder'):
        ContentCache(str(tmp_path / "cache")).sweep()
    assert precious.exists()


def test_a_sweep_goes_by_the_age_of_a_link_itself(tmp_path: Path) -> None:
    """The target of the link may be older than a day."""
    cache = ContentCache(str(tmp_path / "cache"))
    old = tmp_path / "old"
    old.touch()
    os.utime(old, (0, 0))
    (tmp_path / "cache" / "partial" / "new").symlink_to(old)
    cache.sweep()
    assert (tmp_path / "cache" / "partial" / "new").is_symlink()
    assert old.exists()
