"""Whatever ends a deploy at whatever moment, hosts serve the old or the new release, whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from slipway.core import text_table
from tests.deploy import faults
from tests.deploy.faults import Matrix
from tests.deploy.fleet import farm_of
from tests.deploy.hosts import HostFarm
from tests.deploy.write_fault_table import HOSTS, PAGE, SEED, STRIKES

SAMPLE = [("linked", "agent killed"), ("stopping", "power cut")]


@pytest.fixture
def farm(request: Any) -> Iterator[HostFarm]:
    with farm_of(request.param) as made:
        yield made


@pytest.mark.parametrize("farm", [len(SAMPLE)], indirect=True)
def test_a_sample_of_faults(farm: HostFarm, tmp_path: Path) -> None:
    outcomes = Matrix(farm, tmp_path, SEED, dict.fromkeys(SAMPLE, 1)).run()
    assert [one for one in outcomes if not one.kept_promise] == []
    assert {one.fault for one in outcomes} == {fault for _, fault in SAMPLE}


@pytest.mark.long
@pytest.mark.parametrize("farm", [HOSTS], indirect=True)
def test_every_fault_in_every_state(farm: HostFarm, tmp_path: Path) -> None:
    matrix = Matrix(farm, tmp_path, SEED, STRIKES)
    matrix.log = print
    outcomes = matrix.run()
    print(text_table.render(faults.rows(outcomes)))
    assert [one for one in outcomes if not one.kept_promise] == []
    for state, fault, found in faults.by_cell(outcomes):
        assert len(found) >= STRIKES[state, fault], (state, fault)


def test_the_page_of_the_docs_has_every_state_and_fault() -> None:
    table = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line[:1] == "|"]
    found = [tuple(cell.strip() for cell in row) for row in table]
    assert found[0] == faults.HEAD
    rows = [dict(zip(faults.HEAD, row)) for row in found[2:]]
    assert [(row["state"], row["fault"]) for row in rows] == faults.CELLS
    for row in rows:
        assert int(row["times"]) >= STRIKES[row["state"], row["fault"]], row
        assert row[faults.WRONG] == "0", row
