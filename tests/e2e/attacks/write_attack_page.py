"""Writes the page of the docs about attacks of build steps, from attacks that are run for it.

PYTHONPATH=.:build_rules python3 tests/e2e/attacks/write_attack_page.py            all arenas, an hour
PYTHONPATH=.:build_rules python3 tests/e2e/attacks/write_attack_page.py chroot …   these anew, others as they were
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

This page lists attacks on a build step and what each isolator did against them. `tests/e2e/attacks/write_attack_page.py` writes it
from real builds: {count} attacks, {cells} outcomes. Each attack is a script of `tests/e2e/attacks/payloads/`. It runs as the install script of
a package; where the table says so, also as the build script of an application and as the `make` of a runtime that is built from source.

* `{held}`: the script reached nothing outside of its package's output, and the build reported what it had to report.
* `{open}`: the isolator cannot prevent the attack. The number refers to the reasons below the table.
* `{unpromised}`: the attack reached nothing in this run, and nothing keeps it from that in another.
* `{broken}`: the attack reached something that this page says is protected. This is a bug.

{table}

The row "{together}" has what is true after all attacks of an isolator: no process of a script is left, no file of the machine has changed,
packages that mean no harm are built as ever, the release holds only what belongs to it, and the audit names every binary that old hosts
cannot load.

## Not protected

{reasons}

## See also

- [What a step sees](../explanation/what-a-step-sees.md)
- [Choose an isolator](../how-to/isolators.md)
"""


def run_all(names: Sequence[str], folder: Path) -> List[Cell]:
    """Runs every attack in these arenas."""
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
        earlier = by_place.get(key)  # the row of all together has one cell for each build
        by_place[key] = replace(cell, wrong=(*earlier.wrong, *cell.wrong)) if earlier else cell
    reasons = sorted(set(NOT_PROTECTED.values()))
    head = ["attack", "what it tries", "where", *ARENAS]
    lines = [head, ["---"] * len(head)]
    told = [(one.name, one.tries) for one in ATTACKS]
    for name, tries in [*told, (ALL_TOGETHER, "all of the above")]:
        for place in (INSTALL, BUILD, MAKE):
            found = [by_place.get((name, place, arena)) for arena in ARENAS]
            if not any(found):
                continue
            words = [_word(cell, reasons) for cell in found]
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
    """The page, and the outcomes beside it: without what a script noted of this machine."""
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
    kept = [one for one in read_cells(OUTCOMES) if one.arena not in names] if names else []
    with harness.scratch_folder("a") as folder:
        cells = [*kept, *run_all(names or list(ARENAS), folder)]
    write_page(cells)
    broken = [one for one in cells if one.wrong and not reason_of(one.attack, one.arena)]
    for cell in broken:
        print(f"{cell.arena}, {cell.attack} ({cell.place}): {'; '.join(cell.wrong)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
