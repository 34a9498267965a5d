"""Writes the docs page on attacks of build scripts, from attacks that it runs.

PYTHONPATH=.:build_rules python3 tests/e2e/attacks/write_attack_page.py            all arenas, an hour
PYTHONPATH=.:build_rules python3 tests/e2e/attacks/write_attack_page.py chroot …   only these arenas; keeps the other results
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from tests.e2e import harness
from tests.e2e.attacks.arenas import ARENAS, Surroundings, fill_caches, open_arena
from tests.e2e.attacks.campaign import Campaign, Cell, read_cells, write_cells
from tests.e2e.attacks.table import (
    ALL_TOGETHER,
    ATTACKS,
    BUILD,
    INSTALL,
    MAKE,
    NOT_PROTECTED,
    reason_of,
)
from tests.e2e.engine import Engine, running_engine
from tests.e2e.harness import Caches

PAGE = harness.REPOSITORY / "docs" / "reference" / "step-attacks.md"
OUTCOMES = harness.REPOSITORY / "docs" / "reference" / "step-attacks.json"
HELD, OPEN, BROKEN, NOT_RUN = "held", "not protected", "**not held**", "not run"
UNPROMISED = "held by chance"

TEXT = """\
# What a hostile build script can reach

This page lists attacks on a build step, and the result of each attack with each isolator. `tests/e2e/attacks/write_attack_page.py` writes the page
from real builds: {count} attacks, {cells} outcomes. Each attack is a script in `tests/e2e/attacks/payloads/`. Every attack runs as the install script of
a package. Some also run as the build script of an application, or as the `make` of a runtime from source.

* `{held}`: the script reached nothing outside of its package's output, and the build reported everything that it must report.
* `{open}`: the isolator cannot prevent the attack. The number refers to the reasons below the table.
* `{unpromised}`: the attack reached nothing in this run, but the isolator does not guarantee this.
* `{broken}`: the attack reached something that this page says is protected. This is a bug.

{table}

The row "{together}" shows the state after all attacks on an isolator. No process of a script remains, and no file of the machine has changed. Slipway builds
harmless packages as usual, the release contains only its own files, and the audit names every binary that old hosts cannot load.

## Not protected

{reasons}

## See also

- [Threat model: what a build step can see and do](../explanation/what-a-step-sees.md)
- [Choose how steps are isolated](../how-to/isolators.md)
"""


def run_all(names: Sequence[str], folder: Path) -> List[Cell]:
    """The outcome of every attack in these arenas."""
    cells: List[Cell] = []
    with contextlib.ExitStack() as stack:
        engines: List[Engine] = []

        def engine() -> Engine:
            if not engines:
                engines.append(stack.enter_context(running_engine(folder / "engine")))
            return engines[0]

        caches = Caches(folder / "caches").make()
        tools = str(harness.tools_folder(folder / "tools"))
        surroundings = Surroundings(folder, caches, tools, engine)
        fill_caches(surroundings)
        for name in names:
            print(f"attacks: {name}", flush=True)
            with open_arena(name, surroundings) as arena:
                cells.extend(Campaign(arena, name).run(ATTACKS))
    return cells


def render(cells: Iterable[Cell]) -> str:
    by_place: Dict[Tuple[str, str, str], Cell] = {}
    for cell in cells:
        key = (cell.attack, cell.place, cell.arena)
        earlier = by_place.get(key)  # in the row `ALL_TOGETHER`, each build has a cell
        by_place[key] = replace(cell, wrong=(*earlier.wrong, *cell.wrong)) if earlier else cell
    reasons = sorted(set(NOT_PROTECTED.values()))
    head = ["attack", "what it tries", "where", *ARENAS]
    lines = [head, ["---"] * len(head)]
    attacks = [(attack.name, attack.tries) for attack in ATTACKS]
    for name, tries in [*attacks, (ALL_TOGETHER, "all attacks above")]:
        for place in (INSTALL, BUILD, MAKE):
            row = [by_place.get((name, place, arena)) for arena in ARENAS]
            if not any(row):
                continue
            words = [_word(cell, reasons) for cell in row]
            lines.append([f"`{name}`" if name != ALL_TOGETHER else name, tries, place, *words])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    listed = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return TEXT.format(
        count=len(ATTACKS),
        cells=len(by_place),
        table=table,
        reasons=listed,
        held=HELD,
        open=OPEN,
        unpromised=UNPROMISED,
        broken=BROKEN.strip("*"),
        together=ALL_TOGETHER,
    )


def write_page(cells: Sequence[Cell]) -> None:
    """Writes the page, and the outcomes beside it without notes of a script about this machine."""
    plain = [
        replace(
            cell,
            notes={},
            message="",
            wrong=(OPEN,) if cell.wrong and reason_of(cell.attack, cell.arena) else cell.wrong,
        )
        for cell in cells
    ]
    write_cells(plain, OUTCOMES)
    PAGE.write_text(render(plain))


def _word(cell: Optional[Cell], reasons: Sequence[str]) -> str:
    if cell is None:
        return NOT_RUN
    reason = reason_of(cell.attack, cell.arena)
    if not reason:
        return BROKEN if cell.wrong else HELD
    return f"{OPEN if cell.wrong else UNPROMISED} ({reasons.index(reason) + 1})"


def main(names: Sequence[str]) -> int:
    unknown = set(names) - set(ARENAS)
    if unknown:
        print(f"no such arena: {', '.join(sorted(unknown))}; there are: {', '.join(ARENAS)}")
        return 2
    kept = [cell for cell in read_cells(OUTCOMES) if cell.arena not in names] if names else []
    with harness.scratch_folder("a") as folder:
        cells = [*kept, *run_all(names or list(ARENAS), folder)]
    write_page(cells)
    broken = [cell for cell in cells if cell.wrong and not reason_of(cell.attack, cell.arena)]
    for cell in broken:
        print(f"{cell.arena}, {cell.attack} ({cell.place}): {'; '.join(cell.wrong)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
