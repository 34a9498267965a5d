"""A script can spoil the output of its own package, and nothing else: attacks, by every isolator.

All are of the long tier: the worst attacks under user namespaces, in three builds; and all attacks in
all arenas, each campaign once, with one test for each of its outcomes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.e2e.attacks.arena import Package
from tests.e2e.attacks.arenas import ARENAS, Surroundings, fill_caches, open_arena
from tests.e2e.attacks.campaign import Campaign, Cell
from tests.e2e.attacks.fence import NoFence, fence
from tests.e2e.attacks.table import ALL_TOGETHER, ATTACKS, EXHAUSTING, INSTALL, reason_of
from tests.e2e.engine import Engine, running_engine
from tests.e2e.harness import Caches

QUICK = "namespaces as root"


@pytest.fixture(scope="module")
def surroundings(
    caches: Caches, tools: str, session_folder: Path, request: pytest.FixtureRequest
) -> Surroundings:
    def engine() -> Engine:
        started: Engine = request.getfixturevalue("engine")
        return started

    return Surroundings(session_folder, caches, tools, engine)


@pytest.fixture(scope="module")
def campaign_of(surroundings: Surroundings) -> Callable[[str, bool], List[Cell]]:
    """Runs an arena's campaign when its first outcome is asked for."""
    known: Dict[Any, List[Cell]] = {}

    def run(arena_name: str, quick: bool) -> List[Cell]:
        if os.geteuid() != 0 and arena_name != QUICK:
            pytest.skip(f"only root can attack {arena_name}")
        if (arena_name, quick) not in known:
            if not known:
                fill_caches(surroundings)
            attacks = [one for one in ATTACKS if one.critical or not quick]
            with open_arena(arena_name, surroundings) as arena:
                known[arena_name, quick] = Campaign(arena, arena_name, daemon=quick).run(attacks)
        return known[arena_name, quick]

    return run


def assert_held(cells: List[Cell], attack: str, place: str) -> None:
    chosen = [cell for cell in cells if (cell.attack, cell.place) == (attack, place)]
    assert chosen, f"{attack} was not run as {place}"
    for cell in chosen:
        reason = reason_of(attack, cell.arena)
        assert not cell.wrong or reason, "\n".join([*cell.wrong, cell.message])


def cases(*, quick: bool) -> List[Any]:
    return [
        pytest.param(attack.name, place, id=f"{attack.name}-{place}".replace(" ", "-"))
        for attack in ATTACKS
        for place in attack.places
        if attack.critical or not quick
    ]


@pytest.mark.long
@pytest.mark.parametrize(("attack", "place"), [*cases(quick=True), (ALL_TOGETHER, INSTALL)])
def test_the_worst_attacks_reach_nothing(
    campaign_of: Callable[[str, bool], List[Cell]], attack: str, place: str
) -> None:
    assert_held(campaign_of(QUICK, True), attack, place)


@pytest.mark.long
@pytest.mark.parametrize("arena", ARENAS)
@pytest.mark.parametrize(("attack", "place"), [*cases(quick=False), (ALL_TOGETHER, INSTALL)])
def test_no_attack_reaches_anything(
    campaign_of: Callable[[str, bool], List[Cell]], arena: str, attack: str, place: str
) -> None:
    assert_held(campaign_of(arena, False), attack, place)


NODE_22 = Path(__file__).parent / "attacks" / "node-22.toml"


@pytest.mark.long
def test_an_install_script_of_node_22_is_no_attempt_at_the_network(
    surroundings: Surroundings,
) -> None:
    """Its event loop opens an io_uring at its start, and does without where there is none."""
    with open_arena(QUICK, surroundings) as arena:
        honest = Package("honest", "find_traces", script="node -e 'setTimeout(() => {}, 10)'")
        target = arena.write_app("honest", [honest], runtime="//apps/honest:22")
        folder = arena.workspace.root / "apps" / "honest"
        version = NODE_22.read_text().split('"')[1]
        shutil.copyfile(NODE_22, folder / "node.toml")
        with (folder / "BUILD").open("a") as build:
            build.write(f'node_runtime(name="22", version="{version}", definition="node.toml")\n')
        run = arena.build("package", target)
    assert run.outcome.code == 0, run.output
    assert "io_uring" not in run.output


@pytest.mark.long
@pytest.mark.parametrize("arena", ARENAS)
def test_a_script_that_takes_all_it_gets_ends_in_one_message(
    surroundings: Surroundings, session_folder: Path, arena: str
) -> None:
    try:
        with contextlib.ExitStack() as held:
            groups = held.enter_context(fence())

            def engine() -> Engine:
                parent = f"--cgroup-parent=/{groups[0].name}"
                return held.enter_context(running_engine(session_folder / "fenced", parent))

            fenced = replace(surroundings, groups=groups, engine=engine)
            opened = held.enter_context(open_arena(arena, fenced))
            cells = Campaign(opened, arena).exhaust(EXHAUSTING)
    except NoFence as lack:
        pytest.skip(str(lack))
    wrong = [f"{cell.attack}: {'; '.join(cell.wrong)}" for cell in cells if cell.wrong]
    assert not wrong, "\n".join(wrong)
