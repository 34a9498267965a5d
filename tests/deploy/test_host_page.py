"""The page of the docs that lists every file which a deploy leaves on a host, held against hosts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator

import pytest

from slipway.deploy.deployment import Hooks
from tests.deploy.sites import SITES, Site
from tests.e2e import harness
from tests.tiers import long_except

PAGE = harness.REPOSITORY / "docs" / "reference" / "what-is-on-a-host.md"
_ROW = re.compile(r"^\| `([^`]+)` \| (\d+) \|", re.MULTILINE)


@pytest.fixture(params=long_except(["user of a plain sshd"], SITES))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with SITES[request.param]() as made:  # type: ignore[attr-defined]
        made.releases = tmp_path
        yield made
        made.clean()


def rows() -> Dict[str, str]:
    """The mode by the path of the page, as it stands there."""
    return dict(_ROW.findall(PAGE.read_text()))


def shown(path: str) -> str:
    """As the page writes it."""
    path = re.sub(r"\d{8}T\d{6}Z-[^/]+", "<id>", path)
    return re.sub(r"(releases/<id>/).+", r"\1", path)


def test_the_page_lists_all_files_with_their_modes(site: Site) -> None:
    site.configure(shared=("uploads",), hooks=Hooks(always="true"))
    site.ship("1.0.0", files={"lib/a": "1"})
    site.ship("1.1.0", health="false")
    site.ship("1.2.0")
    listed, wrong = rows(), []
    for line in site.run_there("find . -printf '%P %m %y\\n' | sort").splitlines():
        path, mode, kind = line.rsplit(" ", 2)
        name = shown(path) + ("/" if kind == "d" and not shown(path).endswith("/") else "")
        if name in (
            "/",
            "shared/uploads/",
            ".slipway/facts/",
            ".slipway/settings/",
            ".slipway/links/",
        ):
            continue  # the folder itself, and the parents of what is listed
        if name in (".slipway/healthy/", ".slipway/failed/"):
            continue
        if name == "releases/<id>/" and path.count("/") > 1:
            assert kind != "f" or mode in ("444", "555"), line
            continue
        if listed.get(name) != mode:
            wrong.append(line)
    assert wrong == []
    assert site.run_there("id -un") == site.run_there("stat -c %U .slipway/journal")
