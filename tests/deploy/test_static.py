"""Static files reach their hosts before any server is switched, and never change under a name."""

from __future__ import annotations

import datetime
import shutil
from typing import Iterator

import pytest

from slipway.core.errors import SlipwayError
from slipway.deploy import static_keep
from tests.deploy.fleet import Fleet, farm_of
from tests.deploy.hosts import HostFarm

PLACE = "/home/static"
SCRIPT = "js/app.0a1b2c3d.js"
FIRST = {SCRIPT: "one", "index.html": f"<script src={SCRIPT}>", "logo.png": "old"}


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    if shutil.which("rsync") is None:
        pytest.skip("no rsync here: apt-get install rsync")
    with farm_of(2) as made:
        yield made


@pytest.fixture
def fleet(fleet: Fleet) -> Iterator[Fleet]:
    fleet.configure(hosts=("h1",), static_hosts=("h2",), static_path=PLACE)
    yield fleet
    for host in fleet.farm.hosts:
        host.run(f"rm -rf {PLACE}")


def published(fleet: Fleet) -> dict[str, str]:
    top = fleet.farm.hosts[1].path(PLACE)
    files = {one for one in top.rglob("*") if one.is_file() and static_keep.FOLDER not in one.parts}
    return {str(one.relative_to(top)): one.read_text() for one in files}


def test_files_of_older_releases_stay_and_pages_change(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0", static=FIRST))
    assert published(fleet) == FIRST
    second = {"js/app.9f86d081.js": "two", "index.html": "new", "logo.png": "new"}
    fleet.deploy(fleet.release("1.1.0", static=second))
    assert published(fleet) == {**FIRST, **second}
    assert not fleet.farm.hosts[0].path(PLACE).exists()


def test_another_content_under_a_hashed_name_stops_before_any_server(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0", static=FIRST))
    with pytest.raises(SlipwayError, match="same names but different contents") as raised:
        fleet.deploy(fleet.release("1.1.0", static={**FIRST, SCRIPT: "two"}))
    assert SCRIPT in str(raised.value)
    assert published(fleet) == FIRST
    assert fleet.served_by(fleet.farm.hosts[0]) == "1.0.0"


def test_a_static_host_that_fails_stops_before_any_server(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0", static=FIRST))
    fleet.farm.hosts[1].stop_sshd()
    try:
        with pytest.raises(SlipwayError, match="cannot publish the static files: h2"):
            fleet.deploy(fleet.release("1.1.0", static=FIRST))
    finally:
        fleet.farm.hosts[1].start_sshd()
    assert fleet.served_by(fleet.farm.hosts[0]) == "1.0.0"


def test_files_that_no_release_needs_are_removed_after_static_keep_days(fleet: Fleet) -> None:
    for number in range(3):
        fleet.deploy(fleet.release(f"1.{number}.0", static={f"{number}.js": "x", "logo.png": "y"}))
    foreign = fleet.farm.hosts[1].path(f"{PLACE}/foreign.js")
    foreign.write_text("not of ours")
    assert {"0.js", "1.js", "2.js"} <= set(published(fleet))
    make_older(fleet, days=40)
    # Servers keep the last two; what the first one alone had was replaced 40 days ago.
    fleet.configure(keep=2)
    fleet.deploy(fleet.release("2.0.0", static={"new.js": "x"}))
    fleet.deploy(fleet.release("2.1.0", static={"newer.js": "x"}))
    assert set(published(fleet)) == {"2.js", "logo.png", "new.js", "newer.js", "foreign.js"}


def make_older(fleet: Fleet, days: int) -> None:
    """Dates what has been published back by some days."""
    for path in fleet.farm.hosts[1].path(f"{PLACE}/{static_keep.FOLDER}").iterdir():
        at, _, digest = path.name.partition("-")
        then = datetime.datetime.strptime(at, static_keep.STAMP) - datetime.timedelta(days)
        path.rename(path.with_name(f"{then.strftime(static_keep.STAMP)}-{digest}"))


def test_a_command_publishes_once_with_the_folder_of_the_files(fleet: Fleet) -> None:
    place = fleet.folder / "cdn"
    fleet.configure(
        static_hosts=(), static_path="", static_publish=f'cp -r "$STATIC_FOLDER" {place}'
    )
    fleet.deploy(fleet.release("1.0.0", static=FIRST))
    assert (place / "index.html").read_text() == FIRST["index.html"]
    fleet.configure(static_publish="echo no room >&2; exit 3")
    with pytest.raises(SlipwayError, match="static_publish") as raised:
        fleet.deploy(fleet.release("1.1.0", static=FIRST))
    assert "no room" in str(raised.value)
    assert fleet.served_by(fleet.farm.hosts[0]) == "1.0.0"
